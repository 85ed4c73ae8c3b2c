package e2e

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// killLife lets a killed server start again before the token dies.
const killLife = time.Minute

// renewAndRevoke shows that a lease is whole: its renewal brings a token that works, the
// first one lives on, and a revocation ends both.
func renewAndRevoke(f *fixture, read *api.Secret) {
	f.t.Helper()
	var second, said string
	// After a crash the request that starts the plugin anew may fail.
	require.Eventually(f.t, func() bool {
		renewed, err := f.api.Sys().RenewWithContext(f.t.Context(), read.LeaseID, 0)
		if err != nil {
			if said != err.Error() {
				said = err.Error()
				f.t.Logf("renewing: %s", said)
			}
			return false
		}
		second = tokenOf(f.t, renewed)
		return true
	}, soon, often)
	first := tokenOf(f.t, read)
	require.NotEqual(f.t, first, second)
	f.works(first)
	f.works(second)
	f.cli("lease", "revoke", "-sync", read.LeaseID)
	f.dies(soon, first, second)
}

func TestPluginKilledBetweenIssueAndRenewal(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.InMemory)
	f := newFixture(t, v, palettetest.WithLifetime(killLife))
	read := f.read()
	before := v.PluginPIDs()
	require.NotEmpty(t, before)
	require.Equal(t, len(before), v.KillPlugins())
	renewAndRevoke(f, read)
	for _, pid := range v.PluginPIDs() {
		assert.NotContains(t, before, pid)
	}
}

func TestServerKilledBetweenIssueAndRenewal(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	f := newFixture(t, v, palettetest.WithLifetime(killLife))
	read := f.read()
	orphans := v.PluginPIDs()
	require.NotEmpty(t, orphans)
	v.Kill()
	require.False(t, v.Running())
	require.Subset(t, v.PluginPIDs(), orphans, "kill -9 of Vault leaves the plugin behind")
	require.NoError(t, v.Restart(t.Context()))
	renewAndRevoke(f, read)
	f.read() // the config, and its password, are still there
	assert.Equal(t, "0", v.irrevocable(t))
}

// The harness ends what a killed server has left behind, and removes its files.
func TestStopEndsOrphans(t *testing.T) {
	t.Parallel()
	takeSlots(t, 1)
	v, err := vaulttest.Start(t.Context(), vaulttest.Options{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	require.NoError(t, v.Register(t.Context()))
	require.NoError(t, v.Mount(t.Context(), "palette"))
	client, err := v.Client()
	require.NoError(t, err)
	_, err = client.Logical().ListWithContext(t.Context(), "palette/roles")
	require.NoError(t, err)
	v.Kill()
	require.NotEmpty(t, v.PluginPIDs())
	v.Stop()
	assert.Empty(t, v.PluginPIDs())
	assert.NoDirExists(t, v.Dir)
}
