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
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
)

const name = enginetest.Name

// mount is an engine with a config, whose session ends with the test.
type mount struct{ *enginetest.Engine }

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{enginetest.New(t, opts...)}
	m.Configure()
	t.Cleanup(func() {
		m.Storage.Heal()
		m.Palette.ClearAll()
		m.Palette.Down(false)
		m.Restart()
		assert.NoError(t, m.Sessions.End(context.WithoutCancel(t.Context()), m.Storage, name))
	})
	return m
}

func (m *mount) read() (session.Handle, error) {
	return m.Sessions.Current(m.T.Context(), m.Storage, name, m.Stored())
}

// current is a read that must succeed.
func (m *mount) current() session.Handle {
	m.T.Helper()
	h, err := m.read()
	require.NoError(m.T, err)
	return h
}

// calls are the logins and refreshes so far.
func (m *mount) calls() [2]int {
	return [2]int{m.Palette.Calls(palettetest.Login), m.Palette.Calls(palettetest.Refresh)}
}

// A token that is handed out has two thirds of its life, of 15 minutes here, left.
func TestSessionHandsOutTokensWithTwoThirdsOfTheirLife(t *testing.T) {
	for _, c := range []struct {
		age   time.Duration
		state string
		calls [2]int
	}{
		{0, session.StateStored, [2]int{1, 0}},
		{5 * time.Minute, session.StateStored, [2]int{1, 0}},
		{5*time.Minute + time.Second, session.StateRenewed, [2]int{1, 1}},
		{15*time.Minute - time.Second, session.StateRenewed, [2]int{1, 1}},
		{15 * time.Minute, session.StateRenewed, [2]int{2, 0}}, // it is dead: a refresh would be in vain
		{24 * time.Hour, session.StateRenewed, [2]int{2, 0}},
	} {
		for _, restart := range []bool{false, true} {
			enginetest.Bubble(t, fmt.Sprint(c.age, restart), func(t *testing.T) {
				m := newMount(t)
				first := m.current()
				assert.Equal(t, session.StateRenewed, first.State, "its reader waited for a login")
				time.Sleep(c.age)
				if restart { // a session goes on in the next process
					m.Restart()
				}
				h := m.current()
				assert.Equal(t, c.state, h.State)
				assert.Empty(t, h.Warning())
				assert.Equal(t, c.calls, m.calls())
				assert.GreaterOrEqual(t, h.Newest().Left(time.Now()), 10*time.Minute)
				assert.Equal(t, c.calls[1], h.Refreshes)
				assert.True(t, m.Alive(h.Newest()))
			})
		}
	}
}

// However many read, one login or refresh goes at a time.
func TestSessionIsASingleFlight(t *testing.T) {
	for _, at := range []palettetest.Endpoint{palettetest.Login, palettetest.Refresh} {
		enginetest.Bubble(t, string(at), func(t *testing.T) {
			m := newMount(t)
			if at == palettetest.Refresh {
				m.current()
				time.Sleep(6 * time.Minute)
			}
			gate, got := m.Palette.Hold(at), make(chan session.Handle)
			const readers = 20
			for range readers {
				go func() {
					h, err := m.read()
					assert.NoError(t, err)
					got <- h
				}()
			}
			<-gate.Arrived()
			hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			_, err := m.Sessions.Current(hurried, m.Storage, name, m.Stored())
			require.ErrorIs(t, err, context.DeadlineExceeded, "whoever hangs up ends nobody's call")
			gate.Release()
			first := <-got
			for range readers - 1 {
				assert.Equal(t, first.Newest(), (<-got).Newest())
			}
			assert.Equal(t, 1, m.Palette.Calls(at))
		})
	}
}

// A session that Palette has ended is one login. Its older tokens have been handed out, and end with the new one.
func TestSessionThatIsOverLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		first := m.current().Newest()
		time.Sleep(6 * time.Minute)
		m.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 401, Times: 1})
		second := m.current()
		m.Logged(session.MsgSessionOver)
		assert.Equal(t, [2]int{2, 1}, m.calls())
		assert.Equal(t, []store.Token{first, second.Newest()}, second.Tokens)
		require.NoError(t, m.Sessions.End(t.Context(), m.Storage, name))
		assert.Empty(t, m.Palette.LiveTokens())
	})
}

