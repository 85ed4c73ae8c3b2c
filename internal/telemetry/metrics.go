// Package telemetry counts what a mount does, and tells Vault of what has changed.
//
// Promise: no secret, and nothing that comes from Palette or a request, is in a label or an event.
//
// State: the counters of a mount, which guard themselves.
package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/session"
)

// Namespace begins the name of each of the engine's metrics.
const Namespace = "vault_palette"

// Metrics counts what one mount does since its plugin process began. A reload, a crash and another
// active node begin at zero, which Prometheus takes for a counter's reset. No label has a value
// that comes from Palette, from a request or from a secret.
type Metrics struct {
	// Registry holds all of the metrics.
	Registry *prometheus.Registry

	calls, retries, turnedAway *prometheus.CounterVec
	duration, waits            *prometheus.HistogramVec
	withheld                   prometheus.Counter
	permits                    prometheus.Histogram

	leases, leaseFailures           *prometheus.CounterVec
	pendingEnqueued, pendingRemoved prometheus.Counter
	sharedReads, sharedKeyReads     *prometheus.CounterVec
	rotations                       *prometheus.CounterVec
	eventsLost                      prometheus.Counter
}

var _ exchange.Observer = (*Metrics)(nil)

// Values of labels.
const (
	LeaseIssued  = "issued"
	LeaseRenewed = "renewed"
	LeaseRevoked = "revoked"

	// SecretPassword and SecretKey are what a rotation has rotated.
	SecretPassword = "password"
	SecretKey      = "api_key"

	outcomeOK     = "ok"
	outcomeFailed = "failed"
)

// callSeconds reaches from a call within a data centre to the longest request_timeout,
// waitSeconds to the longest queue_timeout.
var (
	callSeconds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 80}
	waitSeconds = []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
)

// NewMetrics makes the metrics of a mount. version is the plugin's.
func NewMetrics(version string) *Metrics {
	registry := prometheus.NewRegistry()
	with := promauto.With(registry)
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: Namespace, Name: name, Help: help}
	}
	histogram := func(name, help string, buckets []float64, label string) *prometheus.HistogramVec {
		return with.NewHistogramVec(prometheus.HistogramOpts{Namespace: Namespace, Name: name, Help: help, Buckets: buckets}, []string{label})
	}
	m := &Metrics{
		Registry:        registry,
		calls:           with.NewCounterVec(opts("calls_total", "Tries of calls to Palette, by endpoint and outcome."), []string{"endpoint", "outcome"}),
		duration:        histogram("call_duration_seconds", "How long a try of a call to Palette took, without the wait before it.", callSeconds, "endpoint"),
		retries:         with.NewCounterVec(opts("call_retries_total", "Calls that were sent again, by what the try before had met."), []string{"endpoint", "after"}),
		waits:           histogram("limiter_wait_seconds", "How long calls waited for their turn in the bucket of a resource of Palette's, under rate_limit or while Palette held them back.", waitSeconds, "resource"),
		turnedAway:      with.NewCounterVec(opts("limiter_turned_away_total", "Calls that were not sent: their turn would have come after queue_timeout, or their caller hung up."), []string{"resource"}),
		withheld:        with.NewCounter(opts("logins_withheld_total", "Logins that were not let go out, so that Palette does not suspend the account.")),
		permits:         with.NewHistogram(prometheus.HistogramOpts{Namespace: Namespace, Name: "login_permit_wait_seconds", Help: "How long logins waited for others of their account: one goes at a time until the password has worked, then three.", Buckets: waitSeconds}),
		leases:          with.NewCounterVec(opts("leases_total", "Leases issued, renewed and revoked, by what they hold."), []string{"operation", "type"}),
		leaseFailures:   with.NewCounterVec(opts("lease_failures_total", "Issues, renewals and revocations of leases that failed, for whatever reason."), []string{"operation", "type"}),
		pendingEnqueued: with.NewCounter(opts("pending_enqueued_total", "Revocations that became pending, to be retried each minute.")),
		pendingRemoved:  with.NewCounter(opts("pending_removed_total", "Pending revocations that are over: Palette has ended the credential, or the credential is dead.")),
		sharedReads:     with.NewCounterVec(opts("shared_session_reads_total", "Reads and renewals that were given a shared session: as it was stored, renewed after a wait, or stale since its refresh had failed."), []string{"state"}),
		sharedKeyReads:  with.NewCounterVec(opts("shared_key_reads_total", "Reads and renewals that were given a shared API key. The state is stored, renewed after a wait, or stale since the key could not be replaced."), []string{"state"}),
		rotations:       with.NewCounterVec(opts("rotations_total", "Rotations of the configs' passwords and API keys."), []string{"secret", "outcome"}),
		eventsLost:      with.NewCounter(opts("events_lost_total", "Events that Vault did not take.")),
	}
	with.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: "build_info", Help: "1, labelled with the plugin's version."}, []string{"version"}).WithLabelValues(version).Set(1)
	registry.MustRegister(ofProcess()...)
	m.begin()
	return m
}

