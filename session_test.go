package palettesecrets

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// sharing is a world with the shared role "many". It has logged in once, for the config's
// check; logins counts those since.
func sharing(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	w := configured(t, opts...)
	w.write("roles/many", fields{"shared": true, "renewable": true})
	return w
}

func (w *world) logins() int    { return w.palette.Calls(palettetest.Login) - 1 }
func (w *world) refreshes() int { return w.palette.Calls(palettetest.Refresh) }

func TestSessionIsHandedOutByAllSharedLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		first := w.creds("many")
		assert.Equal(t, 15*time.Minute, first.secret.TTL)
		assert.Empty(t, first.tokens(), "the lease holds no token of its own")
		time.Sleep(5 * time.Minute) // two thirds of its life are left
		second := w.creds("many")
		assert.Equal(t, first.token(), second.token())
		assert.Equal(t, 10*time.Minute, second.secret.TTL, "as long as the token lives")
		assert.Equal(t, 10*time.Minute, second.secret.MaxTTL)
		assert.Equal(t, first.data["expires_at"], second.data["expires_at"])

		time.Sleep(time.Second)
		third := w.creds("many")
		assert.NotEqual(t, first.token(), third.token(), "refreshed")
		assert.Equal(t, 15*time.Minute, third.secret.TTL)
		assert.Equal(t, 1, w.logins())
		assert.Equal(t, 1, w.refreshes())

		first.mustRevoke()
		assert.True(t, w.palette.Alive(first.token()), "others use the session")
		w.remove("sessions/default")
		assert.Empty(t, w.palette.LiveTokens(), "the older tokens end with it")
	})
}

func TestSessionRenewalReturnsThePresentToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		l := w.creds("many")
		first := l.token()
		time.Sleep(4 * time.Minute)
		l.mustRenew()
		assert.Equal(t, first, l.token())
		assert.Equal(t, 11*time.Minute, l.secret.TTL)
		assert.Equal(t, 15*time.Minute, l.secret.MaxTTL, "whatever the increment")
		time.Sleep(6 * time.Minute)
		l.mustRenew()
		assert.NotEqual(t, first, l.token())
		assert.Equal(t, 25*time.Minute, l.secret.MaxTTL)
		assert.Equal(t, 1, w.refreshes())
		w.remove("sessions/default")
		l.mustRenew() // logs in
		assert.Equal(t, 2, w.logins())
		w.remove("sessions/default")
		w.remove("roles/many")
		requireCoded(t, l.renew(), http.StatusBadRequest, "does not exist any more")
	})
}

// 64 readers on a token about to cross two thirds of its life: one refresh.
func TestSessionReadersWaitForOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		time.Sleep(5*time.Minute + time.Second)
		gate := w.palette.Hold(palettetest.Refresh)
		go func() {
			<-gate.Arrived()
			gate.Release()
		}()
		tokens := w.readers(64)
		assert.Len(t, tokens, 1, "all get the same new token")
		assert.Equal(t, 1, w.refreshes())
		assert.Equal(t, 1, w.logins())
		w.remove("sessions/default")
	})
}

// readers reads n shared credentials at once and returns how often each token came.
func (w *world) readers(n int) map[string]int {
	w.t.Helper()
	tokens := make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			resp, err := w.b.HandleRequest(w.t.Context(), &logical.Request{Operation: read, Path: "creds/many", Storage: w.storage})
			if !assert.NoError(w.t, err) || !assert.False(w.t, resp.IsError(), "%v", resp) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			tokens[resp.Data["token"].(string)]++
		})
	}
	all.Wait()
	return tokens
}

// The refresh is refused: one login, and all are served.
func TestSessionThatIsOverLogsInOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		l := w.creds("many")
		w.palette.EndSession(l.token())
		time.Sleep(6 * time.Minute)
		assert.Len(t, w.readers(64), 1)
		assert.Equal(t, 2, w.logins())
		assert.Equal(t, 1, w.refreshes())
		w.remove("sessions/default")
	})
}

// A session that Palette no longer refreshes, whose token still lives: it has been handed
// out, and ends with the new session.
func TestSessionEndsTheTokensOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t, palettetest.WithSessionTimeout(time.Minute))
		first := w.creds("many").token()
		time.Sleep(6 * time.Minute)
		second := w.creds("many").token()
		assert.True(t, w.palette.Alive(first))
		assert.NotEqual(t, first, second)
		w.remove("sessions/default")
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func TestSessionWhoseTokenHasDiedLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		time.Sleep(16 * time.Minute)
		w.creds("many")
		assert.Equal(t, 2, w.logins())
		assert.Zero(t, w.refreshes())
		w.remove("sessions/default")
	})
}

