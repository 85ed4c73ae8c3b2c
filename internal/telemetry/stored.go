package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

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

// Text is the gauges and what a mount has counted, in Prometheus's text form.
func (g *Stored) Text(ctx context.Context, s logical.Storage, m *Metrics) ([]byte, error) {
	gauges, err := g.Gather(ctx, s)
	if err != nil {
		return nil, err
	}
	families, err := prometheus.Gatherers{m.Registry, gauges}.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering the metrics: %w", err)
	}
	var body bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&body, family); err != nil {
			return nil, fmt.Errorf("writing the metrics: %w", err)
		}
	}
	return body.Bytes(), nil
}

// Gather counts what the storage has. The error is the storage's.
func (g *Stored) Gather(ctx context.Context, s logical.Storage) (prometheus.Gatherer, error) {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help}, labels)
		registry.MustRegister(vec)
		return vec
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
		gauge(kept.name, kept.help).WithLabelValues().Set(float64(len(names)))
	}
	found, err := g.ofConfigs(ctx, s)
	if err != nil {
		return nil, err
	}
	gauge("configs", "Configs that are stored.").WithLabelValues().Set(float64(found.configs))
	gauge("configs_unreadable", "Configs of these whose entry in Vault's storage cannot be read.").WithLabelValues().Set(float64(found.unreadable))

	ages := gauge("root_secret_age_seconds", fmt.Sprintf("How long ago a config's password or API key was written or rotated; of more than %d configs the oldest.", MaxSeries), "config")
	for _, f := range first(found.ages) {
		ages.WithLabelValues(f.config).Set(-f.rank)
	}
	offsets := gauge("clock_offset_seconds", fmt.Sprintf("How far the clock of a config's Palette is before Vault's (negative: behind), by its newest answer; of more than %d configs the furthest.", MaxSeries), "config")
	for _, f := range first(found.offsets) {
		offsets.WithLabelValues(f.config).Set(f.value)
	}
	keys := gauge("user_api_keys", "API keys that the fullest user of a config had at the last listing.", "config")
	limit := gauge("user_api_keys_limit", "The config's key_limit: how many API keys Palette lets a user have.", "config")
	listed := gauge("user_api_keys_listed_timestamp_seconds", "When that listing was, in Unix seconds.", "config")
	for _, f := range first(found.usages) {
		keys.WithLabelValues(f.config).Set(-f.rank)
		listed.WithLabelValues(f.config).Set(f.value)
		if f.keyLimit > 0 {
			limit.WithLabelValues(f.config).Set(float64(f.keyLimit))
		}
	}
	expiries := gauge("root_key_expiry_timestamp_seconds", "When a config's own API key expires, in Unix seconds, where that is known, and whether a rotation_period rotates it.", "config", "rotated")
	for _, f := range first(found.rootKeys) {
		expiries.WithLabelValues(f.config, strconv.FormatBool(f.rotated)).Set(f.rank)
	}
	return registry, nil
}

// figure is what a gauge tells of a config.
type figure struct {
	config string
	// rank says which figures are shown where there are too many: the smallest.
	rank, value float64
	keyLimit    int
	rotated     bool
}

// first are the figures that are shown, the one of the smallest rank first.
func first(all []figure) []figure {
	slices.SortStableFunc(all, func(x, y figure) int { return cmp.Compare(x.rank, y.rank) })
	return all[:min(len(all), MaxSeries)]
}

// figures are what metrics tell of the configs.
type figures struct {
	configs, unreadable             int
	ages, offsets, usages, rootKeys []figure
}

// ofConfigs counts the configs, and those that cannot be read: one such must not take the metrics of all.
// A secret that an older version stored has no age until its rotation. A Palette that has not answered
// yet has no clock.
func (g *Stored) ofConfigs(ctx context.Context, s logical.Storage) (found figures, err error) {
	err = g.Configs.Each(ctx, s, func(name string, cfg *store.Config, err error) {
		found.configs++
		if err != nil {
			found.unreadable++
			return
		}
		if since := cmp.Or(cfg.SecretSince, cfg.LastRotated); since != 0 {
			found.ages = append(found.ages, figure{config: name, rank: -time.Since(time.Unix(since, 0)).Seconds()})
		}
		if offset, known := g.ClockOffset(cfg.Address); known {
			found.offsets = append(found.offsets, figure{config: name, rank: -offset.Abs().Seconds(), value: offset.Seconds()})
		}
		if cfg.APIKey != "" && cfg.APIKeyExpiry != 0 {
			found.rootKeys = append(found.rootKeys, figure{config: name, rank: float64(cfg.APIKeyExpiry), rotated: cfg.RotationPeriod > 0})
		}
		if keys, at, known := g.KeysOf(name, cfg); known {
			found.usages = append(found.usages, figure{config: name, rank: -float64(keys), value: float64(at.Unix()), keyLimit: cfg.KeyLimit})
		}
	})
	return found, err
}
