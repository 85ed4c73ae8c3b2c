package apikey_test

import (
	"context"
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
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

const name = enginetest.Name

// mount is an engine with a config and a role that hands out API keys.
type mount struct {
	*enginetest.Engine
	role *store.Role
	made int
}

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{Engine: enginetest.New(t, opts...), role: &store.Role{ConfigName: name, CredentialType: store.CredentialAPIKey, Description: "a test's"}}
	m.Configure()
	t.Cleanup(func() {
		m.Storage.Heal()
		m.Palette.ClearAll()
		m.Palette.Down(false)
		m.Restart()
		assert.NoError(t, m.Sessions.End(context.WithoutCancel(t.Context()), m.Storage, name))
		for _, key := range m.Palette.LiveKeys() {
			m.Palette.DeleteKey(key.UID)
		}
	})
	return m
}

// keyed leads the config to an API key of the user's own.
func keyed(t *testing.T) *mount {
	m := newMount(t)
	m.PlantKey("own", "the-own-key", enginetest.Month)
	m.Configure(func(c *store.Config) { c.Email, c.Password, c.APIKey = "", "", "the-own-key" })
	return m
}

// create makes a key that lives for an hour.
func (m *mount) create(ctx context.Context) (store.Key, error) {
	m.made++
	return m.Keys.Create(ctx, m.Storage, m.role, m.Stored(), fmt.Sprintf("vault-key-%d", m.made), time.Now().Add(time.Hour))
}

func (m *mount) key() store.Key {
	m.T.Helper()
	key, err := m.create(m.T.Context())
	require.NoError(m.T, err)
	return key
}

func (m *mount) owned(key store.Key) apikey.Owned {
	return apikey.Owned{ConfigName: name, Identity: m.Config().Identity(), Key: key}
}

func (m *mount) remove(key store.Key) error {
	return m.Keys.Delete(m.T.Context(), m.Storage, m.owned(key))
}

// lives tells whether a key opens something at Palette.
func (m *mount) lives(key store.Key) bool { return m.Palette.KeyAlive(key.Key.Reveal()) }

func TestKeyIsMadeExtendedAndDeleted(t *testing.T) {
	for by, of := range map[string]func(*testing.T) *mount{"a session": func(t *testing.T) *mount { return newMount(t) }, "an API key": keyed} {
		enginetest.Bubble(t, by, func(t *testing.T) {
			m := of(t)
			key := m.key()
			assert.True(t, m.lives(key))
			assert.Zero(t, m.WALs())
			assert.Equal(t, []any{"vault-key-1", time.Now().Add(time.Hour)}, []any{key.Name, key.ExpiresAt})
			require.NoError(t, m.Keys.Extend(t.Context(), m.Storage, m.role, m.Stored(), key, time.Now().Add(3*time.Hour)))
			time.Sleep(2 * time.Hour)
			assert.True(t, m.lives(key))
			for range 2 { // a key that is gone is success
				require.NoError(t, m.remove(key))
				assert.False(t, m.lives(key))
			}
			assert.LessOrEqual(t, m.Palette.Calls(palettetest.Login), 2, "a login for each key would be too many")
		})
	}
}

