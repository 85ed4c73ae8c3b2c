package session_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
)

func (m *mount) end() error { return m.Sessions.End(m.T.Context(), m.Storage, name) }

// A session ends at Palette or, where Palette cannot be asked, its revocation is pending; then it goes from Vault.
func TestSessionEnds(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(m *mount)
		fails   bool
		pending int
	}{
		"Palette works":            {func(*mount) {}, false, 0},
		"there is none":            {func(m *mount) { assert.NoError(m.T, m.end()) }, false, 0},
		"its tokens are dead":      {func(m *mount) { time.Sleep(15 * time.Minute); m.Palette.Down(true) }, false, 0},
		"Palette is down":          {func(m *mount) { m.Palette.Down(true) }, false, 1},
		"and it cannot be pending": {func(m *mount) { m.Palette.Down(true); m.Storage.FailOn("put", store.PendingPrefix) }, true, 0},
		"it cannot be read": {func(m *mount) {
			m.Sessions.Invalidate(store.SessionPrefix + name)
			m.Storage.FailOn("get", store.SessionPrefix)
		}, true, 0},
		"the account cannot be known": {func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		}, true, 0},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := newMount(t)
			m.current()
			c.prepare(m)
			assert.Equal(t, c.fails, m.end() != nil)
			assert.Equal(t, c.pending, m.Pending())
			m.Storage.Heal()
			stored, err := m.Sessions.Stored(t.Context(), m.Storage, name)
			require.NoError(t, err)
			assert.Equal(t, c.fails, stored != nil)
			m.Palette.Down(false)
			require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage))
			require.NoError(t, m.end(), "once more")
			assert.Empty(t, m.Palette.LiveTokens())
		})
	}
}

// A session whose tokens are revoked, and which the storage keeps, hands out no dead token, neither here nor in the next process.
func TestSessionThatTheStorageKeeps(t *testing.T) {
	for _, restart := range []bool{false, true} {
		enginetest.Bubble(t, fmt.Sprint(restart), func(t *testing.T) {
			m := newMount(t)
			m.current()
			m.Storage.FailOn("delete", store.SessionPrefix)
			require.ErrorIs(t, m.end(), enginetest.ErrDisk)
			m.Storage.Heal()
			if restart {
				m.Restart()
			}
			assert.True(t, m.Alive(m.current().Newest()))
		})
	}
}

// A config that becomes another login gets a session of its own, and the one before ends.
func TestSessionOfAnotherLogin(t *testing.T) {
	other := palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1"}
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(other))
		first := m.current()
		next := m.Configure(func(c *store.Config) { c.Email, c.Password = other.Email, "Another-Password-1" })
		second := m.current()
		assert.False(t, m.Alive(first.Newest()))
		assert.True(t, second.Of(next))
		// The write ends what it has found, and a read has begun the new one already.
		require.NoError(t, m.Sessions.EndForeign(t.Context(), m.Storage, name))
		assert.True(t, m.Alive(second.Newest()))
		require.NoError(t, m.Configs.Delete(t.Context(), m.Storage, name))
		require.NoError(t, m.Sessions.EndForeign(t.Context(), m.Storage, name), "a deletion")
		assert.False(t, m.Alive(second.Newest()))
	})
}

// What the session before cannot be ended for keeps the new one from beginning.
func TestSessionOfAnotherLoginThatCannotBeEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.current()
		m.Configure(func(c *store.Config) { c.Org = "other" })
		m.Storage.FailOn("delete", store.SessionPrefix)
		_, err := m.read()
		require.ErrorIs(t, err, enginetest.ErrDisk)
		m.Storage.Heal()
		m.Configure()
	})
}

// The config is led elsewhere while a session's login is under way: the write has not seen the session, which ends itself.
func TestSessionWhoseConfigChangesDuringItsLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate, done := m.Palette.Hold(palettetest.Login), make(chan error)
		go func() { _, err := m.read(); done <- err }()
		<-gate.Arrived()
		hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		require.ErrorContains(t, m.Sessions.End(hurried, m.Storage, name), "waiting for a call under way on the shared credential")
		m.Configure(func(c *store.Config) { c.Org = "other" })
		gate.Release()
		require.ErrorContains(t, <-done, "has changed meanwhile; read again")
		m.Configure()
		assert.Empty(t, m.Palette.LiveTokens())
		names, err := m.Sessions.List(t.Context(), m.Storage)
		require.NoError(t, err)
		assert.Empty(t, names)
	})
}

// An unmount ends all sessions, and logs what it cannot end; a seal leaves them for the next active node.
func TestSessionAtTheEndOfTheMount(t *testing.T) {
	for _, c := range []struct {
		name    string
		removed bool
		fail    string // the operation that does
		alive   int
		said    string
	}{
		{"a seal", false, "", 1, ""},
		{"an unmount", true, "", 0, ""},
		{"a storage that lists nothing", true, "list", 1, session.MsgNotListed},
		{"a storage that deletes nothing", true, "delete", 0, session.MsgNotEnded},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			m.current()
			m.Storage.FailOn(c.fail, store.SessionPrefix)
			m.Sessions.Clean(t.Context(), m.Storage, c.removed)
			assert.Len(t, m.Palette.LiveTokens(), c.alive)
			m.Logged(c.said)
		})
	}
}
