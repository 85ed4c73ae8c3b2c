package palettesecrets_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	engine "vault-plugin-secrets-palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// life is a mount in a bubble, for what internal/simulation has found.
type life struct {
	*logical.InmemStorage
	t       *testing.T
	b       logical.Backend
	palette *palettetest.Server
	system  *taintable
	// after is asked after each operation of the storage that has done its work.
	after func(op, key string) error
	// full: the storage takes nothing.
	full atomic.Bool
}

var errDiskFull = errors.New("the disk is full")

// taintable is Vault's view of a mount that may be on its way out.
type taintable struct {
	logical.StaticSystemView
	tainted bool
}

func (s *taintable) Tainted() bool { return s.tainted }

// Put implements logical.Storage.
func (l *life) Put(ctx context.Context, e *logical.StorageEntry) error {
	if l.full.Load() {
		return errDiskFull
	}
	if err := l.InmemStorage.Put(ctx, e); err != nil || l.after == nil {
		return err
	}
	return l.after("put", e.Key)
}

// Delete implements logical.Storage.
func (l *life) Delete(ctx context.Context, key string) error {
	if l.after != nil && l.after("delete", key) != nil {
		return errDiskFull // without the work
	}
	return l.InmemStorage.Delete(ctx, key)
}

// inLife runs a test with a mount and a config, "default" for the stand-in's user.
func inLife(t *testing.T, fields map[string]any, test func(*life), opts ...palettetest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &life{t: t, InmemStorage: &logical.InmemStorage{}, palette: palettetest.New(t, append(opts, palettetest.InMemory())...)}
		l.system = &taintable{StaticSystemView: logical.StaticSystemView{DefaultLeaseTTLVal: 768 * time.Hour, MaxLeaseTTLVal: 768 * time.Hour}}
		l.mount()
		u := palettetest.DefaultUser
		data := map[string]any{"address": l.palette.URL(), "email": u.Email, "org": u.Org, "password": u.Password}
		for field, value := range fields {
			data[field] = value
		}
		l.must(logical.CreateOperation, "config", data)
		test(l)
		l.b.Cleanup(t.Context())
		time.Sleep(2 * time.Minute) // what was broken off ends
	})
}

// mount runs a new process over the storage, as after a crash.
func (l *life) mount() {
	l.t.Helper()
	b, err := engine.FactoryOn(exchange.NewProcess().WithDial(palettetest.Dial), "v0.0.0-life")(l.t.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), System: l.system, StorageView: l,
	})
	require.NoError(l.t, err)
	require.NoError(l.t, b.Initialize(l.t.Context(), &logical.InitializationRequest{Storage: l}))
	l.b = b
}

func (l *life) handle(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	resp, err := l.b.HandleRequest(l.t.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: l})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return resp, err
}

func (l *life) must(op logical.Operation, path string, data map[string]any) *logical.Response {
	l.t.Helper()
	resp, err := l.handle(op, path, data)
	require.NoError(l.t, err)
	return resp
}

func (l *life) read(path string) *logical.Response { return l.must(logical.ReadOperation, path, nil) }

func (l *life) revoke(resp *logical.Response) {
	l.t.Helper()
	_, err := l.b.HandleRequest(l.t.Context(), &logical.Request{Operation: logical.RevokeOperation, Secret: resp.Secret, Storage: l})
	require.NoError(l.t, err)
}

// unmount ends leases and mount, as Vault does.
func (l *life) unmount(leases ...*logical.Response) {
	l.t.Helper()
	l.system.tainted = true
	for _, lease := range leases {
		l.revoke(lease)
	}
	l.b.Cleanup(l.t.Context())
}

// A write-ahead entry that the storage has taken in spite of its error names a password that Palette was never told.
// Beside it the entry of a later rotation must be tried too.
func TestRecoveryFindsThePasswordBehindAnUnsentOne(t *testing.T) {
	inLife(t, nil, func(l *life) {
		t := l.t // the bubble's
		l.must(logical.CreateOperation, "roles/app", map[string]any{"renewable": true})
		l.after = func(_, key string) error {
			if strings.HasPrefix(key, "wal/") {
				return errDiskFull
			}
			return nil
		}
		_, err := l.handle(logical.UpdateOperation, "rotate-root", nil)
		require.ErrorIs(t, err, errDiskFull)
		l.after = nil
		unsent, err := l.List(t.Context(), "wal/")
		require.NoError(t, err)
		for _, first := range []string{"0", "z"} { // before and behind the other one in the storage's list
			l.rename("wal/"+unsent[0], "wal/"+first)
			unsent[0] = first
			l.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
			l.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
			l.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
			_, err = l.handle(logical.UpdateOperation, "rotate-root", nil)
			require.Error(t, err)
			l.mount()
			l.revoke(l.read("creds/app"))
			time.Sleep(time.Hour)
		}
	})
}

