package palettesecrets

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// admin is a user that may make keys for others.
var admin = palettetest.User{Email: "admin@example.com", Org: "example", Password: "Correct-Horse-9-Battery", TenantAdmin: true, UID: "admin-uid"}

// issuing is a world with the role "key". The config's user is admin.
func issuing(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	w := newWorld(t, append(opts, palettetest.WithUser(admin), palettetest.WithUser(palettetest.DefaultUser))...)
	w.secrets = append(w.secrets, admin.Password)
	w.write("config", w.login(fields{"email": admin.Email, "password": admin.Password}))
	w.write("roles/key", fields{"credential_type": "api_key"})
	return w
}

// key is the one live key that a lease has.
func (l *heldLease) key() palettetest.Key {
	l.w.t.Helper()
	for _, key := range l.w.palette.LiveKeys() {
		if key.UID == l.data["api_key_uid"] {
			return key
		}
	}
	require.Fail(l.w.t, "the key is not alive")
	return palettetest.Key{}
}

// end ends the session that managed the keys.
func (w *world) end() {
	w.t.Helper()
	w.remove("sessions/default")
	assert.Empty(w.t, w.palette.LiveKeys())
	assert.Zero(w.t, w.wals())
	assert.Zero(w.t, w.pending())
}

func TestKeyIsIssuedRenewedAndDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		l := w.creds("key")
		assert.Equal(t, time.Hour, l.secret.TTL)
		assert.True(t, l.secret.Renewable)
		key := l.key()
		assert.Equal(t, fields{
			"api_key": l.data["api_key"], "api_key_uid": key.UID, "api_key_name": key.Name, "address": w.palette.URL(), "org": "example",
			"expires_at": epoch.Add(time.Hour).Format(time.RFC3339),
		}, l.data)
		assert.True(t, w.palette.KeyAlive(l.data["api_key"].(string)))
		assert.Equal(t, epoch.Add(time.Hour+time.Minute), key.Expiry.UTC(), "the lease's end and a minute")
		assert.True(t, strings.HasPrefix(key.Name, "vault-key-"), key.Name)

		time.Sleep(40 * time.Minute)
		same := l.data["api_key"]
		l.mustRenew()
		assert.Equal(t, same, l.data["api_key"], "a renewal keeps the key")
		assert.Equal(t, epoch.Add(101*time.Minute), l.key().Expiry.UTC())
		assert.Equal(t, epoch.Add(100*time.Minute).Format(time.RFC3339), l.data["expires_at"])
		w.creds("key").mustRevoke()
		l.mustRevoke()
		l.mustRevoke() // one that is gone is success
		assert.Equal(t, 3, w.palette.Calls(palettetest.Login), "the config's check, the session, and another one 40 minutes later: no login a key")
		w.end()
	})
}

func TestKeyForAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		other, ok := w.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		require.True(t, ok)
		w.write("roles/key", fields{
			"user_uid": other.UID, "name_template": "{{ .RoleName }}-{{ .EntityID | lowercase }}-{{ random 8 }}", "description": "for a test", "project_uid": "5f0e1d",
		})
		resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: read, Path: "creds/key", Storage: w.storage, EntityID: "ENTITY"})
		require.NoError(t, err)
		require.False(t, resp.IsError(), "%v", resp)
		l := &heldLease{w: w, secret: resp.Secret, data: resp.Data}
		assert.Equal(t, other.UID, l.key().UserUID)
		assert.Equal(t, map[string]string{"description": "for a test"}, l.key().Annotations)
		assert.Regexp(t, "^key-entity-[0-9A-Za-z]{8}$", l.key().Name)
		assert.Equal(t, "5f0e1d", resp.Data["project_uid"])
		l.mustRevoke()
		w.end()
	})
}

func TestKeyThatTheUserMayNotMake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/key", fields{"credential_type": "api_key", "user_uid": "somebody"})
		w.mistake(read, "creds/key", nil, "refuses to create an API key", `config "default"`, "message")
		w.end()
	})
}

func TestKeyRolesRefuseBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, c := range []struct {
			data  fields
			texts []string
		}{
			{fields{"credential_type": "password"}, []string{`"credential_type" is "password"`, "token or api_key"}},
			{fields{"user_uid": "x"}, []string{"for credential_type=api_key"}},
			{fields{"name_template": "x-{{ random 3 }}"}, []string{"for credential_type=api_key"}},
			{fields{"description": "x"}, []string{"for credential_type=api_key"}},
			{fields{"credential_type": "api_key", "name_template": "{{ .RoleName }}"}, []string{`"name_template" is "{{ .RoleName }}"`, "could be the same", "{{ uuid }}"}},
			{fields{"credential_type": "api_key", "name_template": "{{ .Nobody }}-{{ random 30 }}"}, []string{"cannot be used"}},
			{fields{"credential_type": "api_key", "name_template": "{{"}, []string{"cannot be used"}},
			{fields{"credential_type": "api_key", "name_template": "{{ random 200 }}"}, []string{"200 characters", "1 to 128"}},
		} {
			w.mistake(update, "roles/bad", c.data, c.texts...)
		}
		assert.Nil(t, w.write("roles/key", fields{"credential_type": "api_key"}), "no warning: a renewal keeps the key")
	})
}

// The answer is lost on the way, or Palette cannot be reached: a key that may have been made
// is found by its name, and deleted.
func TestKeyWhoseMakingIsInterruptedIsFoundByItsName(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, fmt.Sprint(restart), func(t *testing.T) {
			w := issuing(t)
			w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
			w.fault(read, "creds/key", nil, http.StatusBadGateway, "create an API key")
			assert.Len(t, w.palette.LiveKeys(), 1)
			assert.Equal(t, 1, w.wals())
			if restart {
				w.mount()
			}
			w.palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 500, Times: 1})
			w.minute()
			assert.Len(t, w.palette.LiveKeys(), 1, "Palette fails")
			w.minute()
			w.end()
		})
	}
}

// What Vault's rollback hands over is undone in the same way.
func TestRollbackOfKeysAndRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
		w.fault(read, "creds/key", nil, http.StatusBadGateway)
		entry, err := framework.GetWAL(t.Context(), w.storage, strings.TrimPrefix(w.keys(framework.WALPrefix)[0], framework.WALPrefix))
		require.NoError(t, err)
		req := &logical.Request{Storage: w.storage}
		require.NoError(t, w.b.walRollback(t.Context(), req, entry.Kind, entry.Data))
		require.ErrorIs(t, w.b.walRollback(t.Context(), req, entry.Kind, entry.Data), apikey.ErrMayArrive, "it was found; had it not been, it might still come")
		assert.Empty(t, w.palette.LiveKeys())
		require.NoError(t, w.b.walRollback(t.Context(), req, store.WALPassword, fields{"config_name": "default"}), "recovered")
		require.ErrorContains(t, w.b.walRollback(t.Context(), req, "other", nil), `unknown kind "other"`)
		require.Error(t, w.b.walRollback(t.Context(), req, store.WALPassword, "x"))
		require.Error(t, w.b.walRollback(t.Context(), req, store.WALKey, "x"))
		for _, data := range []fields{
			{"config_name": "gone", "expiry": epoch.Add(time.Hour)},
			{"config_name": "default", "address": "https://other.example.com", "expiry": epoch.Add(time.Hour)},
			{"config_name": "default", "expiry": epoch.Add(-time.Hour)},
		} {
			require.NoError(t, w.b.walRollback(t.Context(), req, store.WALKey, data), "nothing can be done, and the key dies by its expiry")
		}
		assert.Greater(t, walMinAge, 2*(maxQueueTimeout+maxRequestTimeout))
		w.remove("sessions/default")
	})
}

func TestKeyStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.storage.failOn("put", framework.WALPrefix)
		_, err := w.handle(t.Context(), read, "creds/key", nil)
		require.ErrorIs(t, err, errDisk)
		assert.Zero(t, w.palette.Calls(palettetest.APIKeyCreate))

		w.storage.failOn("delete", framework.WALPrefix)
		_, err = w.handle(t.Context(), read, "creds/key", nil)
		require.ErrorIs(t, err, errDisk)
		assert.Empty(t, w.palette.LiveKeys(), "its entry would have it deleted later, in use")
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 400, Times: 1})
		w.mistake(read, "creds/key", nil, "refuses to create an API key")
		assert.Equal(t, 2, w.wals())
		w.storage.heal()
		w.minute()
		assert.Zero(t, w.wals())

		l := w.creds("key")
		w.palette.Down(true)
		w.storage.failOn("put", store.PendingPrefix)
		require.ErrorIs(t, l.revoke(), errDisk)
		w.storage.failOn("get", store.PendingPrefix)
		require.ErrorIs(t, l.revoke(), errDisk)
		w.palette.Down(false)
		for _, prefix := range []string{store.RolePrefix, store.ConfigPrefix} {
			w.uncache()
			w.storage.failOn("get", prefix)
			require.ErrorIs(t, l.renew(), errDisk)
		}
		w.storage.heal()
		l.mustRevoke()
		w.end()
	})
}

func TestKeyOfACallerWhoHungUpIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.creds("key").mustRevoke() // begins the session
		gate := w.palette.Hold(palettetest.APIKeyCreate)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/key"}), context.Canceled)
		gate.Release()
		w.wait()
		w.end()

		w.creds("key").mustRevoke()
		gate = w.palette.Hold(palettetest.APIKeyCreate)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/key"}), context.Canceled)
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500, Times: 1})
		gate.Release()
		w.wait()
		assert.Equal(t, 1, w.pending())
		w.minute()
		w.end()
	})
}

func TestKeyRevocationWhilePaletteIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		l := w.creds("key")
		second := w.creds("key")
		w.palette.Down(true)
		requireCoded(t, l.revoke(), http.StatusBadGateway, "is pending in Vault's storage", "each minute")
		requireCoded(t, second.revoke(), http.StatusBadGateway, "is pending in Vault's storage")
		time.Sleep(30 * time.Second)
		l.mustRevoke()
		assert.Contains(t, w.log.String(), revocation.MsgLeaseEndsPending)
		w.minute()
		assert.Equal(t, 2, w.pending())
		w.palette.Down(false)
		second.mustRevoke() // while Vault tries again or after: the deletion is pending
		w.minute()
		w.end()
	})
}

func TestKeyRevocationAtTheSecondTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		l := w.creds("key")
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500, Times: 1})
		require.Error(t, l.revoke())
		l.mustRevoke()
		w.end()
	})
}

// With its config gone, led elsewhere or rejected, a key is ended by itself.
func TestKeyRevocationOutlivesItsConfig(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world)
	}{
		{"config deleted", func(w *world) { w.remove("config") }},
		{"config leads elsewhere", func(w *world) {
			w.write("config", w.login(fields{"address": "https://palette.example.com", "verify_connection": false}))
		}},
		{"config of another user, who does not see the key", func(w *world) { w.write("config", w.login()) }},
		{"password changed at Palette, session over", func(w *world) {
			w.palette.SetPassword(admin.Email, admin.Org, "Changed-Meanwhile-1")
			w.remove("sessions/default")
		}},
		{"role deleted", func(w *world) { w.remove("roles/key") }},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t)
			l := w.creds("key")
			c.prepare(w)
			l.mustRevoke()
			w.end()
		})
	}
}

func TestKeyRenewalIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world, l *heldLease)
		code    int
		text    string
	}{
		{"role gone", func(w *world, _ *heldLease) { w.remove("roles/key") }, http.StatusBadRequest, "does not exist any more"},
		{"max_ttl over", func(w *world, _ *heldLease) {
			w.write("roles/key", fields{"max_ttl": "5m"})
			time.Sleep(5 * time.Minute)
		}, http.StatusBadRequest, "the role's max_ttl"},
		{"key gone", func(_ *world, l *heldLease) { l.mustRevoke() }, http.StatusBadRequest, "refuses to renew the API key"},
		{"Palette fails", func(w *world, _ *heldLease) {
			w.palette.Inject(palettetest.APIKeyUpdate, palettetest.Fault{Status: 500})
		}, http.StatusBadGateway, "500"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t)
			l := w.creds("key")
			c.prepare(w, l)
			requireCoded(t, l.renew(), c.code, c.text)
			l.mustRevoke()
			w.end()
		})
	}
}

func TestKeysOfATaintedMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		leases := []*heldLease{w.creds("key"), w.creds("key"), w.creds("key")}
		w.system.TaintedVal = true
		for _, l := range leases {
			l.mustRevoke()
		}
		w.wait()
		assert.Empty(t, w.palette.LiveKeys())
		w.system.TaintedVal = false
		last := w.creds("key")
		w.system.TaintedVal = true
		w.storage.failOn("put", store.PendingPrefix)
		require.ErrorIs(t, last.revoke(), errDisk)
		w.storage.heal()
		w.palette.Down(true)
		last.mustRevoke()
		w.wait()
		w.b.clean(t.Context())
		assert.Contains(t, w.log.String(), "api_keys=1")
		w.palette.Down(false)
		time.Sleep(2 * time.Hour)
	})
}

func TestKeysAreMadeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { w.creds("key").mustRevoke() })
		}
		all.Wait()
		assert.Equal(t, 2, w.palette.Calls(palettetest.Login))
		w.end()
	})
}
