package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// suffixes are the units of rates, as Grafana shows them.
var suffixes = map[string]string{"reqps": " req/s", "ops": " ops/s"}

// format shows a value in one of Grafana's units, by its names for them.
func format(value float64, unit string) (string, error) {
	switch unit {
	case "reqps", "ops":
		return number(value) + suffixes[unit], nil
	case "percentunit":
		return number(value*100) + "%", nil
	case "s":
		return duration(value), nil
	case "bytes":
		return scaled(value, 1024, "B", "KiB", "MiB", "GiB"), nil
	case "none", "short":
		return number(value), nil
	}
	return "", fmt.Errorf("the unit %q is not known", unit)
}

// number has three digits at most.
func number(value float64) string {
	if math.Abs(value) >= 1000 {
		return scaled(value, 1000, "", "K", "M", "G")
	}
	return strings.TrimSuffix(fmt.Sprintf("%.3g", value), ".")
}

func scaled(value, by float64, units ...string) string {
	i := 0
	for ; math.Abs(value) >= by && i < len(units)-1; i++ {
		value /= by
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", value, units[i]))
}

func duration(seconds float64) string {
	switch abs := math.Abs(seconds); {
	case abs == 0:
		return "0 s"
	case abs < 1:
		return fmt.Sprintf("%.3g ms", seconds*1000)
	case abs < 60:
		return fmt.Sprintf("%.3g s", seconds)
	case abs < 3600:
		return fmt.Sprintf("%.3g min", seconds/60)
	case abs < 48*3600:
		return fmt.Sprintf("%.3g hours", seconds/3600)
	}
	return fmt.Sprintf("%.3g days", seconds/(24*time.Hour).Seconds())
}
