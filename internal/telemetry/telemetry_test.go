package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/telemetry"
)

var (
	_ exchange.Observer  = (*telemetry.Metrics)(nil)
	_ revocation.Metrics = telemetry.Pending{}
)

// values are the series of a registry that are the engine's, without the namespace; a histogram is its count.
func values(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			name, ours := strings.CutPrefix(family.GetName(), telemetry.Namespace+"_")
			if !ours {
				continue
			}
			for _, label := range m.Label {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			switch {
			case m.Counter != nil:
				out[name] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[name] = m.Gauge.GetValue()
			default:
				out[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return out
}

// Each method counts one series, and no label has a value from Palette, a request or a secret.
func TestMetricsCount(t *testing.T) {
	for _, c := range []struct {
		count func(*telemetry.Metrics)
		want  map[string]float64
	}{
		{func(m *telemetry.Metrics) { m.Called("login", exchange.OutcomeOK, time.Second) }, map[string]float64{"calls_total endpoint=login outcome=ok": 1, "call_duration_seconds endpoint=login": 1}},
		{func(m *telemetry.Metrics) { m.Retried("revoke", exchange.OutcomeOK) }, map[string]float64{"call_retries_total after=ok endpoint=revoke": 1}},
		{func(m *telemetry.Metrics) { m.Waited(answer.Resources[0], time.Second, true) }, map[string]float64{"limiter_wait_seconds resource=" + answer.Resources[0]: 1}},
		{func(m *telemetry.Metrics) { m.Waited(answer.Resources[0], time.Second, false) }, map[string]float64{"limiter_wait_seconds resource=" + answer.Resources[0]: 1, "limiter_turned_away_total resource=" + answer.Resources[0]: 1}},
		{func(m *telemetry.Metrics) { m.Queued(time.Second, true) }, map[string]float64{"login_permit_wait_seconds": 1}},
		{func(m *telemetry.Metrics) { m.Withheld() }, map[string]float64{"logins_withheld_total": 1}},
		{func(m *telemetry.Metrics) { m.Lease(telemetry.LeaseIssued, lease.HoldsKey, true) }, map[string]float64{"leases_total operation=issued type=api_key": 1}},
		{func(m *telemetry.Metrics) { m.Lease(telemetry.LeaseRevoked, lease.HoldsToken, false) }, map[string]float64{"lease_failures_total operation=revoked type=token": 1}},
		{func(m *telemetry.Metrics) { m.Rotation(telemetry.SecretPassword, true) }, map[string]float64{"rotations_total outcome=ok secret=password": 1}},
		{func(m *telemetry.Metrics) { m.Rotation(telemetry.SecretKey, false) }, map[string]float64{"rotations_total outcome=failed secret=api_key": 1}},
		{func(m *telemetry.Metrics) { m.SharedRead(session.StateStale) }, map[string]float64{"shared_session_reads_total state=stale": 1}},
		{func(m *telemetry.Metrics) { m.PendingEnqueued() }, map[string]float64{"pending_enqueued_total": 1}},
		{func(m *telemetry.Metrics) { m.PendingRemoved() }, map[string]float64{"pending_removed_total": 1}},
	} {
		m := telemetry.NewMetrics("v1.2.3")
		before := values(t, m.Registry)
		assert.InDelta(t, 1, before["build_info version=v1.2.3"], 0)
		c.count(m)
		changed := map[string]float64{}
		for name, value := range values(t, m.Registry) {
			if value != before[name] {
				changed[name] = value
			}
		}
		assert.Equal(t, c.want, changed)
	}
}

// The first increase of a series that comes to be with it is invisible to rate(): what alerts look at exists from the start.
func TestMetricsExistFromTheStart(t *testing.T) {
	have := values(t, telemetry.NewMetrics("v1").Registry)
	var want []string
	for _, endpoint := range answer.Endpoints {
		for _, outcome := range exchange.Outcomes {
			want = append(want, fmt.Sprintf("calls_total endpoint=%s outcome=%s", endpoint, outcome))
		}
	}
	for _, holds := range []string{lease.HoldsToken, lease.HoldsSession, lease.HoldsKey} {
		want = append(want, "leases_total operation=renewed type="+holds, "lease_failures_total operation=issued type="+holds)
	}
	for _, name := range append(want, "events_lost_total", "logins_withheld_total", "pending_enqueued_total") {
		assert.Contains(t, have, name)
	}
}

// listener takes events and observations.
type listener struct {
	fail   error
	slow   time.Duration
	events []string
}

func (l *listener) take(ctx context.Context, text string) error {
	if l.slow > 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	l.events = append(l.events, text)
	return l.fail
}

func (l *listener) SendEvent(ctx context.Context, kind logical.EventType, event *logical.EventData) error {
	return l.take(ctx, fmt.Sprint("event ", kind, " ", event.GetMetadata().AsMap()))
}

func (l *listener) RecordObservationFromPlugin(ctx context.Context, kind string, data map[string]any) error {
	return l.take(ctx, fmt.Sprint("observation ", kind, " ", data))
}

// server is Vault's view of a server of a version.
type server struct {
	logical.StaticSystemView
	env *logical.PluginEnvironment
	err error
}

func (s server) PluginEnv(context.Context) (*logical.PluginEnvironment, error) { return s.env, s.err }

// sender is events that go to a listener of a server.
func sender(t *testing.T, l *listener, s server) (*telemetry.Events, *enginetest.Log) {
	t.Helper()
	log := &enginetest.Log{}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log})
	e := &telemetry.Events{
		Logger: func() hclog.Logger { return logger }, Metrics: telemetry.NewMetrics("v1"), System: func() logical.SystemView { return s },
	}
	e.Connect(l, l)
	require.NoError(t, e.Initialize(t.Context(), nil))
	return e, log
}

// The community server takes events and drops them: two calls for each lease would make reads slower for nothing.
func TestEventsGoToServersThatKeepThem(t *testing.T) {
	for name, c := range map[string]struct {
		server server
		sent   bool
	}{
		"Enterprise":             {server{env: &logical.PluginEnvironment{VaultVersionMetadata: "ent"}}, true},
		"Enterprise, of a kind":  {server{env: &logical.PluginEnvironment{VaultVersionMetadata: "ent.hsm"}}, true},
		"the community's":        {server{env: &logical.PluginEnvironment{}}, false},
		"one that does not tell": {server{err: errors.New("not known")}, true},
		"one that tells nothing": {server{}, true},
	} {
		l := &listener{}
		e, _ := sender(t, l, c.server)
		e.Send(telemetry.EventIssued, "creds/app", "role", "app")
		assert.Equal(t, c.sent, len(l.events) == 2, name)
		if c.sent {
			assert.Equal(t, []string{"event palette/creds-create map[path:creds/app role:app]", "observation palette/creds-create map[path:creds/app role:app]"}, l.events)
		}
	}
}

// No request fails, or waits for long, for an event that Vault does not take.
func TestEventsThatAreLostAreCounted(t *testing.T) {
	for name, l := range map[string]*listener{"Vault refuses": {fail: errors.New("no")}, "Vault is slow": {slow: time.Hour}} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			e, log := sender(t, l, server{})
			began := time.Now()
			e.Send(telemetry.EventIssued, "creds/app")
			assert.LessOrEqual(t, time.Since(began), 2*time.Second)
			assert.InDelta(t, 1, values(t, e.Metrics.Registry)["events_lost_total"], 0)
			assert.Contains(t, log.String(), telemetry.MsgEventLost)
		})
	}
}

func TestEventsOfAServerWithoutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := sender(t, &listener{}, server{})
		e.Connect(nil, nil)
		e.Send(telemetry.EventIssued, "creds/app")
		assert.Empty(t, log.String())
		l := &listener{}
		e.Connect(nil, l)
		telemetry.Pending{Metrics: e.Metrics, Events: e}.PendingRevoked(3, revocation.KindKey)
		assert.Equal(t, []string{"observation palette/pending-revoke map[count:3 path:pending type:api_key]"}, l.events)
	})
}
