package palette

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
)

// maxSeries bounds the series by config: the largest are shown.
const maxSeries = 100

func (b *backend) pathMetrics() []*framework.Path {
	return []*framework.Path{{
		Pattern:         "metrics$",
		DisplayAttrs:    displayAttrs("metrics"),
		HelpSynopsis:    "What the mount does, as Prometheus reads it.",
		HelpDescription: helpMetrics,
		Operations: map[logical.Operation]framework.OperationHandler{
			// Not forwarded: each node tells of itself.
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleMetrics, Summary: "Read the mount's metrics, in Prometheus's text form.",
				Responses: orErrors(map[int][]framework.Response{http.StatusOK: {{
					// Without fields: the SDK reserves the names by which a body that is not JSON is handed over.
					Description: "The metrics.", MediaType: metricsForm,
				}}}),
			},
		},
	}}
}

// metricsForm is the media type of Prometheus's text form.
const metricsForm = "text/plain; version=0.0.4; charset=utf-8"

func (b *backend) handleMetrics(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	gauges, err := b.storageGauges(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	families, err := prometheus.Gatherers{b.metrics.Registry, gauges}.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering the metrics: %w", err)
	}
	var body bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&body, family); err != nil {
			return nil, fmt.Errorf("writing the metrics: %w", err)
		}
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPContentType: metricsForm,
		logical.HTTPRawBody:     body.Bytes(),
	}}, nil
}

// storageGauges counts what the mount has in its storage.
func (b *backend) storageGauges(ctx context.Context, s logical.Storage) (prometheus.Gatherer, error) {
	registry := prometheus.NewRegistry()
	count := func(name, help string, n int) {
		gauge := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: telemetry.Namespace, Name: name, Help: help})
		gauge.Set(float64(n))
		registry.MustRegister(gauge)
	}
	for _, kept := range []struct{ name, help, prefix string }{
		{"roles", "Roles that are stored.", store.RolePrefix},
		{"shared_sessions", "Shared sessions that are stored.", store.SessionPrefix},
		{"pending_revocations", "Pending revocations: credentials that Palette has not ended yet.", store.PendingPrefix},
	} {
		names, err := s.List(ctx, kept.prefix)
		if err != nil {
			return nil, fmt.Errorf("listing %s in storage: %w", kept.prefix, err)
		}
		count(kept.name, kept.help, len(names))
	}
	found, err := b.configGauges(ctx, s)
	if err != nil {
		return nil, err
	}
	count("configs", "Configs that are stored.", found.configs)
	count("configs_unreadable", "Configs of these whose entry in Vault's storage cannot be read.", found.unreadable)
	byConfig := func(name, help string, values []configSeconds) {
		gauges := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: telemetry.Namespace, Name: name, Help: help}, []string{"config"})
		for _, v := range values {
			gauges.WithLabelValues(v.config).Set(v.seconds)
		}
		registry.MustRegister(gauges)
	}
	byConfig("root_secret_age_seconds", fmt.Sprintf("How long ago a config's password or API key was written or rotated; of more than %d configs the oldest.", maxSeries), found.ages)
	byConfig("clock_offset_seconds", fmt.Sprintf("How far the clock of a config's Palette is before Vault's (negative: behind), by its newest answer; of more than %d configs the furthest.", maxSeries), found.offsets)
	telemetry.KeyGauges(registry, found.usages, maxSeries)
	telemetry.RootKeyGauges(registry, found.rootKeys, maxSeries)
	return registry, nil
}

// configSeconds is a number of seconds of a config's.
type configSeconds struct {
	config  string
	seconds float64
}

// most are the largest numbers, the largest first, as many as there are series.
func most(values []configSeconds) []configSeconds {
	slices.SortStableFunc(values, func(x, y configSeconds) int { return cmp.Compare(math.Abs(y.seconds), math.Abs(x.seconds)) })
	return values[:min(len(values), maxSeries)]
}

// configFigures are what metrics tell of the configs.
type configFigures struct {
	configs, unreadable int
	ages, offsets       []configSeconds
	usages              []telemetry.KeyUsage
	rootKeys            []telemetry.RootKey
}

// configGauges counts the configs, and those that cannot be read: one such must not take the
// metrics of all. What was written before its time was kept has no age until it is rotated, and
// a Palette that has not answered yet no clock.
func (b *backend) configGauges(ctx context.Context, s logical.Storage) (found configFigures, err error) {
	err = b.configs.Each(ctx, s, func(name string, cfg *store.Config, err error) {
		found.configs++
		if err != nil {
			found.unreadable++
			return
		}
		if since := cmp.Or(cfg.SecretSince, cfg.LastRotated); since != 0 {
			found.ages = append(found.ages, configSeconds{name, time.Since(time.Unix(since, 0)).Seconds()})
		}
		if offset, known := b.clockOffset(cfg.Address); known {
			found.offsets = append(found.offsets, configSeconds{name, offset.Seconds()})
		}
		if cfg.APIKey != "" && cfg.APIKeyExpiry != 0 {
			found.rootKeys = append(found.rootKeys, telemetry.RootKey{Config: name, Expires: time.Unix(cfg.APIKeyExpiry, 0), Rotated: cfg.RotationPeriod > 0})
		}
		if u, known := b.keys.UsageOf(name, cfg); known {
			found.usages = append(found.usages, telemetry.KeyUsage{Config: name, Keys: u.Keys, Limit: cfg.KeyLimit, Listed: u.At})
		}
	})
	found.ages, found.offsets = most(found.ages), most(found.offsets)
	return found, err
}

const helpMetrics = `
The metrics of this mount, in Prometheus's text form: calls to Palette by endpoint and
outcome with how long they took (outcome="foreign": somebody in between has answered), waits for
the rate limit by resource, retries, leases issued, renewed and revoked, what the engine still
has to revoke, shared sessions, rotations, how old the configs' passwords are, how far Palette's
clock is off, and how many API keys their users have by the last listing of Palette's. A read of
the metrics calls nobody. Memory and goroutines are those of the plugin's process, which
may serve other mounts too. Counters begin at zero with that process.

  $ vault read -format=raw palette/metrics

Without -format=raw the CLI says "invalid character '#'": the answer is no JSON. Prometheus reads it at /v1/palette/metrics with a Vault token whose policy allows "read" there.
`