// Vault hands over old write-ahead entries once a minute, and so may rotation_period have a rotation begin.
func TestRotationUnderWayDoesNotKeepAnotherOnesEntry(t *testing.T) {
	inLife(t, nil, func(l *life) {
		t := l.t
		l.after = func(_, key string) error {
			if strings.HasPrefix(key, "wal/") {
				return errDiskFull
			}
			return nil
		}
		_, err := l.handle(logical.UpdateOperation, "rotate-root", nil)
		require.ErrorIs(t, err, errDiskFull)
		l.after = nil
		time.Sleep(16 * time.Minute)
		gate := l.palette.Hold(palettetest.PasswordChange)
		done := make(chan error)
		go func() {
			_, failed := l.handle(logical.UpdateOperation, "rotate-root", nil)
			done <- failed
		}()
		<-gate.Arrived()
		_, err = l.handle(logical.RollbackOperation, "", nil)
		require.NoError(t, err)
		left, err := l.List(t.Context(), "wal/")
		require.NoError(t, err)
		assert.Len(t, left, 1, "the entry of the rotation under way stays")
		gate.Release()
		require.NoError(t, <-done)
	})
}

// The config is led elsewhere and back: the session of before has ended at Palette, though the storage still holds it.
func TestSessionThatCouldNotBeForgottenIsNotHandedOut(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.must(logical.CreateOperation, "roles/shared", map[string]any{"shared": true, "renewable": false})
		dead := l.read("creds/shared").Data["token"].(string)
		l.after = func(op, key string) error {
			if op == "delete" && strings.HasPrefix(key, "sessions/") {
				return errDiskFull
			}
			return nil
		}
		password := palettetest.DefaultUser.Password
		elsewhere := strings.Replace(l.palette.URL(), "127.0.0.1", "localhost", 1)
		_, err := l.handle(logical.UpdateOperation, "config", map[string]any{"address": elsewhere, "password": password, "verify_connection": false})
		require.ErrorIs(l.t, err, errDiskFull)
		l.after = nil
		require.False(l.t, l.palette.Alive(dead))
		l.must(logical.UpdateOperation, "config", map[string]any{"address": l.palette.URL(), "password": password})
		assert.True(l.t, l.palette.Alive(l.read("creds/shared").Data["token"].(string)))
		l.must(logical.DeleteOperation, "sessions/default", nil)
	})
}

// A login has its turn under rate_limit and then waits for other logins of the account: the turn is over by then.
func TestLoginThatWaitedForOthersTakesAnotherTurn(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.must(logical.CreateOperation, "roles/app", map[string]any{"renewable": false})
		time.Sleep(time.Minute)
		l.palette.Inject(palettetest.Login, palettetest.Fault{Times: 2})
		l.palette.Inject(palettetest.Login, palettetest.Fault{Status: 429, Times: 3})
		leases := make(chan *logical.Response, 20)
		for range cap(leases) {
			go func() { leases <- l.read("creds/app") }()
		}
		for range cap(leases) {
			defer l.revoke(<-leases)
		}
		assert.Zero(l.t, l.palette.Rejected429())
	}, palettetest.WithRateLimit(10), palettetest.WithLatency(300*time.Millisecond))
}

// The node crashes between the end of a session at Palette and its deletion from the storage.
func TestSessionThatACrashHasEndedHalfwayIsNotHandedOut(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.must(logical.CreateOperation, "roles/shared", map[string]any{"shared": true, "renewable": false})
		dead := l.read("creds/shared").Data["token"].(string)
		gate := l.palette.HoldAfter(palettetest.Revoke)
		old, broken := l.b, make(chan struct{})
		go func() {
			defer close(broken)
			_, _ = old.HandleRequest(l.t.Context(), &logical.Request{Operation: logical.DeleteOperation, Path: "sessions/default", Storage: &dying{l}})
		}()
		<-gate.Arrived()
		require.False(l.t, l.palette.Alive(dead))
		l.mount()
		gate.Release()
		<-broken
		assert.True(l.t, l.palette.Alive(l.read("creds/shared").Data["token"].(string)))
		l.must(logical.DeleteOperation, "sessions/default", nil)
	})
}

// dying is the storage of a node that ends before it deletes.
type dying struct{ *life }

// Delete implements logical.Storage.
func (*dying) Delete(context.Context, string) error { return errDiskFull }

