package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// lags are how long Palette may need to know a change everywhere.
var lags = map[string]palettetest.Lag{
	"for a moment":                          {For: 500 * time.Millisecond},
	"for 4 s":                               {For: 4 * time.Second},
	"for 12 s":                              {For: 12 * time.Second},
	"for 4 s, while the old password works": {For: 4 * time.Second, OldPassword: true},
}

// served reads until it is served, and tells after how long.
func (w *world) served(role string) time.Duration {
	w.t.Helper()
	start := time.Now()
	for {
		resp, err := w.handle(w.t.Context(), read, "creds/"+role, nil)
		if err == nil && !resp.IsError() {
			l := &heldLease{w: w, secret: resp.Secret, data: resp.Data, issue: resp}
			l.mustRevoke()
			return time.Since(start)
		}
		require.Less(w.t, time.Since(start), 15*time.Minute, "%v %v", resp, err)
		time.Sleep(time.Second)
	}
}

// A rotation's new password that Palette does not know everywhere yet is not withheld for long.
func TestRotationThatPaletteIsSlowToKnow(t *testing.T) {
	for name, lag := range lags {
		bubble(t, name, func(t *testing.T) {
			w := configured(t, palettetest.WithLockout())
			w.palette.SetLag(lag)
			_, err := w.rotateRoot()
			require.NoError(t, err)
			w.secrets = append(w.secrets, w.password())
			assert.LessOrEqual(t, w.served("app"), 30*time.Second)
			assert.LessOrEqual(t, w.palette.FailedLogins(), 4)
			assert.False(t, w.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
		})
	}
}

// The first refusal says what it is, and asks nobody for a password that nobody knows.
func TestRotationBeforeARefusalIsNamedByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.SetLag(palettetest.Lag{For: 4 * time.Second})
		_, err := w.rotateRoot()
		require.NoError(t, err)
		w.secrets = append(w.secrets, w.password())
		w.mistake(read, "creds/app", nil, "a rotation has set this password at 2026-03-01T12:00:00Z", "Palette may need a moment")
		w.mistake(read, "creds/app", nil, "not asked again before 2026-03-01T12:00:15Z")
		time.Sleep(15 * time.Second)
		w.creds("app").mustRevoke()

		// Changed by hand a day later, it is a password as any.
		time.Sleep(24 * time.Hour)
		w.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-By-Hand-1")
		w.mistake(read, "creds/app", nil, "check email, org and password")
	})
}

// In the next process too: that a rotation has set it is stored.
func TestRotationBeforeTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithLockout())
		w.palette.SetLag(palettetest.Lag{For: 10 * time.Second})
		_, err := w.rotateRoot()
		require.NoError(t, err)
		w.secrets = append(w.secrets, w.password())
		w.wait()
		w.mount()
		assert.LessOrEqual(t, w.served("app"), 30*time.Second)
	})
}

// The answer to the change is lost as well: the new password is found out, within the same number of tries.
func TestRotationWhoseAnswerIsLostAtAPaletteThatIsSlow(t *testing.T) {
	for name, lag := range lags {
		bubble(t, name, func(t *testing.T) {
			w := configured(t, palettetest.WithLockout())
			w.palette.SetLag(lag)
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
			_, _ = w.rotateRoot()
			w.secrets = append(w.secrets, w.password())
			assert.LessOrEqual(t, w.served("app"), 30*time.Second)
			assert.False(t, w.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
			for range 3 {
				w.minute()
			}
			assert.Equal(t, w.password(), w.config().Password.Reveal())
			assert.Zero(t, w.wals())
			w.creds("app").mustRevoke()
		})
	}
}

// A key that replaces another one is not known everywhere when the old one is to be deleted.
func TestKeyRotationAtAPaletteThatIsSlow(t *testing.T) {
	for name, lag := range lags {
		bubble(t, name, func(t *testing.T) {
			w, own := keyed(t)
			time.Sleep(time.Minute)
			w.palette.SetLag(lag)
			require.NoError(t, w.rotateKey())
			assert.Len(t, w.palette.LiveKeys(), 2, "the old key is alive")
			w.mistake(read, "creds/k", nil, "a rotation has set this API key at", "Palette may need a moment")
			time.Sleep(lag.For)
			l := w.creds("k") // the config is used meanwhile
			l.mustRevoke()
			w.minute()
			w.minute()
			live := w.palette.LiveKeys()
			require.Len(t, live, 1)
			assert.NotEqual(t, own.UID, live[0].UID)
			assert.Zero(t, w.wals())
		})
	}
}

// By the answers alone: the first list and delete get 401.
func TestKeyRotationWhoseFirstCallsGet401(t *testing.T) {
	for _, refused := range [][]palettetest.Endpoint{{palettetest.APIKeyList}, {palettetest.APIKeyDelete}, {palettetest.APIKeyList, palettetest.APIKeyDelete}} {
		bubble(t, string(refused[len(refused)-1]), func(t *testing.T) {
			w, own := keyed(t)
			w.write("config/k", fields{"api_key_uid": own.UID})
			for _, e := range refused {
				w.palette.Inject(e, palettetest.Fault{Status: 401, Times: 1})
			}
			require.NoError(t, w.rotateKey())
			w.creds("k").mustRevoke()
			for range 4 {
				w.minute()
			}
			live := w.palette.LiveKeys()
			require.Len(t, live, 1)
			assert.NotEqual(t, own.UID, live[0].UID)
			assert.Zero(t, w.wals())
		})
	}
}

// A key that Palette refuses to delete itself just after its making is not taken for dead.
func TestKeyThatIsYoungIsNotTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		l := w.creds("key")
		w.palette.SetLag(palettetest.Lag{For: 30 * time.Second})
		w.remove("sessions/default")
		w.remove("config")
		time.Sleep(time.Second)
		requireCoded(t, l.revoke(), 502, "401")
		assert.Len(t, w.palette.LiveKeys(), 1)
		w.minute()
		assert.Empty(t, w.palette.LiveKeys())
		assert.Zero(t, w.pending())
	})
}

// After a rotation nobody knows the password, so a check does not advise to write the right one.
func TestCheckAfterARotationAdvisesToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.SetLag(palettetest.Lag{For: time.Minute})
		_, err := w.rotateRoot()
		require.NoError(t, err)
		found := w.check()
		assert.Equal(t, []any{false, "login"}, []any{found["ok"], found["step"]})
		assert.Contains(t, found["advice"], "the engine tries again by itself")
		time.Sleep(5 * time.Minute)
		assert.Equal(t, true, w.check()["ok"])
	})
}
