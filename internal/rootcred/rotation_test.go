package rootcred_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
)

// At each step of a rotation the config or the write-ahead log holds the password that works. The next use goes on by
// itself, in this process and in the next one.
func TestRotationSurvivesAFaultAtEachStep(t *testing.T) {
	at := func(e palettetest.Endpoint, f palettetest.Fault) func(*mount) {
		f.Times = 1
		return func(m *mount) { m.Palette.Inject(e, f) }
	}
	disk := func(op, prefix string) func(*mount) { return func(m *mount) { m.Storage.FailOn(op, prefix) } }
	const change = palettetest.PasswordChange
	for _, c := range []struct {
		name    string
		fault   func(*mount)
		fails   bool
		changed bool // at Palette
		wals    int  // while the fault lasts
	}{
		{"no fault", func(*mount) {}, false, true, 0},
		{"the login fails", at(palettetest.Login, palettetest.Fault{Status: 500}), true, false, 0},
		{"the log does not take the password", disk("put", framework.WALPrefix), true, false, 0},
		{"Palette refuses", at(change, palettetest.Fault{Status: 400}), true, false, 0},
		{"Palette refuses, and the log keeps the entry", func(m *mount) { at(change, palettetest.Fault{Status: 400})(m); disk("delete", framework.WALPrefix)(m) }, true, false, 1},
		{"the change is lost on its way", at(change, palettetest.Fault{Drop: true}), true, false, 1},
		{"Palette fails", at(change, palettetest.Fault{Status: 503}), true, false, 1},
		{"somebody else answers", at(change, palettetest.Fault{Foreign: true, Status: 401}), true, false, 1},
		{"somebody else answers when it is done", at(change, palettetest.Fault{Foreign: true, Status: 403, AfterWork: true}), false, true, 0},
		{"the answer is lost", at(change, palettetest.Fault{DropAfter: true}), false, true, 0},
		{"the config is not stored", disk("put", store.ConfigPrefix), true, true, 1},
		{"the log keeps the entry", disk("delete", framework.WALPrefix), false, true, 1},
	} {
		for _, restart := range []bool{false, true} {
			enginetest.Bubble(t, fmt.Sprint(c.name, restart), func(t *testing.T) {
				m := newMount(t)
				old := m.Password()
				c.fault(m)
				err := m.Rotate()
				assert.Equal(t, c.fails, err != nil, err)
				assert.Equal(t, c.changed, m.Password() != old)
				assert.Equal(t, c.wals, m.WALs())
				m.Storage.Heal()
				if restart {
					m.Restart()
				}
				m.Works()
				require.NoError(t, m.Rotate())
				m.Works()
			})
		}
	}
}

func TestRotationNotesWhenAndTellsOfItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		var told []string
		m.Credentials.Hooks.Changed = func(context.Context, logical.Storage, string) { told = append(told, "changed") }
		m.Credentials.Hooks.Rotated = func(_ context.Context, _ logical.Storage, of string, err error) {
			told = append(told, fmt.Sprint("rotated ", of, " ", err != nil))
		}
		require.NoError(t, m.Rotate())
		cfg := m.Stored()
		assert.Equal(t, enginetest.Epoch, cfg.SetByRotation().UTC())
		assert.Equal(t, enginetest.Epoch.Unix(), cfg.RotateFrom)
		m.Palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 400, Times: 1})
		require.Error(t, m.Rotate())
		assert.Equal(t, []string{"changed", "rotated default false", "rotated default true"}, told)
	})
}

func TestRotationIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		require.ErrorContains(t, m.Credentials.Rotate(t.Context(), m.Storage, "other"), `there is no config "other"`)
		for _, fault := range []string{store.ConfigPrefix, framework.WALPrefix} {
			m.Restart()
			m.Storage.FailOn(map[string]string{store.ConfigPrefix: "get", framework.WALPrefix: "list"}[fault], fault)
			require.ErrorIs(t, m.Rotate(), enginetest.ErrDisk)
			m.Storage.Heal()
		}
		m.Configure(func(c *store.Config) { c.CACert = "no PEM" })
		require.ErrorContains(t, m.Rotate(), "ca_cert")
		m.Configure(func(c *store.Config) { c.PasswordPolicy = "missing" })
		require.ErrorContains(t, m.Rotate(), `by the policy "missing"`)
		m.Configure()
		require.NoError(t, m.Tasks.Drain(t.Context()))
		require.ErrorIs(t, m.Rotate(), tasks.ErrEnding)
		require.ErrorIs(t, m.Rotate(), tasks.ErrEnding, "the first one has ended")
		m.Restart()
		m.Works()
	})
}

