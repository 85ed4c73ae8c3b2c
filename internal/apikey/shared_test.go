package apikey_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
)

// sharing is a mount with the role "one", whose leases share a key. Its config holds an API key.
func sharing(t *testing.T, changes ...func(*store.Role)) *mount {
	m := keyed(t)
	m.role.Shared = true
	for _, change := range changes {
		change(m.role)
	}
	m.write()
	return m
}

func (m *mount) write() {
	require.NoError(m.T, m.Roles.Put(m.T.Context(), m.Storage, "one", m.role))
}

func (m *mount) read() (session.Handle, error) {
	return m.Keys.SharedKeys.CurrentOf(m.T.Context(), m.Storage, &session.Want{Name: "one", Config: m.Stored(), Role: m.role})
}

// current is a read that must succeed.
func (m *mount) current() session.Handle {
	m.T.Helper()
	h, err := m.read()
	require.NoError(m.T, err)
	return h
}

func (m *mount) kind() *apikey.Shared { return m.Keys.SharedKeys.Kind.(*apikey.Shared) }

func (m *mount) madeKeys() int { return m.Palette.Calls(palettetest.APIKeyCreate) }

// A key lives for the role's max_ttl, and a day where that is 0; never longer than the mount lets a lease last.
func TestSharedKeyTerm(t *testing.T) {
	for _, c := range []struct{ role, mount, life, grace time.Duration }{
		{0, enginetest.Month, 24 * time.Hour, time.Minute},
		{3 * time.Hour, enginetest.Month, 3 * time.Hour, time.Minute},
		{time.Minute, enginetest.Month, time.Minute, 6 * time.Second},
		{100 * time.Hour, enginetest.Month, 100 * time.Hour, time.Minute},
		{100 * time.Hour, 2 * time.Hour, 2 * time.Hour, time.Minute},
		{0, 2 * time.Hour, 2 * time.Hour, time.Minute},
	} {
		enginetest.Bubble(t, fmt.Sprint(c), func(t *testing.T) {
			m := sharing(t, func(r *store.Role) { r.MaxTTL = c.role })
			m.System.MaxLeaseTTLVal = c.mount
			first := m.current()
			assert.Equal(t, time.Now().Add(c.life).UTC(), first.Key().ExpiresAt)
			assert.Equal(t, c.grace, apikey.SharedGrace(first.Life))
			time.Sleep(c.life * 2 / 3)
			assert.Equal(t, first.Key(), m.current().Key())
			time.Sleep(time.Second)
			second := m.current()
			assert.Equal(t, []any{session.StateRenewed, 1, first.IssuedAt}, []any{second.State, second.Refreshes, second.IssuedAt})
			assert.Equal(t, []store.Key{first.Key(), second.Key()}, second.Keys)
			m.role.MaxTTL = c.life / 4
			m.write()
			assert.Equal(t, 2, m.current().Refreshes, "a shorter max_ttl counts at once")
			require.NoError(t, m.Keys.SharedKeys.End(t.Context(), m.Storage, "one"))
			assert.Len(t, m.Palette.LiveKeys(), 1, "the config's own")
		})
	}
}

// A key is another's where another config, another user of that config or another user of the role is to have it.
func TestSharedKeyIsAnothers(t *testing.T) {
	for what, c := range map[string]struct {
		change func(m *mount)
		ends   bool
	}{
		"nothing":                   {func(*mount) {}, false},
		"the role's description":    {func(m *mount) { m.role.Description = "x" }, false},
		"the role's user":           {func(m *mount) { m.role.UserUID = "u" }, true},
		"the role's config":         {func(m *mount) { m.role.ConfigName = "other" }, true},
		"the role shares none":      {func(m *mount) { m.role.Shared = false }, true},
		"the config's user":         {func(m *mount) { m.own("another") }, true},
		"the config's user unknown": {func(m *mount) { m.own("") }, false},
		"the config's address":      {func(m *mount) { m.Configure(func(c *store.Config) { c.Address = "http://127.0.0.1:1" }) }, true},
		"the config is gone":        {func(m *mount) { assert.NoError(m.T, m.Configs.Delete(m.T.Context(), m.Storage, name)) }, true},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := sharing(t)
			m.own("me")
			key := m.current().Key()
			c.change(m)
			m.write()
			require.NoError(t, m.Keys.EndSharedOf(t.Context(), m.Storage, "another config", true))
			require.NoError(t, m.Keys.EndSharedOf(t.Context(), m.Storage, name, false))
			assert.Equal(t, !c.ends, m.Palette.KeyAlive(key.Key.Reveal()) && m.Pending() == 0)
		})
	}
}

