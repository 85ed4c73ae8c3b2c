package palette_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestSystemLogin(t *testing.T) {
	for _, reset := range []bool{false, true} {
		wiretest.Bubble(t, func(t *testing.T) {
			admin := palettetest.Console
			admin.PasswordReset = reset
			r := wiretest.New(t, palettetest.WithUser(admin))
			token, err := r.Login(t.Context(), wiretest.LoginOf(admin))
			require.NoError(t, err)
			assert.Equal(t, []any{reset, 15 * time.Minute}, []any{token.PasswordReset, token.Life})
			assert.Equal(t, []int{1, 0}, []int{r.Palette.Calls(palettetest.SystemLogin), r.Palette.Calls(palettetest.Login)})
			next, err := r.Refresh(t.Context(), token.Raw)
			require.NoError(t, err)
			require.NoError(t, r.Revoke(t.Context(), next.Raw, []palette.Secret{token.Raw, next.Raw}))
		})
	}
}

// Of an account's failed logins no more than four reach Palette, which suspends system administrators too.
func TestSystemLoginIsProtected(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.WithUser(palettetest.Console), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithLockout())
		for _, name := range []string{"admin", "Admin", "ADMIN", "aDmin", "adMin", "admIn"} {
			_, err := r.Login(t.Context(), palette.Login{Username: name, Password: palette.Secret("Wrong-" + name), ByOperator: true})
			assert.NotNil(t, answer.Refusal(err), "%v", err)
		}
		assert.Equal(t, 4, r.Palette.Calls(palettetest.SystemLogin))
		assert.False(t, r.Palette.Suspended("admin", ""))
		token := r.LogIn(t) // another account
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
	})
}