// The storage has taken a write-ahead entry in spite of its error. By the time that a new process finds the entry, its
// config is gone, and nobody will use the config any more.
func TestRotationThatIsInterruptedGoesWithItsConfig(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.after = func(_, key string) error {
			if strings.HasPrefix(key, "wal/") {
				return errDiskFull
			}
			return nil
		}
		_, err := l.handle(logical.UpdateOperation, "rotate-root", nil)
		require.ErrorIs(l.t, err, errDiskFull)
		l.after = nil
		l.must(logical.DeleteOperation, "config", nil)
		l.mount()
		time.Sleep(16 * time.Minute)
		l.must(logical.RollbackOperation, "", nil)
		left, err := l.List(l.t.Context(), "wal/")
		require.NoError(l.t, err)
		assert.Empty(l.t, left)
	})
}

// The storage takes a new session in spite of its error, and the session's token is revoked for the error.
func TestSessionStoredInSpiteOfAnErrorIsNotHandedOut(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.must(logical.CreateOperation, "roles/shared", map[string]any{"shared": true, "renewable": false})
		l.after = func(_, key string) error {
			if strings.HasPrefix(key, "sessions/") {
				l.after = nil // once
				return errDiskFull
			}
			return nil
		}
		_, err := l.handle(logical.ReadOperation, "creds/shared", nil)
		require.ErrorIs(l.t, err, errDiskFull)
		l.after = nil
		l.mount()
		assert.True(l.t, l.palette.Alive(l.read("creds/shared").Data["token"].(string)))
		l.must(logical.DeleteOperation, "sessions/default", nil)
	})
}

// A token or an API key whose caller has gone can be ended neither at Palette nor later, since the storage fails too.
// The engine keeps them in mind until the storage works again.
func TestLateCredentialThatNothingTakesIsKeptInMind(t *testing.T) {
	for role, data := range map[string]map[string]any{"a token": {}, "an API key": {"credential_type": "api_key"}} {
		t.Run(role, func(t *testing.T) {
			inLife(t, nil, func(l *life) {
				l.must(logical.CreateOperation, "roles/app", data)
				gates := []*palettetest.Gate{l.palette.HoldAfter(palettetest.APIKeyCreate), l.palette.HoldAfter(palettetest.Login)}
				ctx, hangUp := context.WithCancel(l.t.Context())
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					_, _ = l.b.HandleRequest(ctx, &logical.Request{Operation: logical.ReadOperation, Path: "creds/app", Storage: l})
				}()
				if role == "an API key" {
					gates[1].Release()
					<-gates[0].Arrived()
				} else {
					<-gates[1].Arrived()
				}
				hangUp()
				<-gone
				l.full.Store(true)
				l.palette.Down(true)
				for _, gate := range gates {
					gate.Release()
				}
				time.Sleep(10 * time.Minute)
				l.full.Store(false)
				l.palette.Down(false)
				l.must(logical.RollbackOperation, "", nil)
				synctest.Wait()
				assert.Empty(l.t, l.palette.LiveKeys())
				_, _ = l.handle(logical.DeleteOperation, "sessions/default", nil)
				assert.Empty(l.t, l.palette.LiveTokens())
			})
		})
	}
}

// A rotation was interrupted before Palette took the new password. Then something keeps the config's password from
// its try for a while. The new password must not use up all the tries that login protection leaves, for ever.
func TestAnInterruptedRotationTriesBothPasswords(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.must(logical.CreateOperation, "roles/app", map[string]any{"renewable": false})
		l.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Drop: true, Times: 1})
		l.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
		for range 4 {
			l.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
			l.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
		}
		_, err := l.handle(logical.UpdateOperation, "rotate-root", nil)
		require.Error(l.t, err)
		l.mount()
		for minute := range 45 {
			if minute == 10 {
				l.palette.ClearAll()
			}
			time.Sleep(time.Minute)
			_, _ = l.handle(logical.RollbackOperation, "", nil)
		}
		l.revoke(l.read("creds/app"))
	}, palettetest.WithLockout())
}

func (l *life) rename(from, to string) {
	l.t.Helper()
	entry, err := l.Get(l.t.Context(), from)
	require.NoError(l.t, err)
	require.NotNil(l.t, entry)
	require.NoError(l.t, l.Delete(l.t.Context(), from))
	entry.Key = to
	require.NoError(l.t, l.InmemStorage.Put(l.t.Context(), entry))
}

// At the end of a mount the engine has five seconds. It waits where only the rate limit leaves no turn, for API keys and
// for the session that deletes them as for tokens.
func TestUnmountWaitsForTheRateLimit(t *testing.T) {
	inLife(t, map[string]any{"rate_limit": 5, "queue_timeout": 1}, func(l *life) {
		t := l.t
		l.must(logical.CreateOperation, "roles/key", map[string]any{"credential_type": "api_key"})
		leases := []*logical.Response{l.read("creds/key"), l.read("creds/key")}
		time.Sleep(time.Minute)
		for range 2 {
			leases = append(leases, l.read("creds/key"))
		}
		l.unmount(leases...)
		assert.Empty(t, l.palette.LiveKeys())
		assert.Empty(t, l.palette.LiveTokens())
	})
}
