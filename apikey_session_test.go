package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/session"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// The session that manages keys can end at Palette before its time, by an administrator
// say. What it was needed for goes on with another one.
func TestKeyOutlivesTheSessionThatManagesIt(t *testing.T) {
	for name, do := range map[string]func(w *world, l *heldLease){
		"a read":       func(w *world, _ *heldLease) { w.creds("key").mustRevoke() },
		"a renewal":    func(_ *world, l *heldLease) { l.mustRenew() },
		"a revocation": func(_ *world, l *heldLease) { l.mustRevoke() },
	} {
		bubble(t, name, func(t *testing.T) {
			w := issuing(t)
			l := w.creds("key")
			require.Len(t, w.palette.LiveTokens(), 1)
			w.palette.EndSession(w.palette.LiveTokens()[0])
			logins := w.palette.Calls(palettetest.Login)
			do(w, l)
			assert.Equal(t, logins+1, w.palette.Calls(palettetest.Login))
			l.mustRevoke()
			w.end()
		})
	}
}

// Nor does a key fail that is being made while an operator ends the session.
func TestKeyIsMadeWhileTheSessionIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.creds("key").mustRevoke() // begins it
		gate := w.palette.Hold(palettetest.APIKeyCreate)
		ended := make(chan error, 1)
		go func() {
			<-gate.Arrived()
			_, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.DeleteOperation, Path: "sessions/default", Storage: w.storage})
			gate.Release()
			ended <- err
		}()
		w.creds("key").mustRevoke()
		require.NoError(t, <-ended)
		w.end()
	})
}

// A 401 that comes again is not the session's.
func TestKeyOfAnAccountThatMayMakeNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 401})
		w.mistake(logical.ReadOperation, "creds/key", nil, "refuses to create an API key")
		assert.Equal(t, 2, w.palette.Calls(palettetest.APIKeyCreate))
		w.end()
	})
}

// What is said to the login of the session that is to delete a key says nothing of the key.
func TestKeyWhoseDeletionFindsNoSession(t *testing.T) {
	for _, c := range []struct {
		name  string
		login palettetest.Fault
	}{
		{"no such path", palettetest.Fault{Status: 404, Times: 1}},
		{"Palette asks for a second factor", palettetest.Fault{MFA: true}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t, palettetest.AllowLiveTokens())
			l := w.creds("key")
			w.remove("sessions/default")
			w.palette.Inject(palettetest.Login, c.login)
			_ = l.revoke() // may stay pending
			w.minute()
			assert.Empty(t, w.palette.LiveKeys())
			assert.Zero(t, w.pending())
		})
	}
}

// A key that is being made is none that a crash has left behind, also where that is looked
// up only now.
func TestKeyInTheMakingIsNotTakenForAnInterruptedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.storage.failOn("list", framework.WALPrefix)
		w.mount()
		w.storage.heal()
		made := w.palette.HoldAfter(palettetest.APIKeyCreate)
		read := make(chan *heldLease, 1)
		go func() { read <- w.creds("key") }()
		<-made.Arrived()
		require.NoError(t, w.periodic())
		made.Release()
		l := <-read
		assert.True(t, w.palette.KeyAlive(l.data["api_key"].(string)))
		l.mustRevoke()
		w.remove("sessions/default")
	})
}

// Each refresh leaves a token to be kept until the session ends, so a 401 that stays brings
// no more than one in session.RefreshPause.
func TestSessionIsNotFilledByA401ThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 401})
		for range 3 {
			for range 10 {
				w.mistake(logical.ReadOperation, "creds/key", nil, "refuses to create an API key")
			}
			time.Sleep(session.RefreshPause)
		}
		assert.Equal(t, 3, w.refreshes())
		assert.Len(t, w.session().Tokens, 1+3)
		w.palette.ClearAll()
		w.creds("key").mustRevoke()
		w.end()
	})
}
