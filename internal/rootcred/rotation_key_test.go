package rootcred_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
)

// A rotation gives the config a new key and deletes the old one. With a period the new one lives twice as long, a day at least.
func TestRotationOfAnAPIKey(t *testing.T) {
	for _, c := range []struct{ period, life time.Duration }{{0, rootcred.RootKeyLife}, {time.Hour, 24 * time.Hour}, {720 * time.Hour, 1440 * time.Hour}} {
		enginetest.Bubble(t, c.period.String(), func(t *testing.T) {
			m := keyed(t)
			cfg := *m.Stored()
			cfg.RotationPeriod = c.period
			require.NoError(t, m.Configs.Put(t.Context(), m.Storage, name, &cfg))
			require.NoError(t, m.Rotate())
			now := m.Stored()
			assert.NotEqual(t, cfg.APIKey, now.APIKey)
			assert.Equal(t, time.Now().Add(c.life).Unix(), now.APIKeyExpiry)
			assert.WithinDuration(t, time.Now().Add(c.life), m.Palette.LiveKeys()[0].Expiry, 5*time.Minute)
			now.RotationPeriod = 0
			m.KeyWorks()
		})
	}
}

func TestRotationOfAnAPIKeySurvivesAFaultAtEachStep(t *testing.T) {
	at := func(e palettetest.Endpoint, f palettetest.Fault) func(*mount) {
		f.Times = 1
		return func(m *mount) { m.Palette.Inject(e, f) }
	}
	disk := func(op, prefix string) func(*mount) { return func(m *mount) { m.Storage.FailOn(op, prefix) } }
	for _, c := range []struct {
		name  string
		fault func(*mount)
		fails bool
	}{
		{"no fault", func(*mount) {}, false},
		{"the log does not take the name", disk("put", framework.WALPrefix), true},
		{"Palette refuses", at(palettetest.APIKeyCreate, palettetest.Fault{Status: 400}), true},
		{"Palette fails", at(palettetest.APIKeyCreate, palettetest.Fault{Status: 500}), true},
		{"the answer is lost", at(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true}), true},
		{"the config is not stored", disk("put", store.ConfigPrefix), true},
		{"the keys cannot be listed", at(palettetest.APIKeyList, palettetest.Fault{Status: 403}), false},
		{"the old one has gone already", at(palettetest.APIKeyDelete, palettetest.Fault{Status: 404, AfterWork: true}), false},
		{"the log keeps the entry", disk("delete", framework.WALPrefix), false},
	} {
		for _, restart := range []bool{false, true} {
			enginetest.Bubble(t, fmt.Sprint(c.name, restart), func(t *testing.T) {
				m := keyed(t)
				c.fault(m)
				err := m.Rotate()
				assert.Equal(t, c.fails, err != nil, err)
				m.Storage.Heal()
				m.Palette.ClearAll()
				if restart {
					m.Restart()
				}
				m.KeyWorks()
				require.NoError(t, m.Rotate())
				m.KeyWorks()
			})
		}
	}
}

// The config is of use while its old key cannot be deleted: the deletion is pending.
func TestRotationOfAnAPIKeyWhoseOldOneStays(t *testing.T) {
	for _, fault := range []palettetest.Fault{{Status: 403}, {Status: 401}, {Garbage: true}} {
		enginetest.Bubble(t, fmt.Sprint(fault), func(t *testing.T) {
			m := keyed(t)
			m.Palette.Inject(palettetest.APIKeyDelete, fault)
			require.NoError(t, m.Rotate())
			m.Logged(rootcred.MsgOldKeyPending)
			assert.Zero(t, m.WALs())
			assert.Equal(t, 1, m.Pending())
			m.Palette.ClearAll()
			require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage))
			assert.Zero(t, m.Pending())
			m.KeyWorks()
		})
	}
}

// Neither Palette nor the storage takes the old key's end: the entry stays, and the next use tries again.
func TestRotationOfAnAPIKeyWhoseOldOneCannotBePending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := keyed(t)
		m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 403})
		m.Storage.FailOn("put", store.PendingPrefix)
		require.ErrorIs(t, m.Rotate(), enginetest.ErrDisk)
		assert.Equal(t, 1, m.WALs())
		m.Storage.Heal()
		m.Palette.ClearAll()
		m.KeyWorks()
	})
}

