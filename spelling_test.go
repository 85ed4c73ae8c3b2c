package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// respelt are other spellings of what a config for the stand-in's default user has.
func (w *world) respelt() map[string]fields {
	port := w.palette.URL()[len("http://127.0.0.1:"):]
	return map[string]fields{
		"email":         {"email": "Vault@Example.COM"},
		"address":       {"address": "HTTP://127.0.0.1:0" + port},
		"both":          {"email": "VAULT@example.com", "address": "http://127.0.0.1:00" + port},
		"and the first": {"email": palettetest.DefaultUser.Email, "address": w.palette.URL()},
	}
}

// A change of spelling is no change: it asks for no password, ends no session and breaks no renewal. What
// is stored is what was written.
func TestAChangeOfSpellingIsNoChange(t *testing.T) {
	for _, what := range []string{"email", "address", "both", "and the first"} {
		bubble(t, what, func(t *testing.T) {
			w := configured(t)
			w.write("roles/shared", fields{"shared": true, "renewable": true})
			w.write("roles/key", fields{"credential_type": "api_key"})
			shared, key, own := w.creds("shared"), w.creds("key"), w.creds("app")
			token := shared.token()
			change := w.respelt()[what]
			assert.Empty(t, warningsOf(w.write("config", change)))
			for field, value := range change {
				if field == "email" {
					assert.Equal(t, value, w.read("config").Data[field], "stored as it was written")
				}
			}
			assert.Equal(t, token, w.creds("shared").token(), "the session goes on")
			for _, l := range []*heldLease{shared, key, own} {
				l.mustRenew()
			}
			w.write("rotate-root", nil)
			time.Sleep(10 * time.Second)
			key.mustRenew()
			own.mustRevoke()
			key.mustRevoke()
			assert.Empty(t, w.palette.LiveKeys())
			w.remove("sessions/default")
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

// Leases that were read under one spelling are revoked by the way that another one has left.
func TestALeaseOfAnotherSpellingIsRevokedWhenItsConfigHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.write("config", w.respelt()["both"])
		later := w.creds("app")
		w.remove("config")
		assert.Len(t, w.keys(store.ConnectionPrefix), 1, "one address, one connection")
		l.mustRevoke()
		later.mustRevoke()
	})
}

// A rotation that was interrupted is recovered under another spelling.
func TestAnInterruptedRotationIsRecoveredUnderAnotherSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.storage.failOn("put", store.ConfigPrefix)
		_, err := w.handle(t.Context(), update, "rotate-root", nil)
		require.Error(t, err)
		w.storage.heal()
		w.write("config", given(w.respelt()["both"], fields{"password": w.palette.Passwords()[1], "verify_connection": false}))
		w.minute()
		w.wait()
		w.creds("app").mustRevoke()
		assert.Zero(t, w.wals())
	})
}