// own is a config whose key's user has a UID.
func (m *mount) own(uid string) {
	m.Configure(func(c *store.Config) { c.Email, c.Password, c.APIKey, c.UserUID = "", "", "the-own-key", uid })
}

// What stands in the way of a key is an error for who reads, or a warning beside the key that there is.
func TestSharedKeyThatIsNotMade(t *testing.T) {
	for what, prepare := range map[string]func(m *mount){
		"its name is not written ahead": func(m *mount) { m.Storage.FailOn("put", framework.WALPrefix) },
		"it is not stored":              func(m *mount) { m.Storage.FailOn("put", store.SharedKeyPrefix) },
		"Palette refuses":               func(m *mount) { m.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 403}) },
		"Palette is down":               func(m *mount) { m.Palette.Down(true) },
		"no name":                       func(m *mount) { m.role.NameTemplate = "{{"; m.write() },
	} {
		for _, before := range []bool{false, true} {
			enginetest.Bubble(t, fmt.Sprint(what, before), func(t *testing.T) {
				m := sharing(t)
				if before {
					m.current()
					time.Sleep(17 * time.Hour)
				}
				prepare(m)
				h, err := m.read()
				stays := before && what != "no name"
				assert.Equal(t, stays, err == nil)
				if stays {
					assert.Equal(t, session.StateStale, h.State)
					assert.Contains(t, h.Warning(), "dies at "+h.Key().ExpiresAt.Format(time.RFC3339))
					m.Logged(apikey.MsgNotReplaced)
				}
				m.Storage.Heal()
				m.Palette.Down(false)
				time.Sleep(time.Minute)
				require.NoError(t, m.Keys.EachMinute(t.Context(), m.Storage))
				m.Wait()
				live := 1
				if before {
					live = 2
				}
				assert.Len(t, m.Palette.LiveKeys(), live, "one that was made and not stored is found by its name")
			})
		}
	}
}

// Role or config cannot be read: neither a read nor the minute's run decides anything.
func TestSharedKeyWhoseRoleCannotBeRead(t *testing.T) {
	for _, prefix := range []string{store.RolePrefix, store.ConfigPrefix} {
		enginetest.Bubble(t, prefix, func(t *testing.T) {
			m := sharing(t)
			key := m.current().Key()
			m.Roles.Invalidate(store.RolePrefix + "one")
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", prefix)
			require.ErrorIs(t, m.Keys.SharedKeys.EachMinute(t.Context(), m.Storage), enginetest.ErrDisk)
			require.ErrorIs(t, m.Keys.SharedKeys.EndForeign(t.Context(), m.Storage, "one"), enginetest.ErrDisk)
			assert.True(t, m.Palette.KeyAlive(key.Key.Reveal()))
		})
	}
}

// All keys of a role end at Palette or become pending; after a fault that passes nobody else waits for Palette.
func TestSharedKeysEnd(t *testing.T) {
	for what, c := range map[string]struct {
		prepare        func(m *mount)
		fails          bool
		calls, pending int
	}{
		"Palette works":   {func(*mount) {}, false, 2, 0},
		"Palette is ill":  {func(m *mount) { m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500}) }, false, 1, 2},
		"Palette refuses": {func(m *mount) { m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 403}) }, false, 4, 2},
		"and they cannot be pending": {func(m *mount) {
			m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500})
			m.Storage.FailOn("put", store.PendingPrefix)
		}, true, 1, 0},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := sharing(t)
			m.current()
			time.Sleep(17 * time.Hour)
			m.current()
			c.prepare(m)
			assert.Equal(t, c.fails, m.Keys.SharedKeys.End(t.Context(), m.Storage, "one") != nil)
			assert.Equal(t, []int{c.calls, c.pending}, []int{m.Palette.Calls(palettetest.APIKeyDelete), m.Pending()})
			if c.fails {
				m.Storage.Heal()
				m.Palette.ClearAll()
				assert.Equal(t, session.StateRenewed, m.current().State, "a key that may have ended is not handed out")
			}
		})
	}
}

// What has expired is deleted at Palette, and the rest stays. A deletion that fails is tried until the key is surely gone.
func TestSharedKeysAreTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharing(t)
		m.current()
		time.Sleep(17 * time.Hour)
		second := m.current().Key()
		minute := func() { require.NoError(t, m.Keys.SharedKeys.EachMinute(t.Context(), m.Storage)) }
		minute()
		time.Sleep(7 * time.Hour)
		m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500})
		minute()
		m.Logged(session.MsgNotTidied)
		assert.Len(t, m.current().Keys, 2)
		m.Palette.ClearAll()
		minute()
		assert.Equal(t, []store.Key{second}, m.current().Keys)
		time.Sleep(enginetest.Month)
		m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500})
		time.Sleep(24 * time.Hour)
		minute()
		stored, err := m.Keys.SharedKeys.Stored(t.Context(), m.Storage, "one")
		require.NoError(t, err)
		assert.Nil(t, stored)
	})
}