// Palette is down: the present token with the life that it has left, and a warning.
func TestSessionOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		first := w.creds("many").token()
		w.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 500})
		time.Sleep(6 * time.Minute)
		for range 3 {
			l := w.creds("many")
			assert.Equal(t, first, l.token())
			assert.Equal(t, 9*time.Minute, l.secret.TTL)
			require.Len(t, l.issue.Warnings, 1)
			assert.Contains(t, l.issue.Warnings[0], "could not be refreshed")
		}
		assert.Equal(t, 1, w.refreshes(), "not each reader waits for a try")
		l := w.creds("many")
		time.Sleep(session.RefreshPause)
		l.mustRenew()
		assert.Equal(t, 2, w.refreshes(), "one each ten seconds")

		time.Sleep(9 * time.Minute) // the token is dead
		w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500})
		w.fault(read, "creds/many", nil, http.StatusBadGateway, "500")
		requireCoded(t, l.renew(), http.StatusBadGateway, "500")
		w.palette.ClearAll()
		w.creds("many")
		w.remove("sessions/default")
	})
}

func TestSessionWhoseLoginIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.palette.SetPassword("vault@example.com", "example", "Changed-Meanwhile-1")
		w.mistake(read, "creds/many", nil, "rejects the login", `config "default"`)
		w.mistake(read, "creds/many", nil, "not asked again before 2026-03-01T12:00:15Z")
		assert.Equal(t, 1, w.palette.FailedLogins())
		w.palette.SetPassword("vault@example.com", "example", palettetest.DefaultUser.Password)
		time.Sleep(failureSpacing)
		l := w.creds("many")
		w.remove("sessions/default")
		w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 401})
		requireCoded(t, l.renew(), http.StatusBadRequest, "rejects the login")
	})
}

// failureSpacing is how long after a failure a rejected password is tried again.
const failureSpacing = 5 * time.Minute

func TestSessionGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		first := w.creds("many")
		w.mount()
		assert.Equal(t, first.token(), w.creds("many").token())
		time.Sleep(6 * time.Minute)
		w.mount()
		w.creds("many")
		assert.Equal(t, 1, w.logins())
		assert.Equal(t, 1, w.refreshes())
		w.remove("sessions/default")
	})
}

func TestSessionEndsWithItsConfig(t *testing.T) {
	second := palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1"}
	for _, c := range []struct {
		name   string
		change func(w *world)
		ends   bool
	}{
		{"deleted", func(w *world) { w.remove("config") }, true},
		{"another address", func(w *world) {
			w.write("config", w.login(fields{"address": "https://palette.example.com", "verify_connection": false}))
		}, true},
		{"another email", func(w *world) {
			w.write("config", fields{"email": second.Email, "password": second.Password})
		}, true},
		{"another org", func(w *world) { w.write("config", w.login(fields{"org": "other", "verify_connection": false})) }, true},
		{"another password", func(w *world) {
			w.palette.SetPassword("vault@example.com", "example", "Changed-Here-Too-1")
			w.write("config", fields{"password": "Changed-Here-Too-1"})
		}, false},
		{"another time-out", func(w *world) { w.write("config", fields{"request_timeout": 3}) }, false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := sharing(t)
			w.palette.AddUser(second)
			token := w.creds("many").token()
			c.change(w)
			assert.Equal(t, !c.ends, w.palette.Alive(token))
			assert.Equal(t, c.ends, w.read("sessions/default") == nil)
			if !c.ends {
				w.remove("sessions/default")
			}
		})
	}
}

// A session of another login than the config's, left by a node that died in between, is
// ended before a new one begins.
func TestSessionOfAnotherLoginIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		token := w.creds("many").token()
		foreign := *w.session()
		foreign.Org = "other"
		text, err := json.Marshal(foreign)
		require.NoError(t, err)
		w.plant(store.SessionPrefix+"default", string(text))
		w.uncache()
		assert.NotEqual(t, token, w.creds("many").token())
		assert.False(t, w.palette.Alive(token))
		w.remove("sessions/default")
	})
}

func (w *world) session() *session.Credential {
	w.t.Helper()
	s, err := w.b.sessions.Stored(w.t.Context(), w.storage, defaultConfigName)
	require.NoError(w.t, err)
	return s
}

// The config is led elsewhere while a session's login is under way.
func TestSessionLoginUnderWayWhenTheConfigChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		gate := w.palette.Hold(palettetest.Login)
		done := make(chan error, 1)
		go func() {
			resp, err := w.handle(t.Context(), read, "creds/many", nil)
			done <- cmp.Or(err, resp.Error())
		}()
		<-gate.Arrived()
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			w.write("config", w.login(fields{"org": "other", "verify_connection": false}))
		}()
		synctest.Wait()
		require.Equal(t, "other", w.config().Org)
		gate.Release()
		require.ErrorContains(t, <-done, "has changed meanwhile")
		<-changed
		assert.Empty(t, w.palette.LiveTokens())
		assert.Nil(t, w.read("sessions/default"))
	})
}

func TestSessionThatPaletteCannotEndIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		w.palette.Down(true)
		w.remove("sessions/default")
		assert.Equal(t, 1, w.pending())
		w.palette.Down(false)
		w.minute()
		assert.Zero(t, w.pending())
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func TestSessionReaderWhoHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		gate := w.palette.Hold(palettetest.Login)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/many"}), context.Canceled)
		gate.Release()
		w.wait()
		assert.Len(t, w.palette.LiveTokens(), 1, "the session is there for the next one")
		w.remove("sessions/default")
	})
}