// Where a making fails, the write-ahead entry stays as long as Palette may have made the key.
func TestKeyThatIsNotMade(t *testing.T) {
	create := func(f palettetest.Fault) func(*mount) {
		f.Times = 1
		return func(m *mount) { m.Palette.Inject(palettetest.APIKeyCreate, f) }
	}
	disk := func(op, prefix string) func(*mount) { return func(m *mount) { m.Storage.FailOn(op, prefix) } }
	for _, c := range []struct {
		name  string
		fault func(*mount)
		fails error // nil: any
		wals  int
		keys  int // at Palette
	}{
		{"Palette refuses", create(palettetest.Fault{Status: 403}), nil, 0, 0},
		{"Palette refuses, and the log keeps the entry", func(m *mount) { create(palettetest.Fault{Status: 403})(m); disk("delete", framework.WALPrefix)(m) }, nil, 1, 0},
		{"Palette fails", create(palettetest.Fault{Status: 500}), nil, 1, 0},
		{"the answer is lost", create(palettetest.Fault{DropAfter: true}), nil, 1, 1},
		{"somebody else answers", create(palettetest.Fault{Foreign: true, Status: 403, AfterWork: true}), nil, 1, 1},
		{"the login fails", func(m *mount) { m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 401, Times: 1}) }, nil, 0, 0},
		{"the log does not take the name", disk("put", framework.WALPrefix), enginetest.ErrDisk, 0, 0},
		{"the log does not let go", disk("delete", framework.WALPrefix), enginetest.ErrDisk, 1, 0},
		{"what a crash has left is not known", disk("list", framework.WALPrefix), enginetest.ErrDisk, 0, 0},
		{"the mount is ending", func(m *mount) { assert.NoError(m.T, m.Tasks.Drain(m.T.Context())) }, tasks.ErrEnding, 0, 0},
		{"the connection cannot be used", func(m *mount) { m.Configure(func(c *store.Config) { c.CACert = "no PEM" }) }, nil, 0, 0},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			c.fault(m)
			_, err := m.create(t.Context())
			require.Error(t, err)
			if c.fails != nil {
				require.ErrorIs(t, err, c.fails)
			}
			assert.Equal(t, c.wals, m.WALs())
			assert.Len(t, m.Palette.LiveKeys(), c.keys)
			m.Storage.Heal()
			m.Configure()
			for range 3 {
				require.NoError(t, m.Keys.EachMinute(t.Context(), m.Storage))
				time.Sleep(time.Minute)
			}
			assert.Zero(t, m.WALs())
			assert.Empty(t, m.Palette.LiveKeys(), "it is found by its name")
		})
	}
}

// A key whose caller has gone is deleted, or its deletion is pending, in memory where the storage fails.
func TestKeyWhoseCallerHangsUp(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(m *mount)
		pending int
		said    string
	}{
		"Palette deletes it": {func(*mount) {}, 0, ""},
		"Palette does not":   {func(m *mount) { m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Garbage: true}) }, 1, apikey.MsgLoosePending},
		"nor does the storage": {func(m *mount) {
			m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Garbage: true})
			m.Storage.FailOn("put", store.PendingPrefix)
		}, 0, apikey.MsgLooseLost},
		"it cannot be read": {func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		}, 0, apikey.MsgLooseLost},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := newMount(t)
			gate := m.Palette.HoldAfter(palettetest.APIKeyCreate)
			ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			_, err := m.create(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			c.prepare(m)
			gate.Release()
			m.Wait()
			assert.Equal(t, c.pending, m.Pending())
			m.Logged(c.said)
			m.Storage.Heal()
			m.Palette.ClearAll()
			require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage))
			assert.Zero(t, m.Pending())
			assert.Empty(t, m.Palette.LiveKeys(), "what the storage did not take is kept in mind")
		})
	}
}

// The session that makes keys may end at any time: Palette has not carried out what it answers with 401.
func TestKeyThatFindsTheSessionEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.key()
		h, err := m.Sessions.Stored(t.Context(), m.Storage, name)
		require.NoError(t, err)
		m.Palette.EndSession(h.Newest().Token.Reveal())
		assert.True(t, m.lives(m.key()))
		m.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 401, Times: 1})
		m.Storage.FailOn("get", store.SessionPrefix)
		m.Sessions.Invalidate(store.SessionPrefix + name)
		_, err = m.create(t.Context())
		require.ErrorIs(t, err, enginetest.ErrDisk)
		m.Storage.Heal()
		time.Sleep(20 * time.Minute)
		m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500})
		_, err = m.create(t.Context())
		require.ErrorContains(t, err, "500")
		assert.Zero(t, m.WALs(), "no key was made")
	})
}

