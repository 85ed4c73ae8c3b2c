package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// openedHere is a mount with all that there may be open, and both of its Palettes there.
func openedHere(t *testing.T) *opened {
	t.Helper()
	o := open(newMount(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime)), apiKeys)
	o.away.Down(false)
	return o
}

// A move ends all leases, as Vault does it, and nothing else: configs and roles are at the
// new path, and so is the shared session.
func TestAMovedMount(t *testing.T) {
	t.Parallel()
	o := openedHere(t)
	from := o.mount
	o.mount += "-moved"
	assert.Contains(t, o.cli("secrets", "move", from, o.mount), "Success")
	o.nothingBut(o.token)
	for _, lease := range []string{o.lease.LeaseID, o.key.LeaseID} {
		o.leaseEnds(lease, soon)
	}
	old, err := o.api.Logical().ReadWithContext(t.Context(), from+"/creds/app")
	require.NoError(t, err)
	require.Nil(t, old, "nothing is at the old path")

	o.lease, o.key = o.read(), o.firstRead("creds/keys")
	o.first = tokenOf(t, o.lease)
	o.goesOn("the move")
	o.settles()
	o.cli("lease", "revoke", "-sync", "-prefix", o.mount+"/creds")
	o.nothingBut(o.token)
	assert.Equal(t, "0", o.vault.irrevocable(t))
}

// With the mount ends all that it has open: when the command returns, nothing is alive.
func TestADisabledMount(t *testing.T) {
	t.Parallel()
	o := openedHere(t)
	o.cli("secrets", "disable", o.mount)
	assert.Empty(t, o.alive())
	assert.Empty(t, o.palette.LiveKeys())
}
