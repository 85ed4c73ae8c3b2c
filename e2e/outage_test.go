package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// outageLife outlives Vault's tries, so that whoever ends the tokens here it is not
	// their own expiry.
	outageLife = 6 * time.Minute
	// givenUp bounds when Vault has repeated a revocation 30 s after its first try: the
	// tries are 10 s, 20 s and 40 s apart, give or take half.
	givenUp = 105*time.Second + soon
	// nextRun bounds when the engine has gone through its list: it does each minute.
	nextRun = time.Minute + soon
)

// Palette is away while leases end: one by revocation, one by the role's ttl. Vault would
// give them up as irrevocable; the engine owns their tokens and ends them when Palette is
// back.
func TestAnOutageOfPaletteLeavesNoTokenAlive(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(outageLife))
	f.write("roles/app", map[string]any{"ttl": "5s"})
	expires := f.read()
	f.write("roles/app", map[string]any{"ttl": 0})
	revoked := f.read()
	second := tableRow(t, f.cli("lease", "renew", revoked.LeaseID), "token")
	tokens := []string{tokenOf(t, expires), tokenOf(t, revoked), second}

	f.palette.Down(true)
	began := time.Now()
	before := f.palette.Calls(palettetest.Revoke)
	out, err := f.vault.CLI(t.Context(), "", "lease", "revoke", "-sync", revoked.LeaseID)
	require.NoError(t, err)
	require.Equal(t, 2, out.Code)
	assert.Contains(t, out.Stderr, "is pending in Vault's storage, and the engine retries each minute")
	f.cli("lease", "revoke", revoked.LeaseID) // asynchronously, which Vault repeats

	f.leaseEnds(revoked.LeaseID, givenUp)
	f.leaseEnds(expires.LeaseID, givenUp)
	t.Logf("Vault has let go of both leases %.0f s after the first failure", time.Since(began).Seconds())
	assert.GreaterOrEqual(t, f.palette.Calls(palettetest.Revoke)-before, 3)
	for _, token := range tokens {
		require.True(t, f.palette.Alive(token), "the leases are gone and the tokens live: they are on the engine's list")
	}
	log := f.ofThisPalette()
	assert.Contains(t, log, "a lease ends, and the revocation of its credential stays pending")
	assert.NotContains(t, log, "revoked tokens whose revocation was pending")

	f.palette.Down(false)
	f.dies(nextRun, tokens...)
	t.Logf("the engine has ended the tokens %.0f s after the first failure; by themselves they would have died after %.0f s",
		time.Since(began).Seconds(), outageLife.Seconds())
	assert.Less(t, time.Since(began), outageLife-time.Minute)
	assert.Equal(t, len(tokens), f.palette.LargestRevoke(), "one call for both leases")
	require.Eventually(t, func() bool {
		return strings.Contains(f.ofThisPalette(), "revoked tokens whose revocation was pending")
	}, soon, often)
	assert.Equal(t, "0", f.vault.irrevocable(t))
	assert.Empty(t, f.palette.LiveTokens())
}

// ofThisPalette is what the server has logged of the fixture's stand-in.
func (f *fixture) ofThisPalette() string {
	var lines []string
	for _, line := range strings.Split(f.vault.Log(), "\n") {
		if strings.Contains(line, f.palette.URL()) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
