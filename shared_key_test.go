package palettesecrets

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
)

// sharingKeys is issuing with the role "one", whose leases share a key of 24 hours.
func sharingKeys(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	w := issuing(t, opts...)
	w.write("roles/one", fields{"credential_type": "api_key", "shared": true, "ttl": "1h", "renewable": true})
	return w
}

func (l *heldLease) uid() string { return l.data["api_key_uid"].(string) }

// warns checks that an answer has one warning, with a text.
func warns(t *testing.T, resp *logical.Response, text string) {
	t.Helper()
	require.Len(t, resp.Warnings, 1)
	assert.Contains(t, resp.Warnings[0], text)
}

func (w *world) made() int { return w.palette.Calls(palettetest.APIKeyCreate) }

// However many read, one key is made. Its leases end it neither alone nor together.
func TestSharedKeyIsHandedOutByAllLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		gate := w.palette.Hold(palettetest.APIKeyCreate)
		leases, all := make(chan *heldLease, 40), sync.WaitGroup{}
		for range cap(leases) {
			all.Go(func() { leases <- w.creds("one") })
		}
		<-gate.Arrived()
		gate.Release()
		all.Wait()
		close(leases)
		uids := make(map[string]bool)
		for l := range leases {
			uids[l.uid()] = true
			assert.Equal(t, time.Hour, l.secret.TTL)
			assert.NotContains(t, fmt.Sprint(l.secret.InternalData), l.uid(), "the lease holds no key")
			l.mustRevoke()
		}
		assert.Len(t, uids, 1)
		l := w.creds("one")
		assert.Equal(t, 1, w.made())
		assert.Equal(t, epoch.Add(24*time.Hour), l.key().Expiry)
		assert.Regexp(t, "^vault-one-shared-", l.key().Name)
		assert.Equal(t, epoch.Add(time.Hour).Format(time.RFC3339), l.data["expires_at"])
		w.write("roles/two", fields{"credential_type": "api_key", "shared": true})
		assert.NotEqual(t, l.uid(), w.creds("two").uid(), "a key a role")
		w.end()
	})
}

// A key is replaced when a third of its life is left. The one before lives on to its own end, and is then deleted.
func TestSharedKeyIsReplaced(t *testing.T) {
	for _, c := range []struct {
		role  fields
		mount time.Duration
		life  time.Duration
	}{
		{fields{}, month, 24 * time.Hour},
		{fields{"max_ttl": "3h"}, month, 3 * time.Hour},
		{fields{}, 2 * time.Hour, 2 * time.Hour},
		{fields{"max_ttl": "9m", "ttl": "30s"}, month, 9 * time.Minute},
	} {
		bubble(t, fmt.Sprint(c.role, c.mount), func(t *testing.T) {
			w := sharingKeys(t)
			w.system.MaxLeaseTTLVal = c.mount
			w.write("roles/one", c.role)
			first := w.creds("one")
			assert.Equal(t, time.Now().Add(c.life).UTC(), first.key().Expiry)
			time.Sleep(c.life * 2 / 3)
			assert.Equal(t, first.uid(), w.creds("one").uid())
			time.Sleep(time.Second)
			second := w.creds("one")
			assert.NotEqual(t, first.uid(), second.uid())
			first.key()
			w.mount()
			assert.Equal(t, second.uid(), w.creds("one").uid(), "a restart goes on with it")
			w.minute()
			assert.Len(t, w.palette.Keys(), 2)
			time.Sleep(c.life / 3)
			w.minute()
			require.Len(t, w.palette.Keys(), 1, "an expired key counts at Palette too")
			time.Sleep(c.life)
			w.minute()
			assert.Empty(t, w.palette.Keys(), "nobody has read")
			assert.Empty(t, w.keys(store.SharedKeyPrefix))
			w.end()
		})
	}
}

