package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// check checks on the next node that nothing is lost, and that what lives on once all is
// ended is a token of a call that was under way at the kill.
func (i *interrupted) check(t *testing.T) {
	i.t = t
	i.intact(i)
	require.Equal(t, "0", i.vault.irrevocable(t))
	require.NoError(t, i.api.Sys().UnmountWithContext(t.Context(), i.mount))
	if i.kill.late {
		i.after = len(i.palette.Issued())
	}
	assert.Eventually(t, func() bool { return len(i.palette.LiveTokens()) <= i.most() }, soon, often, "tokens live on that somebody knows of")
	assert.Subset(t, i.palette.Issued()[i.before:i.after], i.palette.LiveTokens())
}

// most is how many tokens may live on that nobody knows of. A plugin that goes on revokes
// what it still gets, unless others may use the session.
func (i *interrupted) most() int {
	if i.begin == nil || i.kill.goesOn && i.role["shared"] == nil {
		return 0
	}
	return 1
}

// ownLease checks a lease with a session of its own.
func (i *interrupted) ownLease() {
	renewAndRevoke(i.fixture, i.lease)
	i.read()
}

// sharedLease checks that the session goes on, without another login.
func (i *interrupted) sharedLease() {
	next := i.renewed(i.lease.LeaseID)
	i.works(next)
	assert.NotEqual(i.t, tokenOf(i.t, i.lease), next)
	assert.Equal(i.t, next, tokenOf(i.t, i.read()))
	assert.Equal(i.t, i.logins, i.palette.Calls(palettetest.Login), "the session goes on")
	i.cli("lease", "revoke", "-sync", i.lease.LeaseID)
	i.works(next)
	i.cli("delete", i.mount+"/sessions/default")
	i.dies(soon, tokenOf(i.t, i.lease), next)
}

// rotation checks that the rotation has ended, whoever has ended it: one password is valid,
// the engine has it, and the next rotation works.
func (i *interrupted) rotation() {
	require.Eventually(i.t, func() bool { return i.password() != palettetest.DefaultUser.Password }, soon, often, "Palette changes the password")
	i.readBack()
	renewAndRevoke(i.fixture, i.lease)
	settled := i.password()
	i.write("rotate-root", nil)
	assert.NotEqual(i.t, settled, i.password())
	i.read()
	assert.LessOrEqual(i.t, i.palette.FailedLogins(), 2, "a login with each password that may be the one")
	assert.False(i.t, i.suspended())
}

// back checks that a node that was killed and has come back serves as well as the others.
func (c *cluster) back(t, whole *testing.T, to *vaulttest.Server) {
	f := c.mount(t, whole, map[string]any{"renewable": true})
	lease := f.read()
	c.failBack(t, to)
	f.at(c.active(t))
	f.firstRead("roles/app")
	renewAndRevoke(f, lease)
	f.read()
}
