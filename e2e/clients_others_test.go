package e2e

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// withoutRole runs what a test does while a role is not there.
func (x *examples) withoutRole(t *testing.T, role string, then func()) {
	t.Helper()
	_, err := x.api.Logical().DeleteWithContext(t.Context(), "palette/roles/"+role)
	require.NoError(t, err)
	then()
	x.writeRoles(t)
}

// TestClientsThatAreCommands: a command that fails says why, and ends with a status.
func TestClientsThatAreCommands(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	commands := map[string][]string{
		"CLI":   {x.vault.Vault(), "read", "palette/creds/app"},
		"shell": {absolute(t, "shell/palette-alerts.sh")},
	}
	env := x.env(t, "palette-app")
	fail := func(says string) {
		t.Helper()
		for name, command := range commands {
			cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
			cmd.Env = append(env, "VAULT_MAX_RETRIES=0")
			out, err := vaulttest.Run(cmd, "")
			require.NoError(t, err)
			assert.Equal(t, 2, out.Code, name)
			assert.Contains(t, out.Stderr, says, name)
		}
	}
	x.withoutRole(t, "app", func() { fail(`there is no role "app"; write roles/app first`) })
	x.vault.Kill()
	x.vault.KillPlugins()
	fail("connection refused")
	require.NoError(t, x.vault.Restart(t.Context()))
	require.NoError(t, x.api.Auth().Token().RevokeTreeWithContext(t.Context(), vaultTokenIn(env)))
	fail("permission denied")
	x.over(t)
}

// TestClientsAppOnBadDays: examples/app waits for what it needs, and never uses a dead token.
func TestClientsAppOnBadDays(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	env := x.env(t, "palette-app")
	u := &user{x.startApp(t, "VAULT_TOKEN="+vaultTokenIn(env)), x, "app", env, ofApp}
	u.goesOn(t, time.Now(), soon)

	gone := time.Now()
	x.restartVault(t, vaultAway)
	assert.Contains(t, u.said(), "no token from Vault")
	assert.Less(t, u.lastCall(gone), exampleLife)
	u.goesOn(t, time.Now(), 2*time.Minute) // its pauses grow to a minute

	x.withoutRole(t, "app", func() { u.says(t, "there is no role", 2*exampleLife+soon) })
	u.goesOn(t, time.Now(), 2*time.Minute)
	u.neverDead(t)

	require.NoError(t, x.api.Auth().Token().RevokeTreeWithContext(t.Context(), vaultTokenIn(env)))
	u.says(t, "permission denied", 2*time.Minute) // the role's absence has it wait for a minute
	assert.LessOrEqual(t, deadFor(u.calls()), polling)
	assert.Equal(t, 1, u.end(t), "it cannot revoke its lease, which is gone")
	x.over(t)
}

// TestClientsAgentOnBadDays: an Agent logs in by itself. While it has no token its file keeps the last one.
func TestClientsAgentOnBadDays(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	p, file := x.startAgent(t)
	stop := x.lookAt(t, file)
	u := &user{p, x, "Agent", nil, ofLooks}
	u.goesOn(t, time.Now(), soon)

	gone := time.Now()
	x.restartVault(t, vaultAway)
	assert.Contains(t, u.said(), "connection refused")
	u.goesOn(t, time.Now(), time.Minute)
	assert.LessOrEqual(t, deadFor(u.calls()), time.Since(gone)-exampleLife+polling, "from the token's end until Vault is back")

	x.withoutRole(t, "app-agent", func() { u.says(t, `there is no role "app-agent"; write roles/app-agent first`, exampleLife+soon) })
	u.goesOn(t, time.Now(), time.Minute)

	require.NoError(t, x.api.Sys().RevokePrefixWithContext(t.Context(), "auth/approle/login"))
	revoked := time.Now()
	u.says(t, "invalid token found, re-authenticating", exampleLife+soon)
	u.goesOn(t, time.Now(), soon)
	assert.LessOrEqual(t, time.Since(revoked), exampleLife+polling, "at the Agent's next read, at three quarters of the lease")
	stop()
	require.Zero(t, u.end(t))
	x.over(t)
}
