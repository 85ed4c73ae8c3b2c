package palettesecrets

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// rotateRoot rotates the default config, and returns Vault's view of what came of it.
func (w *world) rotateRoot() (*logical.Response, error) {
	w.t.Helper()
	return w.handle(w.t.Context(), update, "rotate-root", nil)
}

// password is the one that Palette takes.
func (w *world) password() string {
	w.t.Helper()
	u, ok := w.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
	require.True(w.t, ok)
	return u.Password
}

// wals counts the write-ahead entries.
func (w *world) wals() int {
	w.t.Helper()
	return len(w.keys(framework.WALPrefix))
}

// works requires that the config's password is the one that Palette takes, that a read
// works, and that nothing is left behind.
func (w *world) works() {
	w.t.Helper()
	w.creds("app").mustRevoke()
	w.wait()
	w.minute() // a call that was on its way can reach Palette no more
	w.wait()
	assert.Equal(w.t, w.password(), w.config().Password.Reveal())
	assert.Zero(w.t, w.wals())
	assert.NotContains(w.t, w.read("config").Data, "rotation_error")
	assert.Empty(w.t, w.palette.LiveTokens())
}

// Each step of a rotation that can fail, and each of the storage's writes: the engine goes
// on by itself, in the same process and in the next one.
func TestRotationSurvivesAFaultAtEachStep(t *testing.T) {
	for _, c := range []struct {
		name       string
		fault      func(w *world)
		text       string // of the error, "" for none
		rotated    bool   // Palette has the new password
		unresolved int
	}{
		{"the login fails", func(w *world) { w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1}) }, "500", false, 0},
		{"the log does not take the password", func(w *world) { w.storage.failOn("put", framework.WALPrefix) }, "the disk is full", false, 0},
		{"Palette refuses", func(w *world) { w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 400, Times: 1}) }, "message", false, 0},
		{"Palette has no such endpoint", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 404, Times: 1})
		}, "Not Found", false, 0},
		{"somebody else answers", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Foreign: true, Status: 401, Body: "<html>", Times: 1})
		}, "not Palette's answer", false, 1},
		{"somebody else answers when it is done", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Foreign: true, Status: 403, AfterWork: true, Times: 1})
		}, "", true, 0},
		{"Palette is lost before it takes it", func(w *world) { w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Drop: true, Times: 1}) }, "change the password", false, 1},
		{"Palette fails", func(w *world) { w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 503, Times: 1}) }, "503", false, 1},
		{"the answer is lost", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
		}, "", true, 0},
		{"the config is not stored", func(w *world) { w.storage.failOn("put", store.ConfigPrefix) }, "storage did not take the config", true, 1},
		{"the log does not let go", func(w *world) { w.storage.failOn("delete", framework.WALPrefix) }, "", true, 1},
		{"the log does not let go of a refused one", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 400, Times: 1})
			w.storage.failOn("delete", framework.WALPrefix)
		}, "message", false, 1},
	} {
		for _, restart := range []bool{false, true} {
			bubble(t, c.name, func(t *testing.T) {
				w := configured(t)
				old := w.password()
				c.fault(w)
				resp, err := w.rotateRoot()
				if resp.IsError() {
					err = resp.Error()
				}
				if c.text == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.text)
				}
				assert.Equal(t, c.rotated, w.password() != old)
				assert.Equal(t, c.unresolved, w.wals())
				w.secrets = append(w.secrets, w.password())
				if c.rotated && !restart { // while the storage still fails
					if c.text == "" {
						w.creds("app").mustRevoke()
					} else {
						_, err = w.handle(t.Context(), read, "creds/app", nil)
						require.ErrorContains(t, err, c.text)
					}
				}
				w.storage.heal()
				if restart {
					w.wait()
					calls := w.palette.TotalCalls()
					w.mount()
					assert.Equal(t, calls, w.palette.TotalCalls(), "Initialize calls nobody")
				}
				w.works()
				time.Sleep(10 * time.Minute)
				_, err = w.rotateRoot()
				require.NoError(t, err, "the next one works")
				w.works()
			})
		}
	}
}

func TestRotationIsRefusedDuringAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.PasswordChange)
		first := make(chan error, 1)
		go func() {
			_, err := w.rotateRoot()
			first <- err
		}()
		<-gate.Arrived()
		w.fault(update, "rotate-root/default", nil, http.StatusConflict, "being rotated already")
		gate.Release()
		require.NoError(t, <-first)
		w.works()
	})
}

// A config write during a rotation waits, and neither undoes the other.
func TestConfigWriteDuringARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		old := w.password()
		gate := w.palette.Hold(palettetest.PasswordChange)
		done := make(chan error, 2)
		go func() {
			_, err := w.rotateRoot()
			done <- err
		}()
		<-gate.Arrived()
		go func() {
			_, err := w.handle(t.Context(), update, "config", fields{"request_timeout": 9})
			done <- err
		}()
		gate.Release()
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		assert.NotEqual(t, old, w.password())
		assert.EqualValues(t, 9, w.read("config").Data["request_timeout"])
		w.works()
	})
}

func TestRotationGoesOnWhenItsCallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		old := w.password()
		gate := w.palette.Hold(palettetest.PasswordChange)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: update, Path: "rotate-root"}), context.Canceled)
		gate.Release()
		w.wait()
		assert.NotEqual(t, old, w.password())
		w.works()
	})
}

// 16 readers during 50 rotations: no failed read.
func TestRotationHindersNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		var readers sync.WaitGroup
		stop := make(chan struct{})
		reads := make(chan int, 16)
		for range 16 {
			readers.Go(func() {
				n := 0
				defer func() { reads <- n }()
				for {
					select {
					case <-stop:
						return
					default:
					}
					resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: read, Path: "creds/app", Storage: w.storage})
					if !assert.NoError(t, err) || !assert.False(t, resp.IsError(), "%v", resp) {
						return
					}
					(&heldLease{w: w, secret: resp.Secret, data: resp.Data}).mustRevoke()
					n++
				}
			})
		}
		for range 50 {
			_, err := w.rotateRoot()
			require.NoError(t, err)
		}
		close(stop)
		readers.Wait()
		close(reads)
		all := 0
		for n := range reads {
			all += n
		}
		assert.Positive(t, all)
		assert.Zero(t, w.palette.FailedLogins())
		w.works()
	})
}

// Leases issued before stay renewable and revocable; a shared session goes on, also where
// Palette ends sessions with a change of the password.
func TestRotationLeavesLeasesAndSessions(t *testing.T) {
	for _, ends := range []bool{false, true} {
		bubble(t, fmt.Sprint(ends), func(t *testing.T) {
			var opts []palettetest.Option
			if ends {
				opts = append(opts, palettetest.WithPasswordChangeEndsSessions())
			}
			w := sharing(t, opts...)
			l := w.creds("app")
			shared := w.creds("many")
			_, err := w.rotateRoot()
			require.NoError(t, err)
			if !ends {
				l.mustRenew()
			}
			l.mustRevoke()
			w.wait()
			w.mount() // also after a restart
			assert.True(t, w.palette.Alive(w.creds("many").token()), "no dead token is handed out")
			shared.mustRenew()
			assert.True(t, w.palette.Alive(shared.token()))
			w.remove("sessions/default")
			w.works()
		})
	}
}

func TestRotationStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.storage.failOn("list", framework.WALPrefix)
		w.mount() // its Initialize fails to look
		for _, request := range []struct {
			op   logical.Operation
			path string
		}{{update, "rotate-root"}, {read, "creds/app"}, {update, "config"}} {
			_, err := w.handle(t.Context(), request.op, request.path, fields{})
			require.ErrorIs(t, err, errDisk)
		}
		require.ErrorIs(t, w.periodic(), errDisk)
		require.NoError(t, w.b.Initialize(t.Context(), &logical.InitializationRequest{Storage: w.storage}))
		assert.Contains(t, w.log.String(), rootcred.MsgLookUpFailed)
		w.storage.heal()
		w.works()
		callBack := w.ended()
		w.fault(update, "rotate-root", nil, http.StatusServiceUnavailable, "sealed")
		callBack()
		_, err := w.rotateRoot()
		require.NoError(t, err)
	})
}

// A delete waits for the rotation, which would else bring the config back.
func TestConfigThatIsDeletedWhileItIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name, config string
			at           palettetest.Endpoint
			world        func() *world
		}{
			{"a password", "default", palettetest.PasswordChange, func() *world { return configured(t) }},
			{"an API key", "k", palettetest.APIKeyCreate, func() *world { w, _ := keyed(t); return w }},
		} {
			w := c.world()
			gate := w.palette.Hold(c.at)
			ended := make(chan error, 2)
			request := func(op logical.Operation, path string) {
				_, err := w.handle(t.Context(), op, path, nil)
				ended <- err
			}
			go request(update, "rotate-root/"+c.config)
			<-gate.Arrived()
			go request(logical.DeleteOperation, "config/"+c.config)
			gate.Release()
			require.NoError(t, <-ended)
			require.NoError(t, <-ended)
			w.wait()
			assert.NotContains(t, w.list("config/"), c.config, c.name)
			assert.Zero(t, w.wals(), c.name)
		}
	})
}

// Those who come while a rotation logs in wait for it. Where it is then broken off, they
// find out which password it has left before they use one.
func TestRotationThatIsInterruptedWhileLoginsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithLockout())
		gate := w.palette.Hold(palettetest.Login)
		w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
		w.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
		w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1}) // which one it is
		rotated := make(chan error, 1)
		go func() {
			_, err := w.rotateRoot()
			rotated <- err
		}()
		<-gate.Arrived()
		leases := make(chan *heldLease)
		const waiting = 3
		for range waiting {
			go func() { leases <- w.creds("app") }()
		}
		synctest.Wait()
		require.Equal(t, 1+waiting, w.running())
		gate.Release()
		require.Error(t, <-rotated)
		for range waiting {
			(<-leases).mustRevoke()
		}
		assert.Zero(t, w.palette.FailedLogins())
		w.secrets = append(w.secrets, w.password())
	})
}