// Without its UID the config's key is the one that the user has.
func TestRotationOfAnAPIKeyWhoseUIDIsNotKnown(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(m *mount)
		text    string
	}{
		{"one key", func(*mount) {}, ""},
		{"two keys", func(m *mount) { m.PlantKey("other", "another-key", enginetest.OwnKeyLife) }, "has 2 API keys"},
		{"the user cannot be looked up", func(m *mount) { m.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 403, Times: 1}) }, "look up the user"},
		{"the keys cannot be listed", func(m *mount) { m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 403, Times: 1}) }, "list"},
		{"the connection cannot be used", func(m *mount) { m.Change(func(c *store.Config) { c.CACert = "no PEM" }) }, "ca_cert"},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := keyed(t)
			m.Change(func(c *store.Config) { c.APIKeyUID = "" })
			c.prepare(m)
			if err := m.Rotate(); c.text != "" {
				require.ErrorContains(t, err, c.text)
				return
			}
			m.KeyWorks()
		})
	}
}

// A rotation of a key was interrupted, and the config has changed since: of the three keys the one stays that the config holds.
func TestRecoveryOfAnAPIKey(t *testing.T) {
	made := func(m *mount) { // the answer was lost
		m.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
		require.Error(m.T, m.Rotate())
		require.Len(m.T, m.Palette.LiveKeys(), 2)
	}
	for _, c := range []struct {
		name  string
		since func(m *mount)
		left  int // keys
		said  string
	}{
		{"nothing has changed", func(*mount) {}, 1, rootcred.MsgKeyDeleted},
		{"an operator has written another", func(m *mount) {
			m.PlantKey("theirs", "their-own-key", enginetest.OwnKeyLife)
			m.Change(func(c *store.Config) { c.APIKey, c.APIKeyUID = "their-own-key", "theirs" })
		}, 1, rootcred.MsgKeyDeleted},
		{"and Palette refuses to list them", func(m *mount) {
			m.PlantKey("theirs", "their-own-key", enginetest.OwnKeyLife)
			m.Change(func(c *store.Config) { c.APIKey, c.APIKeyUID = "their-own-key", "theirs" })
			m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 403, Times: 1})
		}, 2, ""},
		{"the config has a login again", func(m *mount) { m.Configure() }, 2, rootcred.MsgKeyLeft},
		{"the config leads elsewhere", func(m *mount) { m.Change(func(c *store.Config) { c.Address = "https://palette.example.com" }) }, 2, rootcred.MsgKeyLeft},
		{"the config has gone", func(m *mount) { assert.NoError(m.T, m.Configs.Delete(m.T.Context(), m.Storage, name)) }, 2, rootcred.MsgKeyLeft},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := keyed(t)
			made(m)
			c.since(m)
			time.Sleep(2 * time.Minute) // its call can arrive no more
			release, err := m.Credentials.Acquire(t.Context(), m.Storage, name)
			require.NoError(t, err)
			release()
			assert.Len(t, m.Palette.LiveKeys(), c.left)
			assert.Zero(t, m.WALs())
			m.Logged(c.said)
		})
	}
}

// Others' keys may have the name of an interrupted one.
func TestRecoveryOfAnAPIKeyLeavesItsNamesakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := keyed(t)
		m.WriteAhead(store.WALRootKey, &store.KeyWAL{
			ConfigName: name, Address: m.Palette.URL(), Name: "other", OldUID: "own", Expiry: time.Now().Add(time.Hour), At: time.Now().Add(-time.Hour),
		})
		m.PlantKey("other", "another-key", enginetest.OwnKeyLife)
		release, err := m.Credentials.Acquire(t.Context(), m.Storage, name)
		require.NoError(t, err)
		release()
		m.Logged(rootcred.MsgNamesake)
		assert.Len(t, m.Palette.LiveKeys(), 2)
		assert.Zero(t, m.WALs())
	})
}

// While a fault lasts the config is not used.
func TestRecoveryOfAnAPIKeyThatFails(t *testing.T) {
	for fault, fail := range map[string]func(m *mount){
		"the keys cannot be listed":     func(m *mount) { m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Garbage: true}) },
		"a key cannot be deleted":       func(m *mount) { m.Palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Garbage: true}) },
		"the connection cannot be used": func(m *mount) { m.Change(func(c *store.Config) { c.CACert = "no PEM" }) },
		"the config cannot be read": func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		},
	} {
		enginetest.Bubble(t, fault, func(t *testing.T) {
			m := keyed(t)
			m.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
			require.Error(t, m.Rotate())
			before := *m.Stored()
			fail(m)
			_, err := m.Credentials.Acquire(t.Context(), m.Storage, name)
			require.Error(t, err)
			assert.Equal(t, 1, m.WALs())
			m.Palette.ClearAll()
			m.Storage.Heal()
			m.Change(func(c *store.Config) { *c = before })
			m.KeyWorks()
		})
	}
}
