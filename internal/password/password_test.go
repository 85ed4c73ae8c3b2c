package password_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/password"
)

// The stand-in keeps Palette's policy: 14 characters of all four classes.
func TestPasswordKeepsPalettesPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := palettetest.New(t, palettetest.InMemory(), palettetest.AllowLiveTokens())
		c, err := palette.NewClient(exchange.NewProcess().WithDial(palettetest.Dial), palette.Connection{Address: p.URL(), RequestTimeout: time.Minute}, "a-test", wiretest.Nobody{})
		require.NoError(t, err)
		defer c.Close()
		current := palette.Secret(palettetest.DefaultUser.Password)
		for range 50 {
			fresh, err := password.New(t.Context(), nil, "")
			require.NoError(t, err)
			assert.Len(t, fresh.Reveal(), password.Length)
			change := palette.PasswordChange{Email: palettetest.DefaultUser.Email, Current: current, New: fresh}
			require.NoError(t, c.ChangePassword(t.Context(), palette.Auth{}, change))
			current = fresh
		}
	})
}

// Without randomness there is no password, not even a weak one.
func TestPasswordNeedsRandomness(t *testing.T) {
	before := rand.Reader
	defer func() { rand.Reader = before }()
	rand.Reader = iotest.ErrReader(errors.New("no randomness"))
	made, err := password.New(t.Context(), nil, "")
	require.ErrorContains(t, err, "no randomness")
	assert.Empty(t, made)
}

// policies is Vault's view with one password policy, "mine".
type policies struct{ logical.StaticSystemView }

func (policies) GeneratePasswordFromPolicy(_ context.Context, name string) (string, error) {
	if name != "mine" {
		return "", errors.New("no such policy")
	}
	return "made-by-mine", nil
}

func TestPasswordOfAPolicy(t *testing.T) {
	made, err := password.New(t.Context(), policies{}, "mine")
	require.NoError(t, err)
	assert.Equal(t, "made-by-mine", made.Reveal())
	_, err = password.New(t.Context(), policies{}, "other")
	assert.ErrorContains(t, err, `by the policy "other": no such policy`)
}
