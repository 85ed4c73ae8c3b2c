package palette

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
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

// maxAges bounds the series of the ages: those of the oldest secrets are shown.
const maxAges = 100

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
	gauges := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: telemetry.Namespace, Name: "root_secret_age_seconds",
		Help: fmt.Sprintf("How long ago a config's password or API key was written or rotated; of more than %d configs the oldest.", maxAges),
	}, []string{"config"})
	for _, a := range found.ages[:min(len(found.ages), maxAges)] {
		gauges.WithLabelValues(a.config).Set(a.age.Seconds())
	}
	registry.MustRegister(gauges)
	telemetry.KeyGauges(registry, found.usages, maxAges)
	return registry, nil
}

type secretAge struct {
	config string
	age    time.Duration
}

// configFigures are what metrics tell of the configs. ages are those of their passwords and keys, the
// oldest first; what was written before its time was kept has none until it is rotated.
type configFigures struct {
	configs, unreadable int
	ages                []secretAge
	usages              []telemetry.KeyUsage
}

// configGauges counts the configs, and those that cannot be read: one such must not take the
// metrics of all.
func (b *backend) configGauges(ctx context.Context, s logical.Storage) (found configFigures, err error) {
	err = b.configs.Each(ctx, s, func(name string, cfg *store.Config, err error) {
		found.configs++
		if err != nil {
			found.unreadable++
			return
		}
		if since := cmp.Or(cfg.SecretSince, cfg.LastRotated); since != 0 {
			found.ages = append(found.ages, secretAge{name, time.Since(time.Unix(since, 0))})
		}
		if u, known := b.keys.UsageOf(name, cfg); known {
			found.usages = append(found.usages, telemetry.KeyUsage{Config: name, Keys: u.Keys, Limit: cfg.KeyLimit, Listed: u.At})
		}
	})
	slices.SortStableFunc(found.ages, func(x, y secretAge) int { return cmp.Compare(y.age, x.age) })
	return found, err
}

const helpMetrics = `
The metrics of this mount, in Prometheus's text form: calls to Palette by endpoint and
outcome with how long they took, waits for the rate limit, retries, leases issued, renewed
and revoked, what the engine still has to revoke, shared sessions, rotations, how old
the configs' passwords are, and how many API keys their users have by the last listing of
Palette's. A read of the metrics calls nobody. Memory and goroutines are those of the plugin's process, which
may serve other mounts too. Counters begin at zero with that process.

  $ vault read -format=raw palette/metrics

Without -format=raw the CLI says "invalid character '#'": the answer is no JSON. Prometheus reads it at /v1/palette/metrics with a Vault token whose policy allows "read" there.
`
