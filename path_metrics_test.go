package palettesecrets

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/telemetry"
)

// metricsText reads the mount's metrics.
func (w *world) metricsText() string {
	w.t.Helper()
	data := w.read("metrics").Data
	assert.Equal(w.t, http.StatusOK, data[logical.HTTPStatusCode])
	text := string(data[logical.HTTPRawBody].([]byte))
	assert.NotContains(w.t, text, "127.0.0.1", "an address")
	assert.NotRegexp(w.t, `"(app|shared|key)"`, text, "a role")
	w.noSecret("the metrics", text)
	return text
}

// metrics reads the mount's metrics as Prometheus does: by name, with labels as
// `name{a="b"}`; of a histogram the count.
func (w *world) metrics() map[string]float64 {
	w.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(w.metricsText()))
	require.NoError(w.t, err)
	out := make(map[string]float64)
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			series := strings.TrimPrefix(name, "vault_palette_")
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			// Of the three a metric has one; the others are zero.
			out[series] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetricsCountWhatTheMountDoes(t *testing.T) {
	reject := func(w *world) {
		w.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Another-Horse-8-Battery")
		_, _ = w.handle(w.t.Context(), logical.ReadOperation, "creds/app", nil)
	}
	revokeInVain := func(w *world) {
		l := w.creds("app")
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500})
		_ = l.revoke()
		w.palette.ClearAll()
	}
	for _, c := range []struct {
		name string
		do   func(*world)
		want map[string]float64 // what is added
	}{
		{"a read", func(w *world) { w.creds("app").mustRevoke() }, map[string]float64{
			`leases_total{operation="issued",type="token"}`: 1, `leases_total{operation="revoked",type="token"}`: 1,
			`calls_total{endpoint="login",outcome="ok"}`: 1, `call_duration_seconds{endpoint="login"}`: 1, `limiter_wait_seconds{resource="logins"}`: 1,
			`calls_total{endpoint="revoke",outcome="ok"}`: 1, `call_duration_seconds{endpoint="revoke"}`: 1, `limiter_wait_seconds{resource="users"}`: 1,
		}},
		{"a renewal", func(w *world) { w.creds("app").mustRenew() }, map[string]float64{`leases_total{operation="renewed",type="token"}`: 1}},
		{"a login that is refused", reject, map[string]float64{`lease_failures_total{operation="issued",type="token"}`: 1, `calls_total{endpoint="login",outcome="rejected"}`: 1}},
		{"a login that is withheld", func(w *world) { reject(w); reject(w) }, map[string]float64{`logins_withheld_total`: 1, `calls_total{endpoint="login",outcome="rejected"}`: 1}},
		{"a retry", func(w *world) {
			w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 503, Times: 1})
			w.creds("app").mustRevoke()
		}, map[string]float64{`call_retries_total{after="unavailable",endpoint="revoke"}`: 1}},
		{"a revocation that fails", revokeInVain, map[string]float64{`lease_failures_total{operation="revoked",type="token"}`: 1, "pending_enqueued_total": 1, "pending_revocations": 1}},
		{"one that is done later", func(w *world) { revokeInVain(w); w.minute() }, map[string]float64{"pending_enqueued_total": 1, "pending_removed_total": 1}},
		{"shared reads", func(w *world) { w.creds("shared"); w.creds("shared") }, map[string]float64{
			`shared_session_reads_total{state="renewed"}`: 1, `shared_session_reads_total{state="stored"}`: 1, "shared_sessions": 1,
			`leases_total{operation="issued",type="shared_session"}`: 2,
		}},
		{"a shared read of a session that cannot be refreshed", func(w *world) {
			w.creds("shared")
			time.Sleep(palettetest.DefaultLifetime / 2)
			w.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 500})
			w.creds("shared")
		}, map[string]float64{`shared_session_reads_total{state="stale"}`: 1}},
		{"an API key", func(w *world) { w.creds("key").mustRevoke() }, map[string]float64{
			`leases_total{operation="issued",type="api_key"}`: 1, `leases_total{operation="revoked",type="api_key"}`: 1,
		}},
		{"a rotation", func(w *world) { w.write("rotate-root", nil) }, map[string]float64{`rotations_total{outcome="ok",secret="password"}`: 1}},
		{"a rotation that fails", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 403})
			_, _ = w.handle(w.t.Context(), logical.UpdateOperation, "rotate-root", nil)
		}, map[string]float64{`rotations_total{outcome="failed",secret="password"}`: 1}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t, palettetest.AllowLiveTokens())
			w.write("roles/shared", fields{"shared": true, "renewable": true})
			w.write("roles/key", fields{"credential_type": "api_key"})
			before := w.metrics()
			c.do(w)
			w.wait()
			after := w.metrics()
			for series, added := range c.want {
				assert.InDelta(t, added, after[series]-before[series], 0, series)
			}
		})
	}
}

func TestMetricsTellHowOldThePasswordIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		const series = `root_secret_age_seconds{config="default"}`
		time.Sleep(time.Hour)
		assert.InDelta(t, 3600, w.metrics()[series], 0)
		w.write("config", fields{"rotation_period": "24h"}) // is not a new password
		assert.InDelta(t, 3600, w.metrics()[series], 0)
		w.write("rotate-root", nil)
		assert.InDelta(t, 0, w.metrics()[series], 0)
		time.Sleep(time.Hour)
		w.write("config", fields{"password": w.palette.Passwords()[1]})
		assert.InDelta(t, 0, w.metrics()[series], 0)
	})
}

func TestMetricsShowTheOldestOfManyPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range telemetry.MaxSeries + 1 {
			w.write(fmt.Sprintf("config/c%d", i), w.login(fields{"verify_connection": false}))
			time.Sleep(time.Second)
		}
		ages := 0
		for series := range w.metrics() {
			if strings.HasPrefix(series, "root_secret_age_seconds") {
				ages++
			}
		}
		assert.Equal(t, telemetry.MaxSeries, ages)
		assert.NotContains(t, w.metrics(), fmt.Sprintf(`root_secret_age_seconds{config="c%d"}`, telemetry.MaxSeries), "the youngest")
		assert.InDelta(t, telemetry.MaxSeries+1, w.metrics()["configs"], 0)
	})
}

func TestMetricsOfAMountAreItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.creds("app").mustRevoke()
		const issued = `leases_total{operation="issued",type="token"}`
		assert.InDelta(t, 1, w.metrics()[issued], 0)
		assert.InDelta(t, 1, w.metrics()[`build_info{version="v0.0.0-test"}`], 0)
		w.mount()
		assert.InDelta(t, 0, w.metrics()[issued], 0)
	})
}

func TestMetricsSaySoWhereTheStorageFails(t *testing.T) {
	for _, fail := range []struct{ op, prefix string }{{"list", "owed/"}, {"list", "config/"}} {
		bubble(t, fmt.Sprint(fail), func(t *testing.T) {
			w := configured(t)
			w.uncache()
			w.storage.failOn(fail.op, fail.prefix)
			_, err := w.handle(t.Context(), logical.ReadOperation, "metrics", nil)
			require.ErrorIs(t, err, errDisk, fail)
			w.storage.heal()
		})
	}
}

func TestMetricsTellOfOthersAnswersClocksAndBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.palette.SetClock(-2 * time.Minute)
		w.write("config", w.login(fields{"rate_limit": 1, "rate_burst": 1, "queue_timeout": "1s"}))
		w.write("roles/app", fields{"renewable": true})
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Foreign: true, Status: 401, Body: "<html>", Times: 1})
		time.Sleep(time.Minute)
		l := w.creds("app")
		require.Error(t, l.revoke())
		time.Sleep(900 * time.Millisecond)
		w.creds("app") // waits a little
		_, err := w.handle(t.Context(), read, "creds/app", nil)
		requireCoded(t, err, http.StatusServiceUnavailable, "rate_limit is 1 calls a second")
		m := w.metrics()
		for name, want := range map[string]float64{
			`calls_total{endpoint="revoke",outcome="foreign"}`:         1,
			`limiter_wait_seconds{resource="logins"}`:                  4,
			`limiter_turned_away_total{resource="logins"}`:             1,
			`limiter_turned_away_total{resource="users"}`:              0,
			`login_permit_wait_seconds`:                                4,
			`clock_offset_seconds{config="default"}`:                   -120,
			`logins_withheld_total`:                                    0,
			`calls_total{endpoint="create_api_key",outcome="foreign"}`: 0,
		} {
			assert.InDelta(t, want, m[name], 0.1, name)
		}
		w.palette.ClearAll()
		time.Sleep(palettetest.DefaultLifetime)
	})
}
