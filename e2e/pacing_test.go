package e2e

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// perSecond is Palette's limit, and the engine's default.
	perSecond = 10
	// fewLimited is how many calls a limited stand-in may refuse all the same: the engine
	// spaces what it sends, and calls that a busy machine holds up on their way can still
	// arrive closer together. They are sent again, so that no reader sees it.
	fewLimited = perSecond
)

// newPaced mounts the engine for a stand-in with Palette's limits, with fields more in its
// config than those of the account.
func newPaced(t *testing.T, more map[string]any) *fixture {
	t.Helper()
	f := newMount(t, sharedServer(t), palettetest.WithRateLimit(perSecond), palettetest.WithLifetime(palettetest.DefaultLifetime))
	f.pace("", more)
	return f
}

// pace writes the config of a name ("" is the default one) and a role "app" plus that name.
// The limit is the default one unless fields say otherwise, and no more go at once than in a second.
func (f *fixture) pace(name string, more map[string]any) {
	f.t.Helper()
	data := f.login()
	delete(data, "rate_limit")
	data["verify_connection"], data["rate_burst"] = false, perSecond
	if limit, set := more["rate_limit"].(int); set {
		data["rate_burst"] = min(limit, perSecond)
	}
	maps.Copy(data, more)
	path, role := "config", map[string]any{"renewable": false}
	if name != "" {
		path, role["config_name"] = "config/"+name, name
	}
	f.write(path, data)
	f.write("roles/app"+name, role)
}

// 30 logins, each of a reader of its own, take a limit of ten a second two seconds at
// least, and nobody sees the limit.
func TestABurstIsServedWithinTheLimit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		reads func(t *testing.T, f *fixture) []served
	}{
		{"of one config", func(t *testing.T, f *fixture) []served { return burst(t, 30, "app", f) }},
		{"of two configs and two mounts", func(t *testing.T, f *fixture) []served {
			second := mountFor(t, f.vault, f.palette, f.mount+"-second")
			second.pace("", nil)
			second.pace("b", nil)
			f.pace("b", map[string]any{"rate_limit": 0}) // none of its own; the others' counts
			mixed := make(chan []served)
			go func() { mixed <- burst(t, 7, "appb", f, second) }()
			return append(burst(t, 8, "app", f, second), <-mixed...)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newPaced(t, nil)
			began := time.Now()
			answers := row.reads(t, f)
			took := time.Since(began)
			assert.Len(t, allTokens(t, answers), 30)
			assert.GreaterOrEqual(t, took, 2*time.Second, "30 calls at 10 a second")
			assert.Less(t, took, soon)
			assert.LessOrEqual(t, f.palette.Rejected429(), fewLimited)
			t.Logf("30 reads took %.1f s, %d calls met the limit", took.Seconds(), f.palette.Rejected429())
		})
	}
}

// The lowest limit of those that have called an address counts, for mounts and configs that have a
// higher one or none. When its config is gone, it is gone.
func TestTheLowestLimitCounts(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	f.pace("", map[string]any{"rate_limit": 0})
	second := mountFor(t, f.vault, f.palette, f.mount+"-second")
	second.pace("", map[string]any{"rate_limit": 100})
	timed := func() time.Duration {
		began := time.Now()
		allTokens(t, burst(t, 8, "app", f))
		return time.Since(began)
	}
	second.pace("low", map[string]any{"rate_limit": 1})
	assert.Less(t, timed(), 6*time.Second, "it has called nobody yet")
	_, err := second.creds("applow")
	require.NoError(t, err)
	limited := timed()
	assert.GreaterOrEqual(t, limited, 6*time.Second, "eight calls at one a second")
	second.cli("delete", second.mount+"/config/low")
	assert.Less(t, timed(), limited/2, "eight calls at a hundred a second")
}