// While Palette fails the session is handed out as it is, with a warning; one reader waits for a try in ten seconds.
func TestSessionPausesAfterAFailure(t *testing.T) {
	for _, fault := range []palettetest.Fault{{Drop: true}, {Status: 429}, {Garbage: true}, {Foreign: true, Status: 401}} {
		enginetest.Bubble(t, fmt.Sprint(fault), func(t *testing.T) {
			m := newMount(t)
			first := m.current()
			time.Sleep(6 * time.Minute)
			m.Palette.Inject(palettetest.Refresh, fault)
			for i := range 3 {
				h := m.current()
				assert.Equal(t, session.StateStale, h.State)
				assert.Contains(t, h.Warning(), "may not live long: could not refresh")
				assert.Equal(t, first.Newest(), h.Newest())
				asked := m.Palette.Calls(palettetest.Refresh)
				time.Sleep(session.RefreshPause - time.Millisecond)
				m.current()
				assert.Equal(t, asked, m.Palette.Calls(palettetest.Refresh), i)
				time.Sleep(time.Millisecond)
			}
			m.Logged(session.MsgNotRefreshed)
			time.Sleep(time.Until(first.Newest().ExpiresAt) - 500*time.Millisecond)
			_, err := m.read()
			require.Error(t, err, "less than a second is of no use")
			m.Palette.ClearAll()
			time.Sleep(time.Minute) // a 429 holds all calls back
			assert.Equal(t, session.StateRenewed, m.current().State)
		})
	}
}

// A change of the password may have ended the session: the next use refreshes it first, in this process and in the next.
func TestSessionThatIsSuspect(t *testing.T) {
	for _, restart := range []bool{false, true} {
		enginetest.Bubble(t, fmt.Sprint(restart), func(t *testing.T) {
			m := newMount(t)
			m.Sessions.MarkSuspect(t.Context(), m.Storage, name) // there is none yet
			m.current()
			m.Sessions.MarkSuspect(t.Context(), m.Storage, name)
			if restart {
				m.Restart()
			}
			assert.Equal(t, session.StateRenewed, m.current().State)
			assert.Equal(t, session.StateStored, m.current().State)
			assert.Equal(t, [2]int{1, 1}, m.calls())
			m.Storage.FailOn("put", store.SessionPrefix)
			m.Sessions.MarkSuspect(t.Context(), m.Storage, name)
			m.Logged(session.MsgNotMarked)
			m.Storage.Heal()
			assert.Equal(t, session.StateRenewed, m.current().State, "this process knows all the same")
		})
	}
}

// A mark that comes during a refresh is not cleared by it: its token may be of before the change.
func TestSessionThatBecomesSuspectDuringARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.current()
		time.Sleep(6 * time.Minute)
		gate, done := m.Palette.HoldAfter(palettetest.Refresh), make(chan session.Handle)
		go func() {
			h, err := m.read()
			assert.NoError(t, err)
			done <- h
		}()
		<-gate.Arrived()
		m.Sessions.MarkSuspect(t.Context(), m.Storage, name) // waits for nobody
		gate.Release()
		<-done
		assert.Equal(t, session.StateRenewed, m.current().State)
		assert.Equal(t, session.StateStored, m.current().State)
		assert.Equal(t, [2]int{1, 2}, m.calls())
	})
}

// A use that finds a token dead which is fresh by the clock gets another. A 401 that stays is the account's: one try in
// ten seconds, since each leaves one more token to be kept.
func TestSessionAfterAUseThatFoundItDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		first := m.current().Newest()
		after := func(dead store.Token) session.Handle {
			t.Helper()
			h, err := m.Sessions.After(t.Context(), m.Storage, name, m.Stored(), dead.Token)
			require.NoError(t, err)
			return h
		}
		m.Palette.EndSession(first.Token.Reveal())
		second := after(first)
		assert.True(t, m.Alive(second.Newest()))
		assert.Equal(t, second.Newest(), after(first).Newest(), "others have found it too")
		assert.Equal(t, [2]int{2, 1}, m.calls())
		for range 3 {
			assert.Equal(t, second.Newest(), after(second.Newest()).Newest())
		}
		time.Sleep(session.RefreshPause)
		third := after(second.Newest())
		assert.NotEqual(t, second.Newest(), third.Newest())
		assert.Equal(t, [2]int{2, 2}, m.calls())
	})
}

