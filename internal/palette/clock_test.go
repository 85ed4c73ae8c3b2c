package palette_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// createUntil makes a key that ends at a time of ours.
func createUntil(t *testing.T, r *wiretest.Rig, auth palette.Auth, at time.Time) (string, palette.Secret, error) {
	t.Helper()
	expiry, err := r.OnPalettesClock(t.Context(), auth, at)
	if err != nil {
		return "", "", err
	}
	return r.CreateAPIKey(t.Context(), auth, palette.NewAPIKey{Name: "new", Expiry: expiry})
}

func updateUntil(t *testing.T, r *wiretest.Rig, auth palette.Auth, uid string, at time.Time) error {
	t.Helper()
	expiry, err := r.OnPalettesClock(t.Context(), auth, at)
	if err != nil {
		return err
	}
	return r.UpdateAPIKey(t.Context(), auth, uid, palette.NewAPIKey{Name: "new", Expiry: expiry})
}

// The expiry that a key gets is a time on Palette's clock, whatever that shows.
func TestKeyExpiryIsByPalettesClock(t *testing.T) {
	for _, offset := range []time.Duration{0, 3 * time.Minute, -5 * time.Minute, 299 * time.Millisecond, 90*time.Second + 700*time.Millisecond, 14*time.Minute + 59*time.Second, -14*time.Minute - 59*time.Second} {
		wiretest.InBubble(t, offset.String(), func(t *testing.T) {
			r := wiretest.New(t, palettetest.AllowLiveTokens(), palettetest.WithLifetime(72*time.Hour))
			auth := r.Auth(t)
			r.Key(t, auth, "there")
			r.Palette.SetClock(offset)
			_, err := r.UserInfo(t.Context(), auth) // the newest answer counts
			require.NoError(t, err)
			const life = 2 * time.Minute
			uid, _, err := createUntil(t, r, auth, time.Now().Add(life))
			require.NoError(t, err)
			expiry := func() time.Time { return r.Palette.Keys()[1].Expiry }
			assert.WithinDuration(t, wiretest.Epoch.Add(offset+life), expiry(), time.Second)
			time.Sleep(time.Minute)
			require.NoError(t, updateUntil(t, r, auth, uid, time.Now().Add(life)))
			assert.WithinDuration(t, wiretest.Epoch.Add(offset+time.Minute+life), expiry(), time.Second)
			// It dies by that clock, as long after as was meant.
			time.Sleep(life - time.Second)
			assert.Len(t, r.Palette.LiveKeys(), 2)
			time.Sleep(2 * time.Second)
			assert.Len(t, r.Palette.LiveKeys(), 1)
		})
	}
}

// Where no answer has told of Palette's clock yet, it is asked.
func TestKeyExpiryAsksForPalettesClock(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, auth := wiretest.WithKey(t)
		r.Palette.SetClock(10 * time.Minute)
		r.Process = wiretest.NewProcess()
		r.Use(t, r.Conn)
		before := r.Palette.Calls(palettetest.UserInfo)
		for range 3 {
			_, _, err := createUntil(t, r, auth, time.Now().Add(time.Hour))
			require.NoError(t, err)
		}
		assert.Equal(t, 1, r.Palette.Calls(palettetest.UserInfo)-before)
		assert.WithinDuration(t, wiretest.Epoch.Add(10*time.Minute+time.Hour), r.Palette.Keys()[1].Expiry, time.Second)

		for name, c := range map[string]struct {
			fault   palettetest.Fault
			auth    palette.Auth
			kind    answer.Kind
			verdict answer.Verdict
		}{
			"a gateway answers": {wiretest.Page(401), auth, answer.Foreign, answer.NotDone},
			"it is down":        {palettetest.Fault{Drop: true}, auth, answer.Unreachable, answer.NotDone},
			"the token is dead": {palettetest.Fault{}, palette.Auth{Token: "dead"}, answer.Rejected, answer.AuthDead},
		} {
			r.Process = wiretest.NewProcess()
			r.Use(t, r.Conn)
			if name != "the token is dead" {
				r.Palette.Inject(palettetest.UserInfo, c.fault)
			}
			made := len(r.Palette.Keys())
			_, _, err := createUntil(t, r, c.auth, time.Now().Add(time.Hour))
			assert.Equal(t, []any{c.kind, c.verdict}, []any{answer.KindOf(err), answer.VerdictOf(err)}, name)
			assert.Len(t, r.Palette.Keys(), made, name)
			r.Palette.ClearAll()
		}
	})
}

// Palette may send no Date, or one that cannot be read: there is nothing better than our own clock then.
func TestKeyExpiryWithoutADate(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, auth := wiretest.WithKey(t)
		r.Process = wiretest.NewProcess()
		r.Use(t, r.Conn)
		r.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Header: http.Header{"Date": {"yesterday"}}})
		_, _, err := createUntil(t, r, auth, time.Now().Add(time.Hour))
		require.NoError(t, err)
		assert.WithinDuration(t, wiretest.Epoch.Add(time.Hour), r.Palette.Keys()[1].Expiry, 0)
	})
}

func TestClocksThatAreTooFarApart(t *testing.T) {
	for _, offset := range []time.Duration{15*time.Minute + 2*time.Second, -16 * time.Minute, 24 * time.Hour} {
		wiretest.InBubble(t, offset.String(), func(t *testing.T) {
			r, _ := wiretest.WithKey(t)
			r.Palette.SetLifetime(72 * time.Hour)
			r.Palette.SetClock(offset)
			auth := r.Auth(t)
			uid := r.Palette.Keys()[0].UID
			_, _, err := createUntil(t, r, auth, time.Now().Add(time.Hour))
			for _, failed := range []error{err, updateUntil(t, r, auth, uid, time.Now().Add(time.Hour))} {
				assert.Equal(t, []any{answer.Skewed, answer.NotDone}, []any{answer.KindOf(failed), answer.VerdictOf(failed)})
				assert.ErrorContains(t, failed, "its clock is "+offset.Abs().String()+map[bool]string{true: " ahead of", false: " behind"}[offset > 0]+" Vault's, more than 15m0s apart")
				assert.Nil(t, answer.Refusal(failed))
			}
			assert.Len(t, r.Palette.Keys(), 1)
			require.NoError(t, r.DeleteAPIKey(t.Context(), auth, uid), "what ends a key needs no clock")
		})
	}
}

func TestTimeOfPalettesClockIsBroughtToOurs(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		assert.Equal(t, wiretest.Epoch, r.OnOurClock(wiretest.Epoch), "no answer has told")
		r.Palette.SetClock(time.Hour)
		token := r.LogIn(t)
		assert.WithinDuration(t, wiretest.Epoch.Add(-time.Hour), r.OnOurClock(wiretest.Epoch), time.Second)
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
	})
}