// A key is deleted through its config or, where the config has gone, leads elsewhere or is rejected, by itself.
func TestKeyIsDeletedHoweverTheConfigIs(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(m *mount)
		fails   bool
	}{
		{"the config has gone", func(m *mount) { assert.NoError(m.T, m.Configs.Delete(m.T.Context(), m.Storage, name)) }, false},
		{"the config is of another organization", func(m *mount) { m.Configure(func(c *store.Config) { c.Org = "other" }) }, false},
		{"the password is wrong", func(m *mount) { m.Palette.SetPassword("vault@example.com", "example", "Changed-Meanwhile-1") }, false},
		{"Palette asks for a second factor", func(m *mount) { m.Palette.Inject(palettetest.Login, palettetest.Fault{MFA: true}) }, false},
		{"the login is answered 404", func(m *mount) { m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 404}) }, false},
		{"the login fails", func(m *mount) { m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500}) }, true},
		{"Palette is down", func(m *mount) { m.Palette.Down(true) }, true},
		{"the config cannot be read", func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		}, true},
		{"the connection cannot be used", func(m *mount) { m.Configure(func(c *store.Config) { c.CACert = "no PEM" }) }, true},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			key := m.key()
			require.NoError(t, m.Sessions.End(t.Context(), m.Storage, name))
			time.Sleep(2 * time.Minute)
			c.prepare(m)
			assert.Equal(t, c.fails, m.remove(key) != nil)
			assert.Equal(t, c.fails, m.lives(key))
		})
	}
}

// A 401 to a key's own deletion says that the key is dead, unless Palette may not know the key everywhere yet.
func TestKeyThatDeletesItselfAndIsNotKnown(t *testing.T) {
	for age, gone := range map[time.Duration]bool{time.Second: false, 2 * time.Minute: true} {
		enginetest.Bubble(t, age.String(), func(t *testing.T) {
			m := newMount(t)
			key := m.key()
			require.NoError(t, m.Configs.Delete(t.Context(), m.Storage, name))
			time.Sleep(age)
			m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 401, Times: 1})
			err := m.remove(key)
			assert.Equal(t, gone, err == nil)
			assert.Equal(t, !gone, upstream.Unauthorized(err))
			m.Configure()
		})
	}
}

// The expiry alone does not tell whether a key is dead: a renewal whose answer was lost has moved it.
func TestKeyMayLiveAsLongAsALeaseCanLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.System.MaxLeaseTTLVal = time.Hour
		key := m.key()
		time.Sleep(2*time.Hour - time.Second)
		assert.True(t, m.Keys.MayLive(&key))
		time.Sleep(time.Second)
		assert.False(t, m.Keys.MayLive(&key))
	})
}

// A pending deletion holds what it takes when the config has gone.
func TestKeyWhoseDeletionIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		key := m.key()
		m.Palette.Down(true)
		m.Keys.Discard(m.Storage, m.owned(key), "a test")
		require.Equal(t, 1, m.Pending())
		m.Palette.Down(false)
		m.Restart()
		require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage))
		assert.Zero(t, m.Pending())
		assert.False(t, m.lives(key))
		assert.Equal(t, int64(1), m.Counts.Keys.Load())
		m.Keys.Discard(m.Storage, m.owned(key), rootcred.LateCaller) // it is gone
		assert.Zero(t, m.Pending())
	})
}

// A config's retired key is pending too. Written to the config again it is not to be ended.
func TestKeyOfAConfigThatIsRetired(t *testing.T) {
	for _, c := range []struct {
		name   string
		key    store.Key
		change func(*store.Config)
		fails  bool
		lives  bool
	}{
		{"it is another", store.Key{UID: "own", Key: "the-own-key"}, func(*store.Config) {}, false, false},
		{"it is written again", store.Key{UID: "own", Key: "the-own-key"}, func(c *store.Config) { c.APIKey = "the-own-key" }, false, true},
		{"it is known by its UID", store.Key{UID: "own"}, func(c *store.Config) { c.APIKey, c.APIKeyUID = "x", "own" }, false, true},
		{"its config deletes it", store.Key{UID: "own"}, func(*store.Config) {}, false, false},
		{"nobody can", store.Key{UID: "own"}, func(c *store.Config) { c.Org = "other" }, true, true},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			m.PlantKey("own", "the-own-key", time.Hour)
			entry, err := m.Keys.Entry(t.Context(), m.Storage, m.owned(c.key))
			require.NoError(t, err)
			m.Configure(c.change)
			assert.Equal(t, c.fails, m.Keys.EndPending(t.Context(), m.Storage, entry) != nil)
			assert.Equal(t, c.lives, m.Palette.KeyAlive("the-own-key"))
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
			require.ErrorIs(t, m.Keys.EndPending(t.Context(), m.Storage, entry), enginetest.ErrDisk)
			m.Storage.Heal()
			m.Configure()
		})
	}
}
