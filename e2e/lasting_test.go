package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// lastingLife lets a server start anew while a session is fresh, and the session's next
// refresh be awaited.
const lastingLife = 24 * time.Second

// readAgain is a read after something has happened to the server or its plugin. The
// request that starts the plugin anew may fail.
func (f *fixture) readAgain() string {
	f.t.Helper()
	var token string
	require.Eventually(f.t, func() bool {
		secret, err := f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/creds/app")
		if err != nil {
			f.t.Logf("reading: %v", err)
			return false
		}
		token = tokenOf(f.t, secret)
		return true
	}, soon, often)
	return token
}

// A session is over when somebody ends it, not when Vault or the plugin restarts.
func TestASharedSessionOutlives(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	f := newShared(t, v, palettetest.DefaultLifetime)
	brief := mountFor(t, v, palettetest.New(t, palettetest.WithLifetime(lastingLife)), "brief")
	v.watch(brief.palette.Issued)
	brief.write("config", brief.login())
	brief.write("roles/app", map[string]any{"shared": true})

	token := tokenOf(t, f.read())
	shown := f.session("default")
	logins := f.palette.Calls(palettetest.Login)
	killPlugin := func() {
		require.NotEmpty(t, v.PluginPIDs())
		require.Positive(t, v.KillPlugins())
	}
	for _, row := range []struct {
		name string
		do   func()
	}{
		{"a reload of the plugin", func() { f.cli("plugin", "reload", "-plugin="+vaulttest.PluginName) }},
		{"a reload of the mount", func() {
			_, err := f.api.Logical().WriteWithContext(t.Context(), "sys/plugins/reload/backend", map[string]any{"mounts": f.mount})
			require.NoError(t, err)
		}},
		{"a killed plugin", killPlugin},
		{"a seal", func() {
			f.cli("operator", "seal")
			require.NoError(t, v.Unseal(t.Context()))
		}},
		{"a killed server", func() {
			brief.read() // which begins a session that will need a refresh soon
			v.Kill()
			require.NoError(t, v.Restart(t.Context()))
		}},
	} {
		row.do()
		assert.Equal(t, token, f.readAgain(), row.name)
		assert.True(t, f.palette.Alive(token), row.name)
		assert.Equal(t, shown, f.session("default"), row.name)
	}
	assert.Equal(t, logins, f.palette.Calls(palettetest.Login))
	assert.Zero(t, f.palette.Calls(palettetest.Refresh))

	first := brief.readAgain()
	logins = brief.palette.Calls(palettetest.Login)
	require.Eventually(t, func() bool { return brief.readAgain() != first }, lastingLife, often)
	assert.Equal(t, 1, brief.palette.Calls(palettetest.Refresh), "the new process refreshes what the old one logged in for")
	assert.Equal(t, 2, logins, "the config's check and the first read")
	assert.Equal(t, logins, brief.palette.Calls(palettetest.Login))

	f.cli("secrets", "disable", f.mount)
	assert.False(t, f.palette.Alive(token), "the mount's end is the session's")
}
