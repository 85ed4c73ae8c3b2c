package e2e

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// manyLeases would take 20 seconds one by one under Palette's limit.
	manyLeases = 200
	// fewCalls is how many calls may end them: a hundred tokens go into one, but those that
	// come first do not wait for others, and the slower Vault is the more of them come first.
	fewCalls = manyLeases / 4
)

// newWithLeases is a fixture with manyLeases leases, from now on under Palette's limit.
func newWithLeases(t *testing.T, v *server) *fixture {
	t.Helper()
	f := newFixture(t, v, palettetest.WithLifetime(palettetest.DefaultLifetime))
	var readers sync.WaitGroup
	const atOnce = 10
	for range atOnce {
		readers.Go(func() {
			for range manyLeases / atOnce {
				_, err := f.creds("app")
				assert.NoError(t, err)
			}
		})
	}
	readers.Wait()
	require.Len(t, f.palette.LiveTokens(), manyLeases)
	f.write("config", map[string]any{"rate_limit": perSecond, "rate_burst": perSecond, "verify_connection": false}) // full buckets have room for a call each
	f.palette.SetRateLimit(perSecond)
	return f
}

// Each way to end many leases at once takes a few calls, under the limit too.
func TestManyLeasesEndInFewCalls(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.InMemory) // the shared one's logs would be searched for all of these tokens again and again
	for _, row := range []struct {
		name string
		end  func(f *fixture)
		// within: the command may return before the tokens are dead.
		within time.Duration
	}{
		{"revoked by prefix", func(f *fixture) { f.cli("lease", "revoke", "-prefix", f.mount+"/creds/app") }, soon},
		{"disabled", func(f *fixture) { f.cli("secrets", "disable", f.mount) }, 0},
		{"moved", func(f *fixture) {
			moved := f.mount + "-moved"
			require.NoError(f.t, f.api.Sys().RemountWithContext(f.t.Context(), f.mount, moved)) // the CLI takes ten seconds to look
			f.mount = moved
		}, soon},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newWithLeases(t, v)
			calls := f.palette.Calls(palettetest.Revoke)
			began := time.Now()
			row.end(f)
			returned := time.Since(began)
			if row.within == 0 {
				assert.Empty(t, f.palette.LiveTokens())
			}
			require.Eventually(t, func() bool { return len(f.palette.LiveTokens()) == 0 }, max(row.within, often), often/5)
			calls = f.palette.Calls(palettetest.Revoke) - calls
			t.Logf("the command took %.1f s; %d tokens died in %d calls within %.1f s; the largest ended %d, %d met the limit",
				returned.Seconds(), manyLeases, calls, time.Since(began).Seconds(), f.palette.LargestRevoke(), f.palette.Rejected429())
			assert.LessOrEqual(t, calls, fewCalls)
			assert.Greater(t, f.palette.LargestRevoke(), perSecond)
			assert.LessOrEqual(t, f.palette.LargestRevoke(), 100)
			assert.LessOrEqual(t, f.palette.Rejected429(), fewLimited)
			assert.Equal(t, "0", f.vault.irrevocable(t))
		})
	}
}

// A mount can be removed while Palette is away. What it leaves is in the log.
func TestAMountIsRemovedWhilePaletteIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.write("roles/shared", map[string]any{"shared": true})
	answers := append(burst(t, 3, "app", f), burst(t, 3, "shared", f)...)
	require.Len(t, allTokens(t, answers), 4)
	f.palette.Down(true)
	defer f.palette.Down(false)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	require.NoError(t, f.api.Sys().UnmountWithContext(ctx, f.mount))
	assert.True(t, f.hasLogged("the mount is removed with tokens and API keys that Palette has not ended", "tokens=4"))
	for _, token := range f.palette.LiveTokens() {
		f.palette.EndSession(token) // as the clock would
	}
}

// Nor does a mount that is removed while reads are in line for their logins leave a token
// behind: what a login brings then has no lease that could end it.
func TestAMountIsRemovedWhileReadsWait(t *testing.T) {
	t.Parallel()
	f := newPaced(t, nil)
	reads := make(chan []served)
	go func() { reads <- burst(t, 30, "app", f) }()
	require.Eventually(t, func() bool { return f.palette.Calls(palettetest.Login) >= perSecond }, soon, often/5)
	began := time.Now()
	f.cli("secrets", "disable", f.mount)
	t.Logf("the command took %.1f s", time.Since(began).Seconds())
	answers := <-reads
	assert.Len(t, answers, 30)
	require.Eventually(t, func() bool { return len(f.palette.LiveTokens()) == 0 }, soon, often, "tokens are left alive")
}

// hasLogged tells whether the server has a line with all texts in its log.
func (f *fixture) hasLogged(texts ...string) bool {
	for line := range strings.Lines(f.vault.Log()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return true
		}
	}
	return false
}
