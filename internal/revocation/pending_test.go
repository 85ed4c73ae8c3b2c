package revocation_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
)

const newName = "palette.example.com"

// reconnect gives the config's pending revocations another way to the same Palette.
func (m *mount) reconnect() error {
	to := m.account.Connection
	to.TLSServerName = newName
	return m.Revocations.Reconnect(m.T.Context(), m.Storage, enginetest.Name, m.account, to)
}

// A config's pending revocations follow it to another way to its Palette; others' stay on theirs.
func TestPendingRevocationsFollowTheirConfig(t *testing.T) {
	key := func(a revocation.Account, config string) *revocation.Entry {
		return a.KeyEntry(config, store.Key{UID: "uid"})
	}
	for _, c := range []struct {
		name    string
		entry   func(a revocation.Account) *revocation.Entry
		follows bool
	}{
		{"tokens on the old way", func(a revocation.Account) *revocation.Entry { return a.Entry(dead(1)) }, true},
		{"a key on the old way", func(a revocation.Account) *revocation.Entry { return key(a, enginetest.Name) }, true},
		{"tokens on an older way", func(a revocation.Account) *revocation.Entry { a.Connection.CACert = "x"; return a.Entry(dead(1)) }, true},
		{"a key on an older way", func(a revocation.Account) *revocation.Entry {
			a.Connection.CACert = "x"
			return key(a, enginetest.Name)
		}, true},
		{"another config of the way", func(a revocation.Account) *revocation.Entry { a.Email = "b@example.com"; return a.Entry(dead(1)) }, true},
		{"another user's tokens", func(a revocation.Account) *revocation.Entry {
			a.Connection.CACert, a.Email = "x", "b@example.com"
			return a.Entry(dead(1))
		}, false},
		{"another config's key", func(a revocation.Account) *revocation.Entry { a.Connection.CACert = "x"; return key(a, "other") }, false},
		{"tokens of another Palette", func(a revocation.Account) *revocation.Entry {
			a.Connection.Address = "https://other.example.com"
			return a.Entry(dead(1))
		}, false},
		{"a key of another Palette", func(a revocation.Account) *revocation.Entry {
			a.Connection.Address = "https://other.example.com"
			return key(a, enginetest.Name)
		}, false},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			require.NoError(t, m.Revocations.Enqueue(t.Context(), m.Storage, "id", c.entry(m.account)))
			since := m.Storage.Text(store.PendingPrefix + "id")
			time.Sleep(time.Hour)
			require.NoError(t, m.reconnect())
			text := m.Storage.Text(store.PendingPrefix + "id")
			assert.Equal(t, c.follows, strings.Contains(text, newName), text)
			_, first, _ := strings.Cut(since, "first_failed")
			assert.Contains(t, text, first, "a pending revocation keeps its age")
			assert.Equal(t, int64(1), m.Counts.Enqueued.Load())
		})
	}
}

// An entry that cannot be read, or that has gone meanwhile, does not keep the others; a fault is told.
func TestPendingRevocationsFollowDespiteFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Storage.Plant(store.PendingPrefix+"0", "{a secret")
		require.NoError(t, m.Revocations.Enqueue(t.Context(), m.Storage, "1", m.account.Entry(dead(1))))
		for _, op := range []string{"list", "put"} {
			m.Storage.FailOn(op, store.PendingPrefix)
			require.ErrorIs(t, m.reconnect(), enginetest.ErrDisk, op)
			assert.NotContains(t, m.Storage.Text(store.PendingPrefix+"1"), newName)
		}
		m.Storage.Heal()
		require.NoError(t, m.reconnect())
		assert.Contains(t, m.Storage.Text(store.PendingPrefix+"1"), newName)
		assert.Equal(t, "{a secret", m.Storage.Text(store.PendingPrefix+"0"))
	})
}

// A run over the pending revocations removes what it has ended, which must not come back.
func TestPendingRevocationsFollowAfterARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.enqueue(m.Logins(1))
		gate, done := m.Palette.Hold(palettetest.Revoke), make(chan error, 2)
		go func() { done <- m.retry() }()
		<-gate.Arrived()
		hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		require.ErrorContains(t, m.Revocations.Reconnect(hurried, m.Storage, enginetest.Name, m.account, m.account.Connection), "waiting for a run")
		go func() { done <- m.reconnect() }()
		synctest.Wait()
		gate.Release()
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		assert.Zero(t, m.Pending())
	})
}