// Who would wait longer than queue_timeout is told so at once: half of them within half of it,
// on a machine that takes four seconds for 60 reads.
func TestALongLineIs503(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime)) // whose own limit would answer in its words
	const reads, limit, timeout = 60, 2, 8
	f.pace("", map[string]any{"rate_limit": limit, "queue_timeout": timeout})
	answers := burst(t, reads, "app", f)
	refused := slices.DeleteFunc(slices.Clone(answers), func(a served) bool { return a.err == nil })
	// Turns come at once and in each second of the timeout, perhaps after it too.
	assert.GreaterOrEqual(t, len(answers)-len(refused), limit*timeout-1)
	require.GreaterOrEqual(t, len(refused), reads-2*limit*timeout)
	for _, a := range refused {
		text := a.err.Error()
		assert.Contains(t, text, "Code: 503")
		assert.Contains(t, text, "rate_limit is 2 calls a second")
		assert.Regexp(t, `the turn would come after \d[\d.]*s, later than queue_timeout`, text)
	}
	slices.SortFunc(refused, func(a, b served) int { return int(a.took - b.took) })
	assert.Less(t, refused[len(refused)/2].took, timeout*time.Second/2, "the refusal does not wait")
}

// Revocations and renewals end or keep what exists, and so do not wait behind logins.
func TestLeasesDoNotWaitBehindReads(t *testing.T) {
	t.Parallel()
	const many = 60 // reads, which take five seconds at the least
	f := newPaced(t, nil)
	f.write("roles/app", map[string]any{"renewable": true})
	kept, ended := f.untried(), f.untried()
	logins := f.palette.Calls(palettetest.Login)
	reads := make(chan []served)
	go func() { reads <- burst(t, many, "app", f) }()
	sent := func() int { return f.palette.Calls(palettetest.Login) - logins }
	require.Eventually(t, func() bool { return sent() > 0 }, soon, often/5)
	f.renewed(kept.LeaseID)
	require.NoError(t, f.api.Sys().RevokeWithOptionsWithContext(t.Context(), &api.RevokeOptions{LeaseID: ended.LeaseID, Sync: true}))
	assert.False(t, f.palette.Alive(tokenOf(t, ended)))
	assert.LessOrEqual(t, sent(), many*2/3, "they take the next turns, long before the last read")
	assert.Len(t, allTokens(t, <-reads), many)
	assert.LessOrEqual(t, f.palette.Rejected429(), fewLimited)
}

// untried is a read that leaves Palette's limit alone: the token is not tried there.
func (f *fixture) untried() *api.Secret {
	f.t.Helper()
	secret, err := f.creds("app")
	require.NoError(f.t, err)
	return secret
}

// A 429 says how long to wait in seconds, as a date or not at all, and no reader fails.
func TestA429IsWaitedOut(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		after func() string
		least time.Duration
	}{
		{"in seconds", func() string { return "2" }, 2 * time.Second},
		{"as a date", func() string { return time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat) }, 1500 * time.Millisecond},
		{"not at all", func() string { return "" }, 1500 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
			calls := f.palette.Calls(palettetest.Login)
			f.palette.Inject(palettetest.Login, palettetest.Fault{Status: http.StatusTooManyRequests, RetryAfter: row.after(), Times: 1})
			began := time.Now()
			assert.Len(t, allTokens(t, burst(t, 5, "app", f)), 5)
			assert.GreaterOrEqual(t, time.Since(began), row.least)
			assert.Equal(t, 5+1, f.palette.Calls(palettetest.Login)-calls)
		})
	}
}

// Faults that pass are waited out where that makes no token twice.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	id := f.read().LeaseID
	for _, status := range []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		fault := palettetest.Fault{Status: status, Times: 1}
		f.palette.Inject(palettetest.Refresh, fault)
		f.palette.Inject(palettetest.Revoke, fault)
	}
	f.renewed(id)
	f.cli("lease", "revoke", "-sync", id)
	assert.Empty(t, f.palette.LiveTokens())
	assert.Equal(t, 4, f.palette.Calls(palettetest.Refresh))
	assert.Equal(t, 1+4, f.palette.Calls(palettetest.Revoke), "the config's check, and the lease's end")
}
