package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// keyed is a world whose config "k" holds an API key instead of a login. The key was made
// with a user's own hands.
func keyed(t *testing.T) (w *world, own palettetest.Key) {
	t.Helper()
	w = issuing(t)
	w.write("roles/own", fields{"credential_type": "api_key", "ttl": "700h"})
	l := w.creds("own")
	own = l.key()
	w.secrets = append(w.secrets, l.data["api_key"].(string))
	w.write("config/k", fields{"address": w.palette.URL(), "org": "example", "api_key": l.data["api_key"], "rate_limit": 0, "queue_timeout": 1})
	w.write("roles/k", fields{"config_name": "k", "credential_type": "api_key"})
	w.remove("sessions/default")
	t.Cleanup(func() { time.Sleep(2 * rootcred.RootKeyLife) }) // so dies the config's own key
	return w, own
}

// rotateKey rotates config/k.
func (w *world) rotateKey() error {
	w.t.Helper()
	resp, err := w.handle(w.t.Context(), update, "rotate-root/k", nil)
	if err == nil && resp.IsError() {
		return resp.Error()
	}
	return err
}

// keyWorks requires that the config's key works and is the only one.
func (w *world) keyWorks() {
	w.t.Helper()
	w.creds("k").mustRevoke()
	w.minute() // a call that was on its way can reach Palette no more
	w.wait()
	require.Len(w.t, w.palette.LiveKeys(), 1)
	assert.Zero(w.t, w.wals())
}

func TestConfigWithAnAPIKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		data := w.read("config/k").Data
		assert.Equal(t, true, data["api_key_set"])
		assert.Equal(t, false, data["password_set"])
		assert.NotContains(t, data, "api_key")
		logins := w.palette.Calls(palettetest.Login)
		l := w.creds("k")
		l.mustRenew()
		l.mustRevoke()
		assert.Equal(t, logins, w.palette.Calls(palettetest.Login), "nobody logs in")
		w.keyWorks()

		w.mistake(update, "roles/token", fields{"config_name": "k"}, `"credential_type" is "token"`, `config "k" holds an API key`)
		w.mistake(update, "config/k", fields{"api_key": "x", "email": "a@example.com"}, `"api_key" stands instead of`)
		w.mistake(update, "config/k", fields{"api_key": "a b"}, `"api_key" holds characters`)
		w.mistake(update, "config/k", fields{"org": "other"}, `"api_key" must be given again`)
		w.mistake(update, "config/k", fields{"api_key": "nobodys"}, `does not accept the api_key of config "k"`, "; write one that is active; nothing is stored")

		w.write("config/k", w.login()) // a login instead
		assert.Equal(t, false, w.read("config/k").Data["api_key_set"])
		w.write("roles/token", fields{"config_name": "k", "renewable": true})
		w.creds("token").mustRevoke()
		w.write("config", fields{"address": w.palette.URL(), "org": "other", "api_key": "x", "verify_connection": false})
		w.write("config/k", fields{"api_key": "x", "verify_connection": false})
		w.mistake(read, "creds/token", nil, "holds an API key, with which nobody can log in")
		assert.Equal(t, false, w.read("config/k").Data["password_set"])
	})
}

// A key that Palette does not know is another mistake than a user who may not do what it is
// used for.
func TestConfigWhoseAPIKeyDoesNotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const dead, may = `does not accept the api_key of config "k" (Palette's`, `for config "k" (Palette's`
		for _, c := range []struct {
			status     int
			e          palettetest.Endpoint
			op         logical.Operation
			path       string
			data       fields
			text, hint string
		}{
			{401, palettetest.APIKeyCreate, read, "creds/k", nil, dead, "; write one that is active"},
			{401, palettetest.APIKeyCreate, update, "rotate-root/k", nil, dead, "; write one that is active; nothing has changed"},
			{403, palettetest.UserInfo, update, "config/k", fields{"api_key": "nobodys"}, "refuses to look up the user " + may, "; check that its user may do so; nothing is stored"},
			{403, palettetest.APIKeyCreate, read, "creds/k", nil, "refuses to create an API key " + may, "; check that its user may do so"},
			{403, palettetest.APIKeyCreate, update, "rotate-root/k", nil, "refuses to create an API key " + may, "; check that its user may do so; nothing has changed"},
		} {
			w, _ := keyed(t)
			w.palette.Inject(c.e, palettetest.Fault{Status: c.status})
			w.mistake(c.op, c.path, c.data, c.text, c.hint)
			w.palette.ClearAll()
			w.keyWorks()
		}
	})
}

func TestRotationOfAnAPIKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, own := keyed(t)
		require.NoError(t, w.rotateKey())
		w.keyWorks()
		now := w.palette.LiveKeys()[0]
		assert.NotEqual(t, own.UID, now.UID)
		data := w.read("config/k").Data
		assert.Equal(t, now.UID, data["api_key_uid"])
		assert.Equal(t, epoch.Add(rootcred.RootKeyLife).Format(time.RFC3339), data["api_key_expires_at"])
		assert.Equal(t, epoch.Format(time.RFC3339), data["last_rotated"])
		w.write("config/k", fields{"rotation_period": "720h"})
		time.Sleep(720 * time.Hour)
		w.minute()
		w.wait()
		w.keyWorks()
		assert.Equal(t, w.palette.LiveKeys()[0].Expiry.UTC().Format(time.RFC3339), w.read("config/k").Data["api_key_expires_at"])
		assert.WithinDuration(t, time.Now().Add(1440*time.Hour), w.palette.LiveKeys()[0].Expiry, 5*time.Minute)
	})
}

