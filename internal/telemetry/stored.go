package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"

	"vault-plugin-secrets-palette/internal/store"
)

// MaxSeries bounds the series by config: the largest are shown.
const MaxSeries = 100

// Stored are the gauges of what a mount has in its storage. They are read anew each time, and call
// nobody but the storage.
type Stored struct {
	Configs *store.Configs
	// ClockOffset is how far the clock of the Palette at an address is before ours.
	ClockOffset func(address string) (time.Duration, bool)
	// KeysOf is how many API keys a config's user had at the last listing, and when that was.
	KeysOf func(name string, cfg *store.Config) (keys int, at time.Time, known bool)
}

// Gather counts what the storage has. The error is the storage's.
func (g *Stored) Gather(ctx context.Context, s logical.Storage) (prometheus.Gatherer, error) {
	registry := prometheus.NewRegistry()
	count := func(name, help string, n int) {
		gauge := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help})
		gauge.Set(float64(n))
		registry.MustRegister(gauge)
	}
	for _, kept := range []struct{ name, help, prefix string }{
		{"roles", "Roles that are stored.", store.RolePrefix},
		{"shared_sessions", "Shared sessions that are stored.", store.SessionPrefix},
		{"shared_keys", "Roles whose shared API key is stored.", store.SharedKeyPrefix},
		{"pending_revocations", "Pending revocations: credentials that Palette has not ended yet.", store.PendingPrefix},
	} {
		names, err := s.List(ctx, kept.prefix)
		if err != nil {
			return nil, fmt.Errorf("listing %s in storage: %w", kept.prefix, err)
		}
		count(kept.name, kept.help, len(names))
	}
	found, err := g.ofConfigs(ctx, s)
	if err != nil {
		return nil, err
	}
	count("configs", "Configs that are stored.", found.configs)
	count("configs_unreadable", "Configs of these whose entry in Vault's storage cannot be read.", found.unreadable)
	byConfig := func(name, help string, values []seconds) {
		gauges := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help}, []string{"config"})
		slices.SortStableFunc(values, func(x, y seconds) int { return cmp.Compare(math.Abs(y.value), math.Abs(x.value)) })
		for _, v := range values[:min(len(values), MaxSeries)] {
			gauges.WithLabelValues(v.config).Set(v.value)
		}
		registry.MustRegister(gauges)
	}
	byConfig("root_secret_age_seconds", fmt.Sprintf("How long ago a config's password or API key was written or rotated; of more than %d configs the oldest.", MaxSeries), found.ages)
	byConfig("clock_offset_seconds", fmt.Sprintf("How far the clock of a config's Palette is before Vault's (negative: behind), by its newest answer; of more than %d configs the furthest.", MaxSeries), found.offsets)
	KeyGauges(registry, found.usages, MaxSeries)
	RootKeyGauges(registry, found.rootKeys, MaxSeries)
	return registry, nil
}

// seconds is a number of seconds of a config's.
type seconds struct {
	config string
	value  float64
}

// figures are what metrics tell of the configs.
type figures struct {
	configs, unreadable int
	ages, offsets       []seconds
	usages              []KeyUsage
	rootKeys            []RootKey
}

// ofConfigs counts the configs, and those that cannot be read: one such must not take the
// metrics of all. What was written before its time was kept has no age until it is rotated, and
// a Palette that has not answered yet no clock.
func (g *Stored) ofConfigs(ctx context.Context, s logical.Storage) (found figures, err error) {
	err = g.Configs.Each(ctx, s, func(name string, cfg *store.Config, err error) {
		found.configs++
		if err != nil {
			found.unreadable++
			return
		}
		if since := cmp.Or(cfg.SecretSince, cfg.LastRotated); since != 0 {
			found.ages = append(found.ages, seconds{name, time.Since(time.Unix(since, 0)).Seconds()})
		}
		if offset, known := g.ClockOffset(cfg.Address); known {
			found.offsets = append(found.offsets, seconds{name, offset.Seconds()})
		}
		if cfg.APIKey != "" && cfg.APIKeyExpiry != 0 {
			found.rootKeys = append(found.rootKeys, RootKey{Config: name, Expires: time.Unix(cfg.APIKeyExpiry, 0), Rotated: cfg.RotationPeriod > 0})
		}
		if keys, at, known := g.KeysOf(name, cfg); known {
			found.usages = append(found.usages, KeyUsage{Config: name, Keys: keys, Limit: cfg.KeyLimit, Listed: at})
		}
	})
	return found, err
}
