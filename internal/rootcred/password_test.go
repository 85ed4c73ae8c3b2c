package rootcred

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// The stand-in keeps Palette's policy: 14 characters of all four classes.
func TestPasswordIsOfAllFourClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := palettetest.New(t, palettetest.InMemory(), palettetest.AllowLiveTokens())
		c, err := palette.NewProcess().WithDial(palettetest.Dial).NewClient(palette.Connection{Address: p.URL(), RequestTimeout: time.Minute}, "a-test", nil)
		require.NoError(t, err)
		defer c.Close()
		current := palette.Secret(palettetest.DefaultUser.Password)
		for range 50 {
			fresh, err := new(Manager).newPassword(t.Context(), "")
			require.NoError(t, err)
			change := palette.PasswordChange{Email: palettetest.DefaultUser.Email, Current: current, New: fresh}
			require.NoError(t, c.ChangePassword(t.Context(), palette.Auth{}, change))
			current = fresh
		}
	})
}
