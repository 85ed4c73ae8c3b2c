package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// consoleMount is a mount whose config "console" is a system administrator's, with the role "console".
func consoleMount(t *testing.T, opts ...palettetest.Option) *fixture {
	t.Helper()
	f := newMount(t, sharedServer(t), append(opts, palettetest.WithUser(palettetest.Console))...)
	out, err := f.vault.CLI(t.Context(), palettetest.Console.Password, "write", f.mount+"/config/console",
		"address="+f.palette.URL(), "login_type=system", "username="+palettetest.Console.Username, "password=-")
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stderr)
	f.write("roles/console", map[string]any{"config_name": "console"})
	return f
}

func TestSystemAdministrator(t *testing.T) {
	t.Parallel()
	f := consoleMount(t)
	shown := f.cli("read", f.mount+"/config/console")
	assert.Equal(t, []string{"system", "admin"}, []string{tableRow(t, shown, "login_type"), tableRow(t, shown, "username")})
	checked := f.cli("read", f.mount+"/check/console")
	for field, want := range map[string]string{"ok": "true", "method": "login", "user_info": "available", "refresh": "available", "revocation": "available", "password_reset": "false"} {
		assert.Equal(t, want, tableRow(t, checked, field), field)
	}
	assert.Empty(t, f.palette.LiveTokens(), "the check leaves no token")

	read, err := f.creds("console")
	require.NoError(t, err)
	renewed := tableRow(t, f.cli("lease", "renew", read.LeaseID), "token")
	assert.Equal(t, 2, f.palette.Calls(palettetest.Refresh), "of the check and the renewal")
	f.cli("lease", "revoke", "-sync", read.LeaseID)
	assert.False(t, f.palette.Alive(tokenOf(t, read)) || f.palette.Alive(renewed))
	assert.Zero(t, f.palette.Calls(palettetest.Login))

	for path, data := range map[string]map[string]any{
		"rotate-root/console": nil,
		"config/console":      {"email": "vault@example.com"},
		"config/other":        {"login_type": "system", "password": palettetest.Console.Password},
		"roles/key":           {"config_name": "console", "credential_type": "api_key"},
	} {
		_, err := f.api.Logical().WriteWithContext(t.Context(), f.mount+"/"+path, data)
		assert.ErrorContains(t, err, "Code: 400", path)
	}
}

// Where Palette says no to what it does not document: the check is the login alone, a renewal logs in, and
// tokens end by their expiry.
func TestSystemAdministratorWhomPaletteRefusesTheRest(t *testing.T) {
	t.Parallel()
	f := consoleMount(t, palettetest.AllowLiveTokens(), palettetest.WithSystemRefusal(http.StatusForbidden, palettetest.UserInfo, palettetest.Refresh, palettetest.Revoke))
	checked := f.cli("read", f.mount+"/check/console")
	for field, want := range map[string]string{"ok": "true", "user_info": "refused", "refresh": "refused", "revocation": "refused"} {
		assert.Equal(t, want, tableRow(t, checked, field), field)
	}
	for _, warning := range []string{"the check is the login alone", "a renewal logs in anew", "its tokens live to their expires_at"} {
		assert.Contains(t, strings.Join(strings.Fields(checked), " "), warning)
	}
	read, err := f.creds("console")
	require.NoError(t, err)
	logins := f.palette.Calls(palettetest.SystemLogin)
	renewed := tableRow(t, f.cli("lease", "renew", read.LeaseID), "token")
	assert.Equal(t, logins+1, f.palette.Calls(palettetest.SystemLogin))
	assert.True(t, f.palette.Alive(renewed))
	f.cli("lease", "revoke", "-sync", read.LeaseID)
	assert.True(t, f.palette.Alive(renewed), "until its expires_at")
	assert.Eventually(t, func() bool { return !f.palette.Alive(renewed) }, tokenLife+soon, often)
}
