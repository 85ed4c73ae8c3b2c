package palettesecrets

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Unmount and move come one lease at a time: they are queued, answered with success, and
// flushed together.
func TestUnmountMakesItsRevocationsPending(t *testing.T) {
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
		w.wait()
		assert.Empty(t, w.palette.LiveTokens())
		assert.Zero(t, w.pending())
		assert.LessOrEqual(t, w.palette.Calls(palettetest.Revoke)-calls, 3)
	})
}

func TestUnmountEndsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		l := w.creds("app")
		w.palette.Down(true)
		w.system.TaintedVal = true
		l.mustRevoke()
		w.wait()
		require.Equal(t, 1, w.pending())
		w.palette.Down(false)
		w.b.clean(t.Context())
		assert.Empty(t, w.palette.LiveTokens())
		assert.Zero(t, w.pending())
	})
}

func TestUnmountSaysWhatItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		leases := w.crowd(3)
		w.palette.Down(true)
		w.system.TaintedVal = true
		for _, l := range leases {
			l.mustRevoke()
		}
		w.wait()
		w.b.clean(t.Context())
		assert.Contains(t, w.log.String(), "live to their own expiry: tokens=4")
		time.Sleep(15 * time.Minute)
	})
}

// With Palette holding every call, Clean ends after cleanTimeout.
func TestUnmountIsBounded(t *testing.T) {
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
		w.wait()
		time.Sleep(15 * time.Minute)
	})
}

// A seal or a reload leaves the session, for the next active node to go on with.
func TestSealLeavesTheSession(t *testing.T) {
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

func TestUnmountStorageFaults(t *testing.T) {
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
		w.wait()
		assert.Equal(t, 1, strings.Count(w.log.String(), revocation.MsgRetryFailed))
		w.storage.failOn("delete", store.SessionPrefix)
		w.b.clean(t.Context())
		for _, prefix := range []string{store.SessionPrefix, store.PendingPrefix} {
			w.storage.failOn("list", prefix)
			w.b.clean(t.Context())
		}
		for _, said := range []string{"not all pending revocations are known", session.MsgNotListed, session.MsgNotEnded} {
			assert.Contains(t, w.log.String(), said)
		}
		w.storage.heal()
		w.system.TaintedVal = false
		w.mount()
		l.mustRevoke()
	})
}

// Neither the engine's own queue nor an entry that cannot be read is a reason for Clean to
// give up before its time.
func TestUnmountIsAsFastAsTheRateLimitAllows(t *testing.T) {
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
			w.wait()
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
			time.Sleep(900 * time.Millisecond) // a permit is free, and the run has not ended
			<-done
			assert.Equal(t, unreadable, w.pending())
			assert.Empty(t, w.palette.LiveTokens())
			w.system.TaintedVal = false
		})
	}
}

// Reads that wait in line while their mount is removed would get leases that never end.
func TestUnmountRefusesReadsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		ended := w.creds("app")
		w.write("config", fields{"rate_limit": 1, "rate_burst": 1, "queue_timeout": "1m", "verify_connection": false})
		time.Sleep(2 * time.Second)
		gate := w.palette.HoldAfter(palettetest.Login)
		errs := make(chan error, 3)
		for range 3 { // one is under way, two wait for a permit
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
		w.wait()
		assert.Empty(t, w.palette.LiveTokens(), "what was under way came back, and is revoked")
		assert.Equal(t, 3, w.palette.Calls(palettetest.Login), "the check, the lease and the one that was under way")
	})
}
