package palette

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// consoleAdmin is a system administrator.
var consoleAdmin = palettetest.User{Username: "admin", Password: "Console-Horse-8-Battery"}

func TestSystemLogin(t *testing.T) {
	for _, reset := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			admin := consoleAdmin
			admin.PasswordReset = reset
			r := newRig(t, palettetest.WithUser(admin))
			token, err := r.Login(t.Context(), loginOf(admin))
			require.NoError(t, err)
			assert.Equal(t, []any{reset, 15 * time.Minute}, []any{token.PasswordReset, token.Life})
			assert.Equal(t, []int{1, 0}, []int{r.palette.Calls(palettetest.SystemLogin), r.palette.Calls(palettetest.Login)})
			next, err := r.Refresh(t.Context(), token.Raw)
			require.NoError(t, err)
			require.NoError(t, r.Revoke(t.Context(), next.Raw, []Secret{token.Raw, next.Raw}))
		})
	}
}

// Of an account's failed logins no more than four reach Palette, which suspends system administrators too.
func TestSystemLoginIsProtected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.WithUser(consoleAdmin), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithLockout())
		for _, name := range []string{"admin", "Admin", "ADMIN", "aDmin", "adMin", "admIn"} {
			_, err := r.Login(t.Context(), Login{Username: name, Password: Secret("Wrong-" + name), ByOperator: true})
			assert.NotNil(t, Refusal(err), "%v", err)
		}
		assert.Equal(t, 4, r.palette.Calls(palettetest.SystemLogin))
		assert.False(t, r.palette.Suspended("admin", ""))
		token := r.login(t) // another account
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
	})
}
