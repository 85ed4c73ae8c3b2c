package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// dashboard is what matters here of Grafana's model.
type dashboard struct {
	Title      string
	Panels     []panel
	Templating struct{ List []variable }
}

type variable struct {
	Name, Type string
	Query      any
	AllValue   string
}

// Types of panels that the dashboard has and the picture can show.
const (
	typeRow    = "row"
	typeSeries = "timeseries"
	typeStat   = "stat"
)

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []target
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Min           *float64
			Thresholds    struct {
				Steps []struct {
					Color string
					Value *float64
				}
			}
			Custom struct{ LineInterpolation string }
		}
	}
	Options struct{ TextMode string }
}

type target struct{ Expr, LegendFormat string }

// loadDashboard reads a dashboard.
func loadDashboard(file string) (*dashboard, error) {
	text, err := os.ReadFile(file) // #nosec G304 -- the command line names it
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	d := new(dashboard)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("decoding the dashboard: %w", err)
	}
	return d, nil
}

// expression is a target's query with Grafana's variables filled in as it does where All is
// chosen. interval is how far apart the points are, which are scraped as often.
func expression(query string, interval time.Duration) string {
	// Source: Grafana's documentation of $__rate_interval, "max($__interval + scrape interval,
	// 4 * scrape interval)".
	rateInterval := model.Duration(4 * interval).String()
	return strings.NewReplacer("$__rate_interval", rateInterval, "$job", ".+", "$mount", ".+", "$instance", ".+").Replace(query)
}

var inLegend = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// legend names a series by the labels that its target's legend names.
func legend(format string, labels map[string]string) string {
	return inLegend.ReplaceAllStringFunc(format, func(field string) string {
		return labels[inLegend.FindStringSubmatch(field)[1]]
	})
}
