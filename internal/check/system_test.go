package check_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/check"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// What Palette does not document for a system administrator is tried. Where Palette says no, a warning says
// what the engine does instead; another trouble is no no.
func TestCheckOfASystemAdministrator(t *testing.T) {
	const ok, no = check.CallAvailable, check.CallRefused
	for name, c := range map[string]struct {
		prepare func(*palettetest.Server)
		want    []any // ok, user_info, refresh, revocation
		says    string
		pending int
	}{
		"nothing is refused":           {func(*palettetest.Server) {}, []any{true, ok, ok, ok}, "", 0},
		"user info is refused":         {refused(403, palettetest.UserInfo), []any{true, no, ok, ok}, "the check is the login alone", 0},
		"the refresh is refused":       {refused(401, palettetest.Refresh), []any{true, ok, no, ok}, "a renewal logs in anew", 0},
		"the revocation is refused":    {refused(404, palettetest.Revoke), []any{true, ok, ok, no}, "its tokens live to their expires_at", 0},
		"user info meets trouble":      {trouble(palettetest.UserInfo), []any{false, nil, nil, ok}, "", 0},
		"the refresh meets trouble":    {trouble(palettetest.Refresh), []any{true, ok, check.CallFailed, ok}, "is not known", 0},
		"the revocation meets trouble": {trouble(palettetest.Revoke), []any{true, ok, ok, check.RevocationFailed}, "the revocation is pending", 2},
		"the login meets trouble":      {trouble(palettetest.SystemLogin), []any{false, nil, nil, check.RevocationNotAsked}, "", 0},
		"Palette rejects the login too": {func(p *palettetest.Server) {
			p.SetPassword(palettetest.Console.Username, "", "Another-Horse-9-Battery")
		}, []any{false, nil, nil, check.RevocationNotAsked}, "", 0},
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t, palettetest.AllowLiveTokens(), palettetest.WithUser(palettetest.Console))
			m.Configure(asConsole)
			c.prepare(m.Palette)
			found, warnings, err := m.checker.Run(t.Context(), m.Storage, enginetest.Name, m.Stored(), false)
			require.NoError(t, err)
			assert.Equal(t, c.want, fields(found, "ok", "user_info", "refresh", "revocation"))
			assert.Contains(t, strings.Join(warnings, "\n"), c.says)
			assert.Equal(t, c.says != "", len(warnings) == 1, "%v", warnings)
			assert.Equal(t, c.pending, m.Pending())
		})
	}
}

// The session's token may be dead where Palette does not say whose it is: a login tells more.
func TestCheckOfASystemAdministratorsSession(t *testing.T) {
	enginetest.Bubble(t, "session", func(t *testing.T) {
		m := newMount(t, palettetest.AllowLiveTokens(), palettetest.WithUser(palettetest.Console))
		m.Configure(asConsole)
		_, err := m.Sessions.Current(t.Context(), m.Storage, enginetest.Name, m.Stored())
		require.NoError(t, err)
		assert.Equal(t, []any{"session", check.CallAvailable, nil}, fields(m.found(), "method", "user_info", "refresh"))
		refused(401, palettetest.UserInfo)(m.Palette)
		assert.Equal(t, []any{"login", check.CallRefused, check.CallAvailable}, fields(m.found(), "method", "user_info", "refresh"))
	})
}

func asConsole(c *store.Config) {
	u := palettetest.Console
	c.LoginType, c.Username, c.Email, c.Org, c.Password = store.LoginSystem, u.Username, "", "", palette.Secret(u.Password)
}

func refused(status int, at palettetest.Endpoint) func(*palettetest.Server) {
	return func(p *palettetest.Server) { p.SetSystemRefusal(status, at) }
}

func trouble(at palettetest.Endpoint) func(*palettetest.Server) {
	return func(p *palettetest.Server) { p.Inject(at, palettetest.Fault{Status: 500}) }
}