// No lease outlives its key, and a renewal returns the present one.
func TestSharedKeyRenewalReturnsThePresentKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		w.write("roles/one", fields{"ttl": "20h"})
		first := w.creds("one")
		assert.Equal(t, 20*time.Hour, first.secret.TTL)
		time.Sleep(10 * time.Hour)
		late := w.creds("one", fields{"ttl": "20h"})
		assert.Equal(t, 14*time.Hour-time.Minute, late.secret.TTL)
		warns(t, w.read("creds/one", fields{"ttl": "20h"}), "the key's life allows 13h59m0s")
		late.mustRenew()
		assert.Equal(t, 14*time.Hour-time.Minute, late.secret.TTL)
		time.Sleep(7 * time.Hour)
		uid := late.uid()
		late.mustRenew()
		assert.NotEqual(t, uid, late.uid())
		assert.Equal(t, 20*time.Hour, late.secret.TTL)
		assert.Equal(t, time.Now().Add(20*time.Hour).Format(time.RFC3339), late.data["expires_at"])
		assert.Equal(t, first.uid(), uid)
		assert.Equal(t, 2, w.made())
		require.NoError(t, late.revoke())
		late.key()
		w.end()
	})
}

// A lease whose role has changed: its own key stays its own, and a shared one is the role's.
func TestSharedKeyAndLeasesOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		shared := w.creds("one")
		w.write("roles/one", fields{"shared": false})
		requireCoded(t, shared.renew(), 400, `role "one" hands out no shared API key any more; read creds/one again`)
		own := w.creds("one")
		w.write("roles/one", fields{"shared": true})
		uid := own.uid()
		own.mustRenew()
		assert.Equal(t, uid, own.uid())
		shared.mustRenew()
		assert.Len(t, w.palette.LiveKeys(), 2)
		own.mustRevoke()
		shared.mustRevoke()
		assert.Len(t, w.palette.LiveKeys(), 1)
		w.end()
	})
}

// Palette does not take the new key: the one there is is handed out with a warning, and one reader in ten seconds tries.
func TestSharedKeyOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		first := w.creds("one")
		time.Sleep(17 * time.Hour)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 503})
		resp := w.read("creds/one")
		warns(t, resp, "the shared API key could not be replaced, so the answer has the present key, which dies at")
		assert.Equal(t, first.uid(), resp.Data["api_key_uid"])
		tried := w.made()
		w.creds("one")
		assert.Equal(t, tried, w.made())
		assert.Contains(t, w.metricsText(), `vault_palette_shared_key_reads_total{state="stale"} 2`)
		time.Sleep(7*time.Hour - 30*time.Second)
		w.fault(logical.ReadOperation, "creds/one", nil, 502, "could not create an API key", "it answered 503")
		time.Sleep(time.Minute)
		_, err := w.handle(t.Context(), logical.ReadOperation, "creds/one", nil)
		requireCoded(t, err, 502, "could not create an API key")
		w.palette.ClearAll()
		time.Sleep(time.Minute)
		assert.NotEqual(t, first.uid(), w.creds("one").uid())
		w.minute()
		w.end()
	})
}

// Somebody has deleted the key at Palette: the engine finds out within minutes, and the next read gets another. A 401 to
// a key that Palette still lists says nothing of the key.
func TestSharedKeyThatPaletteHasEnded(t *testing.T) {
	for name, deleted := range map[string]bool{"deleted": true, "deleted, with a restart": true, "its user's 401": false} {
		bubble(t, name, func(t *testing.T) {
			w := sharingKeys(t)
			first := w.creds("one")
			if deleted {
				w.palette.DeleteKey(first.uid())
			} else {
				w.palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 401})
			}
			assert.Equal(t, first.uid(), w.creds("one").uid(), "nobody knows yet")
			time.Sleep(session.AskEvery)
			w.creds("one")
			w.wait()
			w.palette.ClearAll()
			if strings.HasSuffix(name, "restart") {
				w.mount()
			}
			second := w.creds("one")
			assert.Equal(t, deleted, first.uid() != second.uid())
			second.key()
			asked := w.palette.Calls(palettetest.UserInfo)
			w.creds("one")
			w.wait()
			assert.Equal(t, asked, w.palette.Calls(palettetest.UserInfo), "once in five minutes")
			w.end()
		})
	}
}

