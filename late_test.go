package palettesecrets

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func secret(text string) palette.Secret { return palette.Secret(text) }

// hangUp sends a request whose caller goes away when the call to Palette has arrived,
// and returns when the handler has.
func (w *world) hangUp(gate *palettetest.Gate, req *logical.Request) error {
	ctx, cancel := context.WithCancel(w.t.Context())
	go func() {
		<-gate.Arrived()
		cancel()
	}()
	req.Storage = w.storage
	_, err := w.b.HandleRequest(ctx, req)
	return err
}

// The handler returns at once when the caller hangs up, and the token that arrives later
// is revoked.
func TestLateTokenOfACallerWhoHungUpIsRevoked(t *testing.T) {
	for _, c := range []struct {
		name    string
		at      palettetest.Endpoint
		request func(l *heldLease) *logical.Request
	}{
		{"login", palettetest.Login, func(*heldLease) *logical.Request {
			return &logical.Request{Operation: read, Path: "creds/app"}
		}},
		{"refresh", palettetest.Refresh, func(l *heldLease) *logical.Request {
			return logical.RenewRequest("creds/app", l.secret, l.data)
		}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			gate := w.palette.Hold(c.at)
			require.ErrorIs(t, w.hangUp(gate, c.request(l)), context.Canceled)
			gate.Release()
			w.wait()
			assert.Equal(t, []string{l.token()}, w.palette.LiveTokens())
			l.mustRevoke()
		})
	}
}

// A login that waits for a rotation to end is not made for a caller who has gone meanwhile.
func TestLoginThatWaitsForARotationAndWhoseCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.creds("app").mustRevoke() // role and config are read: the storage serves nobody who has gone
		gate := w.palette.Hold(palettetest.PasswordChange)
		rotated := make(chan error, 1)
		go func() {
			_, err := w.rotateRoot()
			rotated <- err
		}()
		<-gate.Arrived()
		logins := w.palette.Calls(palettetest.Login)
		ctx, hangUp := context.WithCancel(t.Context())
		hangUp()
		_, err := w.b.HandleRequest(ctx, &logical.Request{Operation: read, Path: "creds/app", Storage: w.storage})
		require.ErrorIs(t, err, context.Canceled)
		gate.Release()
		require.NoError(t, <-rotated)
		w.wait()
		assert.Equal(t, logins, w.palette.Calls(palettetest.Login))
	})
}

func TestLateTokenThatCannotBeRevokedIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/app"}), context.Canceled)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500, Times: 1})
		gate.Release()
		w.wait()
		assert.Equal(t, 1, w.pending())
		w.minute()
		assert.Zero(t, w.pending())
	})
}

func TestLateTokenThatCannotEvenBePendingIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/app"}), context.Canceled)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500, Times: 1})
		w.storage.failOn("put", store.PendingPrefix)
		gate.Release()
		w.wait()
		assert.Contains(t, w.log.String(), revocation.MsgLooseLost)
		time.Sleep(15 * time.Minute)
	})
}

func TestLateFailureIsNobodysBusiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/app"}), context.Canceled)
		w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 401, Times: 1})
		gate.Release()
		w.wait()
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func (w *world) config() *store.Config {
	w.t.Helper()
	cfg, err := w.b.configs.Get(w.t.Context(), w.storage, defaultConfigName)
	require.NoError(w.t, err)
	return cfg
}

func TestConfigCheckWhoseCallerHangsUp(t *testing.T) {
	for _, at := range []palettetest.Endpoint{palettetest.Login, palettetest.Revoke} {
		bubble(t, fmt.Sprint(at), func(t *testing.T) {
			w := newWorld(t)
			gate := w.palette.Hold(at)
			require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: create, Path: "config", Data: w.login()}), context.Canceled)
			gate.Release()
			w.wait()
			assert.Nil(t, w.read("config"))
		})
	}
}

func TestPanicsShowNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.storage.fail = func(string, string) error { panic(palettetest.DefaultUser.Password) }
		_, err := w.handle(t.Context(), logical.ListOperation, "roles/", nil)
		require.ErrorIs(t, err, tasks.ErrPanic)
		w.storage.heal()
		require.True(t, w.b.tasks.Start(func() { panic(palettetest.DefaultUser.Password) }))
		w.wait()
		assert.Contains(t, w.log.String(), tasks.MsgPanic)
		assert.Contains(t, w.log.String(), "panic in a request")
	})
}

func TestConnectionThatCannotBeUsedIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		broken := *w.config()
		broken.CACert = "no PEM"
		_, err := w.b.refresh(t.Context(), w.storage, &broken, palette.Secret(l.token()))
		require.ErrorContains(t, err, "ca_cert holds no certificate")
		l.mustRevoke()
	})
}