// Palette is asked about a key with the key itself. It has ended what it rejects and lists no more, or as inactive.
func TestSharedKeyThatPaletteRejects(t *testing.T) {
	for what, c := range map[string]struct {
		prepare        func(m *mount, uid string)
		rejected, gone bool
	}{
		"it is alive":          {func(*mount, string) {}, false, false},
		"it is deleted":        {func(m *mount, uid string) { m.Palette.DeleteKey(uid) }, true, true},
		"its user is rejected": {func(m *mount, _ string) { m.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 401}) }, true, false},
		"Palette is ill":       {func(m *mount, _ string) { m.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 500}) }, false, false},
		"the keys are not listed": {func(m *mount, uid string) {
			m.Palette.DeleteKey(uid)
			m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 500})
		}, true, false},
		"the config is gone": {func(m *mount, _ string) { assert.NoError(m.T, m.Configs.Delete(m.T.Context(), m.Storage, name)) }, false, false},
		"no connection":      {func(m *mount, _ string) { m.Configure(func(c *store.Config) { c.Email, c.CACert = "", "no PEM" }) }, false, false},
		"the config leads elsewhere": {func(m *mount, uid string) {
			m.Palette.DeleteKey(uid)
			m.Configure(func(c *store.Config) { c.Address = "http://127.0.0.1:1" })
		}, false, false},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := sharing(t)
			h := m.current()
			assert.False(t, m.kind().Rejected(t.Context(), m.Storage, h.Credential), "too new")
			time.Sleep(session.AskEvery)
			c.prepare(m, h.Key().UID)
			assert.Equal(t, c.rejected, m.kind().Rejected(t.Context(), m.Storage, h.Credential))
			if c.rejected || what == "the config is gone" {
				assert.Equal(t, c.gone, m.kind().Gone(t.Context(), m.Storage, h.Credential))
			}
		})
	}
}

// A write-ahead entry that was left deletes the key unless the key is stored under its role.
func TestSharedKeyOfAnEntryThatWasLeft(t *testing.T) {
	for _, fail := range []string{"", "put", "delete"} {
		enginetest.Bubble(t, fail, func(t *testing.T) {
			m := sharing(t)
			prefix := map[string]string{"put": store.SharedKeyPrefix, "delete": framework.WALPrefix}[fail]
			m.Storage.FailOn(fail, prefix)
			_, err := m.read()
			assert.Equal(t, fail == "put", err != nil)
			m.Storage.Heal()
			m.Restart()
			require.NoError(t, m.Credentials.LookUp(t.Context(), m.Storage))
			m.Keys.SharedKeys.Invalidate(store.SharedKeyPrefix + "one")
			m.Storage.FailOn("get", store.SharedKeyPrefix)
			require.NoError(t, m.Keys.EachMinute(t.Context(), m.Storage), "what cannot be read waits")
			live := 2
			assert.Len(t, m.Palette.LiveKeys(), live)
			m.Storage.Heal()
			require.NoError(t, m.Keys.EachMinute(t.Context(), m.Storage))
			m.Wait()
			if fail == "put" {
				live = 1
			}
			assert.Len(t, m.Palette.LiveKeys(), live)
			ids, err := framework.ListWAL(t.Context(), m.Storage)
			require.NoError(t, err)
			assert.Empty(t, ids)
			assert.Equal(t, fail != "put", m.madeKeys() == 1 && m.current().State == session.StateStored)
		})
	}
}

// The keys of a config are listed by role; one that cannot be read is an error, and does not keep the others from their end.
func TestSharedKeysOfAConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharing(t)
		m.current()
		m.Storage.Plant(store.SharedKeyPrefix+"broken", "{")
		found, err := m.Keys.SharedOf(t.Context(), m.Storage, name)
		require.ErrorContains(t, err, "cannot be decoded")
		assert.Len(t, found, 1)
		require.Error(t, m.Keys.EndSharedOf(t.Context(), m.Storage, name, true))
		assert.Len(t, m.Palette.LiveKeys(), 1)
	})
}

// An entry that is damaged to an empty one stops neither the minute's run nor the next reader.
func TestSharedKeyWhoseEntryIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharing(t)
		for _, next := range []func(){
			func() { require.NoError(t, m.Keys.SharedKeys.EachMinute(t.Context(), m.Storage)) },
			func() { m.current() },
		} {
			m.Storage.Plant(store.SharedKeyPrefix+"one", "{}")
			m.Keys.SharedKeys.Invalidate(store.SharedKeyPrefix + "one")
			next()
		}
		assert.Equal(t, 1, m.madeKeys())
	})
}
