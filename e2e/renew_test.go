package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestRenew(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	read := f.read()
	first := tokenOf(t, read)
	out := f.cli("lease", "renew", read.LeaseID)
	second := tableRow(t, out, "token")
	assert.NotEqual(t, first, second, "a renewal brings a new token")
	assert.Equal(t, read.LeaseID, tableRow(t, out, "lease_id"))
	assert.Equal(t, "10s", tableRow(t, out, "lease_duration"))
	assert.False(t, moment(t, tableRow(t, out, "expires_at")).Before(moment(t, read.Data["expires_at"])))
	f.works(second)
	f.works(first) // a renewal ends nothing

	// Renewed once more, so that there is a token that outlives the second one.
	require.Eventually(t, func() bool { return time.Until(moment(t, read.Data["expires_at"])) < tokenLife/2 }, tokenLife, often)
	third := tableRow(t, f.cli("lease", "renew", read.LeaseID), "token")
	f.dies(tokenLife, first, second)
	f.works(third)
	assert.Equal(t, 2, f.palette.Calls(palettetest.Refresh))
	assert.Equal(t, 2, f.palette.Calls(palettetest.Login), "the config's check and the read: a renewal needs no password")
}

// Vault lets a caller's increment override a lease's TTL: the engine has to cut it.
func TestAHugeIncrementDoesNotOutliveTheToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	id := f.read().LeaseID
	out := f.cli("lease", "renew", "-increment=3600", id)
	duration, err := time.ParseDuration(tableRow(t, out, "lease_duration"))
	require.NoError(t, err)
	assert.LessOrEqual(t, duration, tokenLife)
	expires := moment(t, tableRow(t, out, "expires_at"))

	// expires_at counts from before the refresh was sent, and Vault's own end from after
	// its answer; both are cut to seconds.
	assert.WithinDuration(t, expires, f.endOf(id), about)

	calls := f.palette.Calls(palettetest.Revoke)
	f.leaseEnds(id, tokenLife+soon)
	assert.WithinDuration(t, expires, time.Now(), soon, "the lease ends with the token, and not after the increment's hour")
	f.dies(soon, tableRow(t, out, "token"))
	assert.Equal(t, calls, f.palette.Calls(palettetest.Revoke), "dead tokens need no call")
}

// A lease that is renewed each second stays small: with eight tokens alive the newest is
// given again.
func TestFrequentRenewalsKeepEightTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	id := f.read().LeaseID
	seen := make(map[string]bool)
	for range 12 {
		seen[tableRow(t, f.cli("lease", "renew", id), "token")] = true
	}
	assert.Len(t, seen, 7, "and the one of the read")
	assert.Equal(t, 7, f.palette.Calls(palettetest.Refresh))
	assert.Len(t, f.palette.LiveTokens(), 8)
	f.cli("lease", "revoke", "-sync", id)
	assert.Empty(t, f.palette.LiveTokens())
}

// A renewal that cannot be says why, and the lease stays as it was.
func TestRenewalRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		before func(f *fixture, token string)
		says   string
		after  func(f *fixture)
	}{
		{
			"the session is over", func(f *fixture, token string) { f.palette.EndSession(token) },
			"Palette refuses to renew the session", nil,
		},
		{
			"the role is gone", func(f *fixture, _ string) { f.cli("delete", f.mount+"/roles/app") },
			`role "app", which issued the lease, does not exist`, func(f *fixture) { f.write("roles/app", map[string]any{"renewable": true}) },
		},
		{
			"the config is gone", func(f *fixture, _ string) { f.cli("delete", f.mount+"/config") },
			`config "default" of role "app" does not exist`, func(f *fixture) { f.write("config", f.login()) },
		},
		{
			"Palette is down", func(f *fixture, _ string) { f.palette.Down(true) },
			"could not refresh the token at Palette", func(f *fixture) { f.palette.Down(false) },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
			read := f.read()
			row.before(f, tokenOf(t, read))
			out, err := f.vault.CLI(t.Context(), "", "lease", "renew", read.LeaseID)
			require.NoError(t, err)
			require.Equal(t, 2, out.Code)
			assert.Contains(t, out.Stderr, "Code: 400")
			assert.Contains(t, out.Stderr, row.says)
			lookup, err := f.api.Sys().LookupWithContext(t.Context(), read.LeaseID)
			require.NoError(t, err)
			assert.Nil(t, lookup.Data["last_renewal"])
			if row.after != nil {
				row.after(f)
				f.works(tableRow(t, f.cli("lease", "renew", read.LeaseID), "token"))
			}
		})
	}
}