// ofProcess are the collectors of the plugin's process, which may serve several mounts. They are made
// once: that takes longer than all else of a mount's metrics.
var ofProcess = sync.OnceValue(func() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
})

// begin makes the series that alerts look at exist from the start: the first increase of
// one that comes to be with it is invisible to rate().
func (m *Metrics) begin() {
	for _, endpoint := range answer.Endpoints {
		for _, outcome := range exchange.Outcomes {
			m.calls.WithLabelValues(endpoint, string(outcome))
		}
		m.duration.WithLabelValues(endpoint)
	}
	for _, resource := range answer.Resources {
		m.waits.WithLabelValues(resource)
		m.turnedAway.WithLabelValues(resource)
	}
	for _, operation := range []string{LeaseIssued, LeaseRenewed, LeaseRevoked} {
		for _, holds := range []string{lease.HoldsToken, lease.HoldsSession, lease.HoldsKey, lease.HoldsSharedKey} {
			m.leases.WithLabelValues(operation, holds)
			m.leaseFailures.WithLabelValues(operation, holds)
		}
	}
	for _, state := range []string{session.StateStored, session.StateRenewed, session.StateStale} {
		m.sharedReads.WithLabelValues(state)
		m.sharedKeyReads.WithLabelValues(state)
	}
	for _, secret := range []string{SecretPassword, SecretKey} {
		for _, outcome := range []string{outcomeOK, outcomeFailed} {
			m.rotations.WithLabelValues(secret, outcome)
		}
	}
}

// Called implements exchange.Observer, as do the others below.
func (m *Metrics) Called(endpoint string, outcome exchange.Outcome, took time.Duration) {
	m.calls.WithLabelValues(endpoint, string(outcome)).Inc()
	m.duration.WithLabelValues(endpoint).Observe(took.Seconds())
}

// Waited counts a wait for a turn in a resource's bucket.
func (m *Metrics) Waited(resource string, took time.Duration, got bool) {
	m.waits.WithLabelValues(resource).Observe(took.Seconds())
	if !got {
		m.turnedAway.WithLabelValues(resource).Inc()
	}
}

// Retried counts a call that is sent again.
func (m *Metrics) Retried(endpoint string, after exchange.Outcome) {
	m.retries.WithLabelValues(endpoint, string(after)).Inc()
}

// Queued counts a login's wait for others of its account.
func (m *Metrics) Queued(took time.Duration, _ bool) { m.permits.Observe(took.Seconds()) }

// Withheld counts a login that the login protection refused.
func (m *Metrics) Withheld() { m.withheld.Inc() }

// Lease counts what has become of an operation on a lease.
func (m *Metrics) Lease(operation, holds string, ok bool) {
	if ok {
		m.leases.WithLabelValues(operation, holds).Inc()
	} else {
		m.leaseFailures.WithLabelValues(operation, holds).Inc()
	}
}

// Rotation counts a rotation that has ended.
func (m *Metrics) Rotation(secret string, ok bool) {
	outcome := outcomeFailed
	if ok {
		outcome = outcomeOK
	}
	m.rotations.WithLabelValues(secret, outcome).Inc()
}

// SharedRead counts a read or a renewal that was given a shared session.
func (m *Metrics) SharedRead(state string) { m.sharedReads.WithLabelValues(state).Inc() }

// SharedKeyRead counts a read or a renewal that was given a shared API key.
func (m *Metrics) SharedKeyRead(state string) { m.sharedKeyReads.WithLabelValues(state).Inc() }

// PendingEnqueued counts a revocation that becomes pending.
func (m *Metrics) PendingEnqueued() { m.pendingEnqueued.Inc() }

// PendingRemoved counts a pending revocation that is over.
func (m *Metrics) PendingRemoved() { m.pendingRemoved.Inc() }