// A second rotation at the same time is refused; whoever hears of the outcome may rotate again.
func TestRotationIsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate, done := m.Palette.Hold(palettetest.PasswordChange), make(chan error)
		go func() { done <- m.Credentials.Rotate(t.Context(), m.Storage, name) }()
		<-gate.Arrived()
		enginetest.RequireCode(t, m.Credentials.Rotate(t.Context(), m.Storage, name), http.StatusConflict)
		gate.Release()
		require.NoError(t, <-done)
		require.NoError(t, m.Credentials.Rotate(t.Context(), m.Storage, name))
		m.Wait()
		m.Works()
	})
}

func TestRotationGoesOnWhereItsCallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		old, gate := m.Password(), m.Palette.Hold(palettetest.PasswordChange)
		ctx, hangUp := context.WithCancel(t.Context())
		go func() { <-gate.Arrived(); hangUp() }()
		require.ErrorIs(t, m.Credentials.Rotate(ctx, m.Storage, name), context.Canceled)
		gate.Release()
		m.Wait()
		assert.NotEqual(t, old, m.Password())
		m.Works()
	})
}

// No other rotation starts before the log has let go of the one before: its entry would name the wrong password.
func TestRotationWaitsUntilTheLogHasLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Storage.FailOn("delete", framework.WALPrefix)
		require.NoError(t, m.Rotate())
		require.ErrorContains(t, m.Rotate(), "does not delete the write-ahead entry")
		m.Logged(rootcred.MsgWALNotDeleted)
		m.Storage.Heal()
		require.NoError(t, m.Rotate())
		m.Works()
	})
}

// A panic in a rotation is none of the process's, and the next rotation is not refused.
func TestRotationSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Storage.Before(func(op, key string) error {
			if op == "put" && key != "" {
				panic(palettetest.DefaultUser.Password)
			}
			return nil
		})
		require.ErrorIs(t, m.Rotate(), tasks.ErrPanic)
		m.Storage.Heal()
		require.NoError(t, m.Rotate())
		m.Works()
	})
}

// The stand-in keeps Palette's policy: 14 characters of all four classes.
func TestRotationMakesPasswordsThatPaletteTakes(t *testing.T) {
	for policy, want := range map[string]string{"": "^[-0-9A-Za-z_.!*+=]{32}$", "mine": "^By-The-Policy-0*[0-9]+$", "broken": ""} {
		enginetest.Bubble(t, policy, func(t *testing.T) {
			m := newMount(t)
			made := 0
			m.System.SetPasswordPolicy("mine", func() (string, error) { made++; return fmt.Sprintf("By-The-Policy-%06d", made), nil })
			m.System.SetPasswordPolicy("broken", func() (string, error) { return "", errors.New("the policy makes no password") })
			m.Configure(func(c *store.Config) { c.PasswordPolicy = policy })
			for range 20 {
				if want == "" {
					require.ErrorContains(t, m.Rotate(), "the policy makes no password")
					continue
				}
				require.NoError(t, m.Rotate())
				assert.Regexp(t, want, m.Password().Reveal())
			}
			m.Works()
		})
	}
}

// An account with a second factor is of no use, and what came of its login is revoked.
func TestLoginThatAsksForASecondFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Palette.Inject(palettetest.Login, palettetest.Fault{MFA: true, Times: 1})
		_, err := m.Credentials.Login(t.Context(), m.Storage, name, m.Stored())
		var mfa *palette.MFAError
		require.ErrorAs(t, err, &mfa)
		m.Wait()
		assert.Equal(t, 1, m.Palette.Calls(palettetest.Revoke))
	})
}

// A token whose caller has gone is revoked.
func TestLoginWhoseCallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate := m.Palette.Hold(palettetest.Login)
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		_, err := m.Credentials.Login(ctx, m.Storage, name, m.Stored())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		gate.Release()
		m.Wait()
		assert.Len(t, m.Palette.Issued(), 1)
		assert.Empty(t, m.Palette.LiveTokens())
	})
}

func TestLoginThroughAConnectionThatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		cfg := m.Configure(func(c *store.Config) { c.CACert = "no PEM" })
		_, err := m.Credentials.Login(t.Context(), m.Storage, name, cfg)
		assert.ErrorContains(t, err, "ca_cert")
	})
}
