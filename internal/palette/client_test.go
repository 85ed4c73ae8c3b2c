package palette_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoginRefreshRevoke(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		first := r.LogIn(t)
		assert.Equal(t, 15*time.Minute, first.Life)
		assert.WithinDuration(t, wiretest.Epoch.Add(15*time.Minute), first.ExpiresAt, 0)
		time.Sleep(time.Minute)
		second, err := r.Refresh(t.Context(), first.Raw)
		require.NoError(t, err)
		assert.WithinDuration(t, wiretest.Epoch.Add(16*time.Minute), second.ExpiresAt, 0)
		require.NoError(t, r.Revoke(t.Context(), second.Raw, []palette.Secret{first.Raw, second.Raw}))
		assert.Empty(t, r.Palette.LiveTokens())
		assert.Zero(t, r.Palette.CookiesSet())

		_, err = r.Refresh(t.Context(), first.Raw)
		assert.Equal(t, answer.Rejected, answer.KindOf(err))
		err = r.Revoke(t.Context(), first.Raw, []palette.Secret{first.Raw})
		var e *answer.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, http.StatusUnauthorized, e.Status)
		assert.NotEmpty(t, e.Message)
		assert.NotEmpty(t, e.Code)
		assert.NotEmpty(t, e.Ref)
	})
}

func TestMFAIsAnErrorWithItsToken(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		r.Palette.Inject(palettetest.Login, palettetest.Fault{MFA: true})
		_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
		var mfa *palette.MFAError
		require.ErrorAs(t, err, &mfa)
		assert.NotEmpty(t, mfa.Token)
		assert.NotContains(t, err.Error(), mfa.Token.Reveal())
		assert.Contains(t, err.Error(), "second factor")
		assert.Zero(t, answer.KindOf(err))
	})
}

func TestClientOfAConnectionThatCannotWork(t *testing.T) {
	_, err := palette.NewClient(exchange.NewProcess(), palette.Connection{Address: "https://palette.example.com", CACert: "none"}, "a-test/1", wiretest.Nobody{})
	var mistake *transport.FieldError
	require.ErrorAs(t, err, &mistake)
	assert.Equal(t, "ca_cert", mistake.Field)
}
