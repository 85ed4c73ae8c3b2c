package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// vaultAway is how long Vault is away: longer than a token lives here, so that its consumers are without one.
const vaultAway = 30 * time.Second

// anHour is an AppRole whose Vault tokens outlive the test.
func (x *examples) anHour(t *testing.T) []string {
	t.Helper()
	return x.appRole(t, time.Hour)
}

// lastCall is how long after a moment the last call was.
func (u *user) lastCall(after time.Time) time.Duration {
	calls := u.calls()
	return calls[len(calls)-1].at.Sub(after)
}

// TestClientsWithoutVault: they go on with what they have, stop before that ends, and go on when Vault is back.
func TestClientsWithoutVault(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	users := x.startScripts(t, "app", x.anHour)
	gone := time.Now()
	x.restartVault(t, vaultAway)
	back := time.Now()
	for _, u := range users {
		inBetween := strings.Count(u.said(), "no new credential, next try in")
		assert.GreaterOrEqual(t, inBetween, 2, "%s tells its operator", u.name)
		assert.Less(t, u.lastCall(gone), exampleLife, "%s makes no call without a live credential", u.name)
		// The pauses between its tries double: the last one is as long as Vault was away at the most.
		u.goesOn(t, back, vaultAway+soon)
		u.neverDead(t)
		u.ends(t)
	}
	x.over(t)
}

// TestClientsWhoseVaultTokenEnds: whoever revokes it revokes its leases. They log in when Palette rejects their token.
func TestClientsWhoseVaultTokenEnds(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	users := x.startScripts(t, "app", x.anHour)
	require.NoError(t, x.api.Sys().RevokePrefixWithContext(t.Context(), "auth/approle/login"))
	revoked := time.Now()
	for _, u := range users {
		u.goesOn(t, revoked, soon)
		assert.LessOrEqual(t, deadFor(u.calls()), polling, u.name)
		u.ends(t)
	}
	x.over(t)
}

// TestClientsWithAVaultTokenAlone: they cannot log in, and end with a message for whoever gives them one.
func TestClientsWithAVaultTokenAlone(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	users := x.startScripts(t, "app", func(t *testing.T) []string { return x.env(t, "palette-app") })
	for _, u := range users {
		token := vaultTokenIn(u.env)
		require.NoError(t, x.api.Auth().Token().RevokeTreeWithContext(t.Context(), token))
		u.says(t, "Vault refuses VAULT_TOKEN: it has expired, or no policy allows palette/creds/app", soon)
		<-u.ended
		assert.Equal(t, 1, u.cmd.ProcessState.ExitCode(), u.name)
		assert.Empty(t, leaksIn("what it said", u.said(), append(tokens(u.calls()), token)))
	}
	x.over(t)
}

// vaultTokenIn is the VAULT_TOKEN of an environment, whose last one counts.
func vaultTokenIn(env []string) (token string) {
	for _, entry := range env {
		if value, is := strings.CutPrefix(entry, "VAULT_TOKEN="); is {
			token = value
		}
	}
	return token
}

// TestClientsWithoutTheirRole: what they have is good until it ends. Then they name the role, and wait for it.
func TestClientsWithoutTheirRole(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	users := x.startScripts(t, "app", x.anHour)
	_, err := x.api.Logical().DeleteWithContext(t.Context(), "palette/roles/app")
	require.NoError(t, err)
	deleted := time.Now()
	require.NoError(t, vaulttest.Pause(t.Context(), 2*exampleLife))
	for _, u := range users {
		u.says(t, `there is no role "app"; write roles/app first`, soon)
		assert.Greater(t, u.lastCall(deleted), exampleLife/2, "%s uses what it has", u.name)
		assert.Less(t, u.lastCall(deleted), exampleLife, "%s makes no call without a live credential", u.name)
	}
	x.writeRoles(t)
	for _, u := range users {
		u.goesOn(t, time.Now(), 2*exampleLife+soon)
		u.neverDead(t)
		u.ends(t)
	}
	x.over(t)
}
