package palette

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// crowd is n leases.
func (w *world) crowd(n int) []*heldLease {
	w.t.Helper()
	leases := make([]*heldLease, n)
	for i := range leases {
		leases[i] = w.creds("app")
	}
	return leases
}

// revokeAll revokes leases at once: one goes out, and the others arrive meanwhile.
func (w *world) revokeAll(leases []*heldLease) []error {
	w.t.Helper()
	gate := w.palette.Hold(palettetest.Revoke)
	errs := make([]error, len(leases))
	var all sync.WaitGroup
	all.Go(func() { errs[0] = leases[0].revoke() })
	<-gate.Arrived()
	for i := range leases[1:] {
		all.Go(func() { errs[i+1] = leases[i+1].revoke() })
	}
	synctest.Wait()
	gate.Release()
	all.Wait()
	return errs
}

func TestRevocationsThatArriveDuringACallGoOutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		calls := w.palette.Calls(palettetest.Revoke)
		for _, err := range w.revokeAll(w.crowd(251)) {
			require.NoError(t, err)
		}
		assert.Equal(t, calls+4, w.palette.Calls(palettetest.Revoke), "1, 100, 100 and 50")
		assert.Equal(t, revocation.MaxBatch, w.palette.LargestRevoke())
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func TestBatchesCountTokensNotLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		leases := w.crowd(40)
		for _, l := range leases {
			for range 2 {
				time.Sleep(time.Second)
				l.mustRenew()
			}
		}
		calls := w.palette.Calls(palettetest.Revoke)
		for _, err := range w.revokeAll(leases) {
			require.NoError(t, err)
		}
		assert.Equal(t, calls+3, w.palette.Calls(palettetest.Revoke), "3, 99 and 18 tokens")
		assert.Equal(t, 99, w.palette.LargestRevoke())
	})
}

// One bad token fails alone, and each lease gets its own answer.
func TestBatchWithOneBadTokenIsTakenApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithStrictRevoke())
		leases := w.crowd(50)
		bad := leases[33]
		bad.secret.InternalData = viaJSON(t, bad.secret.InternalData)
		good := bad.token()
		bad.secret.InternalData["tokens"].([]any)[0].(map[string]any)["token"] = jwtWith(`{"jti":"nobody's"}`)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{})
		errs := w.revokeAll(leases)
		for i, err := range errs {
			if i == 33 {
				continue
			}
			require.NoError(t, err, i)
		}
		require.NoError(t, errs[33], "a token that nobody knows is a dead one: asked for alone, it gets a 401")
		assert.Equal(t, []string{good}, w.palette.LiveTokens())
		time.Sleep(15 * time.Minute)
	})
}

func TestBatchesAreOneAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1"}
		w := configured(t)
		w.palette.AddUser(other)
		w.write("config/b", w.login(fields{"email": other.Email, "password": other.Password}))
		w.write("roles/b", fields{"config_name": "b", "renewable": true})
		leases := w.crowd(3)
		for range 3 {
			leases = append(leases, w.creds("b"))
		}
		var all sync.WaitGroup
		for _, l := range leases {
			all.Go(l.mustRevoke)
		}
		all.Wait() // Palette refuses tokens of another user, and nothing of that is in the log
		assert.Empty(t, w.palette.LiveTokens())
		assert.NotContains(t, w.log.String(), "[WARN]")
	})
}

func TestBatchOfADownPaletteFailsForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		leases := w.crowd(30)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500})
		for _, err := range w.revokeAll(leases) {
			require.ErrorContains(t, err, "is pending in Vault's storage")
		}
		assert.Equal(t, 30, w.pending())
		w.palette.ClearAll()
		calls := w.palette.Calls(palettetest.Revoke)
		w.minute()
		assert.Zero(t, w.pending())
		assert.Equal(t, calls+1, w.palette.Calls(palettetest.Revoke), "together")
	})
}

// buggy panics in each call.
type buggy struct{ paletteAPI }

func (buggy) Close() {}

func TestBatchSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		works := w.b.clients.New
		w.b.clients.New = func(palette.Connection) (paletteAPI, error) { return buggy{}, nil }
		w.b.clients.DropAll()
		require.Error(t, l.revoke())
		w.settle()
		w.b.clients.New = works
		require.Len(t, w.b.clients.Connections(), 1)
		w.write("config", fields{"request_timeout": 7}) // another client
		l.mustRevoke()
	})
}

// Unmount and move come one lease at a time: they are queued, answered with success, and
// flushed together.
func TestTaintedMountQueuesItsRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		leases := w.crowd(120)
		w.system.TaintedVal = true
		gate := w.palette.Hold(palettetest.Revoke)
		for _, l := range leases {
			l.mustRevoke()
		}
		<-gate.Arrived()
		calls := w.palette.Calls(palettetest.Revoke)
		gate.Release()
		w.settle()
		assert.Empty(t, w.palette.LiveTokens())
		assert.Zero(t, w.pending())
		assert.LessOrEqual(t, w.palette.Calls(palettetest.Revoke)-calls, 3)
	})
}

func TestCleanOfATaintedMountEndsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		l := w.creds("app")
		w.palette.Down(true)
		w.system.TaintedVal = true
		l.mustRevoke()
		w.settle()
		require.Equal(t, 1, w.pending())
		w.palette.Down(false)
		w.b.clean(t.Context())
		assert.Empty(t, w.palette.LiveTokens())
		assert.Zero(t, w.pending())
	})
}

func TestCleanOfATaintedMountSaysWhatItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		leases := w.crowd(3)
		w.palette.Down(true)
		w.system.TaintedVal = true
		for _, l := range leases {
			l.mustRevoke()
		}
		w.settle()
		w.b.clean(t.Context())
		assert.Contains(t, w.log.String(), "live to their own expiry: tokens=4")
		time.Sleep(15 * time.Minute)
	})
}

// With Palette holding every call, Clean ends after its patience.
func TestCleanOfATaintedMountIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.system.TaintedVal = true
		gate := w.palette.Hold(palettetest.Revoke)
		l.mustRevoke()
		<-gate.Arrived() // the flush
		cleaned := make(chan struct{})
		go func() {
			defer close(cleaned)
			w.b.clean(t.Context())
		}()
		synctest.Wait()
		time.Sleep(cleanTimeout)
		<-cleaned
		assert.Contains(t, w.log.String(), "tokens=1")
		w.palette.Close()
		w.settle()
		time.Sleep(15 * time.Minute)
	})
}

// A seal or a reload leaves the session, for the next active node to go on with.
func TestCleanOfASealedMountLeavesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		token := w.creds("many").token()
		w.b.clean(t.Context())
		assert.True(t, w.palette.Alive(token))
		w.mount()
		assert.Equal(t, token, w.creds("many").token())
		w.remove("sessions/default")
	})
}

func TestTaintedMountStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		l := w.creds("app")
		w.creds("many")
		w.system.TaintedVal = true
		w.storage.failOn("put", store.PendingPrefix)
		require.ErrorIs(t, l.revoke(), errDisk)
		w.storage.heal()
		w.storage.failOn("list", store.PendingPrefix)
		w.b.revocations.Flush(w.storage)
		w.settle()
		assert.Equal(t, 1, strings.Count(w.log.String(), revocation.MsgRetryFailed))
		w.storage.failOn("delete", store.SessionPrefix)
		w.b.clean(t.Context())
		for _, prefix := range []string{store.SessionPrefix, store.PendingPrefix} {
			w.storage.failOn("list", prefix)
			w.b.clean(t.Context())
		}
		for _, said := range []string{"not all pending revocations are known", session.MsgNotListed, session.MsgSessionNotEnd} {
			assert.Contains(t, w.log.String(), said)
		}
		w.storage.heal()
		w.system.TaintedVal = false
		w.mount()
		l.mustRevoke()
	})
}

// Failed logins are counted for the process: a second mount does not try again.
func TestGuardSpansMounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.SetPassword("vault@example.com", "example", "Changed-Meanwhile-1")
		w.mistake(read, "creds/app", nil, "rejects the login")
		w.storage = &storage{Storage: &logical.InmemStorage{}}
		w.mount()
		w.mistake(update, "config", w.login(), "not asked again before", "nothing is stored")
		w.write("config", w.login(fields{"verify_connection": false}))
		w.write("roles/app", fields{"renewable": true})
		for range 3 {
			w.mistake(read, "creds/app", nil, "not asked again before 2026-03-01T12:00:15Z", "write config/default again")
		}
		assert.Equal(t, 1, w.palette.FailedLogins())
		w.write("config", fields{"password": "Changed-Meanwhile-1"}) // another one is tried at once
		w.creds("app").mustRevoke()
	})
}

// Neither the engine's own queue nor an entry that cannot be read is a reason for Clean to
// give up before its time.
func TestListIsWorkedOffAsFastAsTheRateLimitAllows(t *testing.T) {
	for unreadable := range 2 {
		bubble(t, fmt.Sprint(unreadable), func(t *testing.T) {
			w := configured(t)
			leases := w.crowd(50)
			w.write("config", fields{"rate_limit": 1, "rate_burst": 1, "verify_connection": false})
			w.system.TaintedVal = true
			w.palette.Down(true)
			for _, l := range leases {
				l.mustRevoke()
			}
			w.settle()
			w.palette.Down(false)
			for range unreadable {
				w.plant(store.PendingPrefix+"bad", "{")
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.b.revocations.Clean(t.Context(), w.storage, true)
			}()
			synctest.Wait()
			time.Sleep(revocation.LimitedPause)
			synctest.Wait()
			time.Sleep(900 * time.Millisecond) // its turn has come, and its patience has not ended
			<-done
			assert.Equal(t, unreadable, w.pending())
			assert.Empty(t, w.palette.LiveTokens())
			w.system.TaintedVal = false
		})
	}
}

// Reads that wait in line while their mount is removed would get leases that never end.
func TestReadsThatWaitWhileTheMountIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		ended := w.creds("app")
		w.write("config", fields{"rate_limit": 1, "rate_burst": 1, "queue_timeout": "1m", "verify_connection": false})
		time.Sleep(2 * time.Second)
		gate := w.palette.HoldAfter(palettetest.Login)
		errs := make(chan error, 3)
		for range 3 { // one is under way, two wait in line
			go func() {
				_, err := w.handle(t.Context(), read, "creds/app", nil)
				errs <- err
			}()
		}
		<-gate.Arrived()
		synctest.Wait()
		w.system.TaintedVal = true
		ended.mustRevoke()
		for range 3 {
			requireCoded(t, <-errs, 503, "sealed, reloaded or removed")
		}
		gate.Release()
		w.system.TaintedVal = false
		w.write("config", fields{"rate_limit": 0, "verify_connection": false}) // lets all that wait go
		w.settle()
		assert.Empty(t, w.palette.LiveTokens(), "what was under way came back, and is revoked")
		assert.Equal(t, 3, w.palette.Calls(palettetest.Login), "the check, the lease and the one that was under way")
	})
}
