package apikey_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// interrupt leaves keys whose making was interrupted: Palette has made them, and the answers are lost.
func (m *mount) interrupt(n int) {
	m.T.Helper()
	m.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: n})
	for range n {
		_, err := m.create(m.T.Context())
		require.Error(m.T, err)
	}
	require.Len(m.T, m.Palette.LiveKeys(), n)
	require.Equal(m.T, n, m.WALs())
}

func (m *mount) search() {
	m.T.Helper()
	require.NoError(m.T, m.Keys.EachMinute(m.T.Context(), m.Storage))
}

// A key that nobody was given is found by its name, in this process and in the next.
func TestInterruptedKeyIsFoundAndDeleted(t *testing.T) {
	for how, restart := range map[string]bool{"in the same process": false, "in the next one": true} {
		enginetest.Bubble(t, how, func(t *testing.T) {
			m := newMount(t)
			m.interrupt(3)
			if restart {
				m.Restart()
				require.NoError(t, m.Credentials.LookUp(t.Context(), m.Storage))
			}
			m.search()
			assert.Empty(t, m.Palette.LiveKeys())
			assert.Zero(t, m.WALs())
		})
	}
}

// A making that may still be on its way is waited for.
func TestInterruptedKeyThatMayArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Drop: true, Times: 1})
		_, err := m.create(t.Context())
		require.Error(t, err)
		m.search()
		assert.Equal(t, 1, m.WALs())
		assert.NotContains(t, m.Log.String(), apikey.MsgSearchFailed, "nothing has failed")
		time.Sleep(2 * time.Minute)
		m.search()
		assert.Zero(t, m.WALs())
	})
}

// With Palette down each try takes request_timeout: a run backs off the config. The next run begins with those that had no try.
func TestInterruptedKeysBackOffAConfigThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.interrupt(3)
		m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Foreign: true, Status: 403})
		for i := range 3 {
			asked := m.Palette.Calls(palettetest.APIKeyList)
			m.search()
			assert.Equal(t, asked+1, m.Palette.Calls(palettetest.APIKeyList), i)
			assert.Equal(t, 3, m.WALs())
		}
		m.Logged(apikey.MsgSearchFailed)
		m.Palette.ClearAll()
		m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 403, Times: 3})
		asked := m.Palette.Calls(palettetest.APIKeyList)
		m.search()
		assert.Equal(t, asked+3, m.Palette.Calls(palettetest.APIKeyList), "a refusal says nothing of the others")
		m.search()
		assert.Empty(t, m.Palette.LiveKeys())
	})
}

// Vault's rollback does the same for entries that this process does not know of.
func TestInterruptedKeyOfVaultsRollback(t *testing.T) {
	later := func(w *store.KeyWAL) { w.Expiry = time.Now().Add(time.Hour) }
	for _, c := range []struct {
		name    string
		change  func(*store.KeyWAL)
		prepare func(*mount)
		fails   error
		said    string
	}{
		{"nobody has made it", later, func(*mount) {}, nil, ""},
		{"it may still arrive", func(w *store.KeyWAL) { later(w); w.At = time.Now() }, func(*mount) {}, apikey.ErrMayArrive, ""},
		{"it is dead by itself", func(w *store.KeyWAL) { w.Expiry = time.Now() }, func(m *mount) { m.Palette.Down(true) }, nil, ""},
		{"the config has gone", func(w *store.KeyWAL) { later(w); w.ConfigName = "gone" }, func(*mount) {}, nil, apikey.MsgCannotSearch},
		{"the config leads elsewhere", func(w *store.KeyWAL) { later(w); w.Address = "https://palette.example.com" }, func(*mount) {}, nil, apikey.MsgCannotSearch},
		{"the config cannot be read", later, func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		}, enginetest.ErrDisk, ""},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			w := &store.KeyWAL{ConfigName: name, Address: m.Palette.URL(), Name: "vault-x", At: enginetest.Epoch.Add(-time.Hour)}
			c.change(w)
			c.prepare(m)
			require.ErrorIs(t, m.Keys.Rollback(t.Context(), m.Storage, w), c.fails)
			m.Logged(c.said)
		})
	}
}

// The log's faults are no reason to forget an entry, and an entry that has gone is none.
func TestInterruptedKeyStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.interrupt(1)
		key := m.Storage.Keys(framework.WALPrefix)[0]
		for _, op := range []string{"get", "delete"} {
			m.Storage.FailOn(op, framework.WALPrefix)
			m.search()
			assert.Equal(t, 1, m.WALs())
		}
		m.Storage.Heal()
		time.Sleep(2 * time.Minute)
		m.search()
		assert.Zero(t, m.WALs())
		m.Keys.Interrupted([]string{"gone"})
		m.search()
		m.Storage.Plant(key, `{"type":"api_key","data":{"config_name":"default","expiry":7}}`)
		m.Keys.Interrupted([]string{key[len(framework.WALPrefix):]})
		m.search()
		m.Logged(store.ErrUndecodable.Error())
		assert.Equal(t, 1, m.WALs())
	})
}