// Palette's limit of keys stands in the way of a new key.
func TestSharedKeyAtTheLimitOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t, palettetest.WithKeyLimit(1))
		first := w.creds("one")
		time.Sleep(17 * time.Hour)
		resp := w.read("creds/one")
		warns(t, resp, "so the answer has the present key, which dies at 2026-03-02T12:00:00Z: ")
		warns(t, resp, "as many API keys as the tenant allows")
		warns(t, resp, "this is Palette's limit of API keys for a user")
		assert.Equal(t, first.uid(), resp.Data["api_key_uid"])
		time.Sleep(7*time.Hour - 30*time.Second)
		w.mistake(read, "creds/one", nil, "Palette's limit of API keys for a user")
		w.write("roles/two", fields{"credential_type": "api_key", "shared": true})
		w.mistake(logical.ReadOperation, "creds/two", nil, "Palette's limit of API keys for a user")
		w.end()
	})
}

// max_ttl is shortened, or the clock set back: the next read gets a key that lives no longer.
func TestSharedKeyOfAShorterMaxTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		first := w.creds("one")
		w.write("roles/one", fields{"max_ttl": "2h"})
		second := w.creds("one")
		assert.NotEqual(t, first.uid(), second.uid())
		assert.Equal(t, epoch.Add(2*time.Hour), second.key().Expiry)
		assert.Equal(t, second.uid(), w.creds("one").uid())
		w.write("roles/one", fields{"max_ttl": "9h"})
		assert.Equal(t, second.uid(), w.creds("one").uid(), "a longer one counts for the next key")
		w.end()
	})
}

// A life that leaves no room for leases is refused. Where the mount allows no longer one, no lease outlives its key.
func TestSharedKeyOfAShortLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		w.write("roles/one", fields{"ttl": 0})
		w.mistake(update, "roles/one", fields{"max_ttl": "9s"}, `"max_ttl" is 9s`, "at least 10s")
		w.write("roles/key", fields{"max_ttl": "9s"})
		w.mistake(update, "roles/key", fields{"shared": true}, `"max_ttl" is 9s`)
		w.system.MaxLeaseTTLVal = 4 * time.Second
		for range 100 {
			time.Sleep(70 * time.Millisecond)
			resp, err := w.handle(t.Context(), read, "creds/one", nil)
			if err != nil {
				requireCoded(t, err, 503, "lives for 4s in all, too short for a lease", "max_ttl")
				continue
			}
			l := &heldLease{w: w, secret: resp.Secret, data: resp.Data}
			assert.False(t, time.Now().Add(resp.Secret.TTL).After(l.key().Expiry))
		}
		w.minute()
		w.end()
	})
}

// sessions/<config> shows the keys by role, and never a key.
func TestSharedKeysAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		w.write("roles/many", fields{"shared": true, "renewable": true})
		l := w.creds("one")
		shown := fields{"one": fields{"uid": l.uid(), "name": l.key().Name, "expires_at": epoch.Add(24 * time.Hour).Format(time.RFC3339)}}
		assert.Equal(t, shown, w.read("sessions/default").Data["api_keys"])
		assert.Equal(t, admin.Email, w.read("sessions/default").Data["email"])
		assert.Equal(t, []string{"default"}, w.list("sessions/"))
		time.Sleep(20 * time.Minute)
		w.write("config/k", fields{"address": w.palette.URL(), "api_key": l.data["api_key"], "api_key_uid": l.uid()})
		w.write("roles/k", fields{"config_name": "k", "credential_type": "api_key", "shared": true})
		w.creds("k")
		assert.Len(t, w.read("sessions/k").Data, 1, "a config with an API key has no session")
		assert.Equal(t, []string{"default", "k"}, w.list("sessions/"))
		w.storage.failOn("get", store.SharedKeyPrefix)
		w.uncache()
		_, err := w.handle(t.Context(), logical.ReadOperation, "sessions/default", nil)
		require.ErrorIs(t, err, errDisk)
		_, err = w.handle(t.Context(), logical.ListOperation, "sessions/", nil)
		require.ErrorIs(t, err, errDisk)
		w.storage.heal()
		w.remove("sessions/k")
		assert.Nil(t, w.read("sessions/k"))
		w.end()
	})
}

// A lease ends a little before its key, and a short-lived key leaves room for leases too.
func TestSharedGrace(t *testing.T) {
	for life, grace := range map[time.Duration]time.Duration{2 * time.Second: time.Second, time.Minute: 6 * time.Second, 10 * time.Minute: time.Minute, month: time.Minute} {
		assert.Equal(t, grace, apikey.SharedGrace(life), life)
	}
}