// forgetUID makes the UID of config/k's key unknown, as a write without a check does.
func (w *world) forgetUID() {
	w.t.Helper()
	w.write("config/k", fields{"api_key_uid": "", "verify_connection": false})
}

// A write learns the UID. Otherwise no rotation would work once the engine has made a key of the same
// user.
func TestRotationOfAnAPIKeyWhoseUIDAWriteHasLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, own := keyed(t)
		assert.Equal(t, own.UID, w.read("config/k").Data["api_key_uid"])
		l := w.creds("k")
		require.NoError(t, w.rotateKey())
		l.mustRevoke()
		w.keyWorks()
	})
}

// A rotation deletes the key of the config's UID, so nobody else's UID is taken.
func TestConfigRefusesTheUIDOfAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, own := keyed(t)
		u := palettetest.DefaultUser
		w.palette.PlantKey(u.Email, u.Org, "somebodys", "somebodys", "Somebodys-Key-1", epoch.Add(time.Hour))
		for _, uid := range []string{"onw", "somebodys"} {
			w.mistake(update, "config/k", fields{"api_key_uid": uid}, `"api_key_uid" is "`+uid+`"`, "no API key with that UID")
		}
		assert.Equal(t, own.UID, w.read("config/k").Data["api_key_uid"])
		time.Sleep(time.Hour)
	})
}

func TestRotationOfAnAPIKeyThatIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, own := keyed(t)
		w.forgetUID()
		l := w.creds("k") // the user has two keys
		require.ErrorContains(t, w.rotateKey(), `has 2 API keys`)
		w.write("config/k", fields{"api_key_uid": own.UID})
		require.NoError(t, w.rotateKey())
		l.mustRevoke()
		w.keyWorks()
	})
}

func TestRotationOfAnAPIKeySurvivesAFaultAtEachStep(t *testing.T) {
	fault := func(e palettetest.Endpoint, f palettetest.Fault) func(w *world) {
		return func(w *world) { w.palette.Inject(e, f) }
	}
	for _, c := range []struct {
		name  string
		fault func(w *world)
		works bool
	}{
		{"whose key it is", func(w *world) {
			w.forgetUID()
			fault(palettetest.UserInfo, palettetest.Fault{Status: 500, Times: 1})(w)
		}, false},
		{"which keys there are", func(w *world) {
			w.forgetUID()
			fault(palettetest.APIKeyList, palettetest.Fault{Status: 500, Times: 1})(w)
		}, false},
		{"the log does not take the name", func(w *world) { w.storage.failOn("put", framework.WALPrefix) }, false},
		{"Palette refuses", fault(palettetest.APIKeyCreate, palettetest.Fault{Status: 400, Times: 1}), false},
		{"Palette fails", fault(palettetest.APIKeyCreate, palettetest.Fault{Status: 500, Times: 1}), false},
		{"the answer is lost", fault(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1}), false},
		{"the config is not stored", func(w *world) { w.storage.failOn("put", store.ConfigPrefix) }, false},
		{"the old one cannot be deleted", fault(palettetest.APIKeyDelete, palettetest.Fault{Status: 500, Times: 1}), true},
		{"Palette refuses to delete the old one", fault(palettetest.APIKeyDelete, palettetest.Fault{Status: 403, Times: 1}), true},
		{"the log does not let go", func(w *world) { w.storage.failOn("delete", framework.WALPrefix) }, true},
	} {
		for _, restart := range []bool{false, true} {
			bubble(t, c.name, func(t *testing.T) {
				w, _ := keyed(t)
				c.fault(w)
				err := w.rotateKey()
				assert.Equal(t, c.works, err == nil, err)
				w.storage.heal()
				if restart {
					w.mount()
				}
				w.keyWorks()
				require.NoError(t, w.rotateKey())
				w.keyWorks()
			})
		}
	}
}

func TestRotationOfAnAPIKeyWhoseConfigHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
		require.Error(t, w.rotateKey())
		w.write("config/k", w.login(fields{"verify_connection": false}))
		w.minute()
		w.wait()
		assert.Zero(t, w.wals())
		assert.Contains(t, w.log.String(), "left to its expiry")
	})
}

// The answer to the making is lost, and the operator writes a key of their own: neither the
// old one nor the rotation's is left.
func TestRotationOfAnAPIKeyWhereAnotherIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		l := w.creds("own")
		w.remove("sessions/default")
		w.write("config/k", fields{"api_key_uid": w.palette.LiveKeys()[0].UID})
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
		require.Error(t, w.rotateKey())
		require.Len(t, w.palette.LiveKeys(), 3)
		w.write("config/k", fields{"api_key": l.data["api_key"], "api_key_uid": l.data["api_key_uid"]})
		for range 5 { // until the call can come no more
			w.minute()
			w.wait()
		}
		assert.Zero(t, w.wals())
		left := w.palette.LiveKeys()
		require.Len(t, left, 1)
		assert.Equal(t, l.data["api_key_uid"], left[0].UID)
	})
}
