package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestCheckByCLI(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	check := func(want map[string]string) {
		t.Helper()
		printed := f.cli("read", f.mount+"/check")
		for key, value := range want {
			assert.Contains(t, tableRow(t, printed, key), value, key)
		}
	}
	check(map[string]string{"ok": "true", "method": "login", "org": palettetest.DefaultUser.Org, "token_life": "10", "revocation": "available"})
	assert.Empty(t, f.palette.LiveTokens())

	f.palette.Down(true)
	check(map[string]string{"ok": "false", "step": "login", "error": "closed", "advice": "request_timeout"})
	f.palette.Down(false)
	f.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Another-Horse-8-Battery")
	check(map[string]string{"ok": "false", "step": "login", "error": "rejects", "advice": "write config/default"})
	check(map[string]string{"ok": "false", "withheld_until": "T"})
	assert.Equal(t, 1, f.palette.FailedLogins())

	out, err := f.vault.CLI(t.Context(), "", "read", f.mount+"/check/defualt")
	require.NoError(t, err)
	assert.NotZero(t, out.Code)
	assert.Contains(t, out.Stderr, `there is no config "defualt"`)
	assert.Contains(t, out.Stderr, "Code: 400", strings.TrimSpace(out.Stderr))
}
