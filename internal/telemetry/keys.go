package telemetry

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyUsage is how many API keys a config's user had at the last listing, of how many.
type KeyUsage struct {
	Config      string
	Keys, Limit int // Limit is 0 where none is known
	Listed      time.Time
}

// RootKey is a config's own API key whose expiry is known.
type RootKey struct {
	Config  string
	Expires time.Time
	// Rotated: a rotation_period replaces the key in time.
	Rotated bool
}

// RootKeyGauges registers the gauge of the root keys, of more than most those that expire first.
func RootKeyGauges(registry *prometheus.Registry, keys []RootKey, most int) {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: Namespace, Name: "root_key_expiry_timestamp_seconds",
		Help: "When a config's own API key expires, in Unix seconds, where that is known, and whether a rotation_period rotates it.",
	}, []string{"config", "rotated"})
	registry.MustRegister(gauge)
	slices.SortStableFunc(keys, func(x, y RootKey) int { return x.Expires.Compare(y.Expires) })
	for _, k := range keys[:min(len(keys), most)] {
		gauge.WithLabelValues(k.Config, strconv.FormatBool(k.Rotated)).Set(float64(k.Expires.Unix()))
	}
}

// KeyGauges registers the gauges of the usages, of more than most the fullest.
func KeyGauges(registry *prometheus.Registry, usages []KeyUsage, most int) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help}, []string{"config"})
		registry.MustRegister(vec)
		return vec
	}
	keys := gauge("user_api_keys", "API keys that the fullest user of a config had at the last listing.")
	limit := gauge("user_api_keys_limit", "The config's key_limit: how many API keys Palette lets a user have.")
	listed := gauge("user_api_keys_listed_timestamp_seconds", "When that listing was, in Unix seconds.")
	slices.SortStableFunc(usages, func(x, y KeyUsage) int { return cmp.Compare(y.Keys, x.Keys) })
	for _, u := range usages[:min(len(usages), most)] {
		keys.WithLabelValues(u.Config).Set(float64(u.Keys))
		listed.WithLabelValues(u.Config).Set(float64(u.Listed.Unix()))
		if u.Limit > 0 {
			limit.WithLabelValues(u.Config).Set(float64(u.Limit))
		}
	}
}