func TestSessionThatCannotBegin(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(m *mount)
		fails   error
		text    string
	}{
		"the config has gone": {func(m *mount) { assert.NoError(m.T, m.Configs.Delete(m.T.Context(), m.Storage, name)) }, nil, "does not exist any more"},
		"the config cannot be read": {func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		}, enginetest.ErrDisk, ""},
		"the connection cannot be used": {func(m *mount) { m.Configure(func(c *store.Config) { c.CACert = "no PEM" }) }, nil, "ca_cert"},
		"the login is rejected":         {func(m *mount) { m.Configure(func(c *store.Config) { c.Password = "wrong" }) }, nil, "401"},
		"the mount is ending":           {func(m *mount) { assert.NoError(m.T, m.Tasks.Drain(m.T.Context())) }, tasks.ErrEnding, ""},
		"it cannot be read":             {func(m *mount) { m.Storage.FailOn("get", store.SessionPrefix) }, enginetest.ErrDisk, ""},
		"it cannot be stored":           {func(m *mount) { m.Storage.FailOn("put", store.SessionPrefix) }, enginetest.ErrDisk, ""},
		"a panic": {func(m *mount) {
			m.Storage.Before(func(op, _ string) error {
				if op == "put" {
					panic("a secret")
				}
				return nil
			})
		}, tasks.ErrPanic, ""},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := newMount(t)
			cfg := m.Stored()
			c.prepare(m)
			_, err := m.Sessions.Current(t.Context(), m.Storage, name, cfg)
			require.Error(t, err)
			if c.fails != nil {
				require.ErrorIs(t, err, c.fails)
			}
			require.ErrorContains(t, err, c.text)
			m.Storage.Heal()
			m.Wait()
			stored, err := m.Sessions.Stored(t.Context(), m.Storage, name)
			require.NoError(t, err)
			assert.Nil(t, stored)
			if c.fails == tasks.ErrPanic { //nolint:errorlint // a row's
				time.Sleep(15 * time.Minute) // nobody knows its token
			}
			assert.Empty(t, m.Palette.LiveTokens(), "a session that could not be stored is none")
		})
	}
}

// To revoke the token of a refresh that cannot be stored could end the session, which others use.
func TestSessionWhoseRefreshCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		first := m.current()
		time.Sleep(6 * time.Minute)
		m.Storage.FailOn("put", store.SessionPrefix)
		second := m.current()
		m.Logged(session.MsgTokenNotStored)
		assert.NotEqual(t, first.Newest(), second.Newest())
		assert.Same(t, second.Credential, m.current().Credential, "memory has it")
		m.Storage.Heal()
		time.Sleep(6 * time.Minute)
		third := m.current()
		m.Restart()
		assert.Equal(t, third.Tokens, m.current().Tokens)
		assert.Len(t, third.Tokens, 3, "all that are alive end with the session")
	})
}

// What was stored has the field's name of older versions.
func TestSessionIsStoredAsOlderVersionsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.current()
		m.Sessions.MarkSuspect(t.Context(), m.Storage, name)
		assert.Contains(t, m.Storage.Text(store.SessionPrefix+name), `"stale":true`)
		names, err := m.Sessions.List(t.Context(), m.Storage)
		require.NoError(t, err)
		assert.Equal(t, []string{name}, names)
		m.Storage.Plant(store.SessionPrefix+name, `{"tokens":[{"token":"x"}]}`)
		m.Sessions.Invalidate(store.SessionPrefix + name)
		stored, err := m.Sessions.Stored(t.Context(), m.Storage, name)
		require.NoError(t, err)
		assert.Equal(t, palette.Secret("x"), stored.Newest().Token, "as another node has written it")
		time.Sleep(15 * time.Minute)
	})
}
