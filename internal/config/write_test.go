package config_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

var errMistake = &upstream.Mistake{Text: "field x is y"}

const name = enginetest.Name

// others is a password that an administrator of Palette sets.
const others = "Set-By-Somebody-Else-14"

// mount is an engine with a config.
type mount struct{ *enginetest.Engine }

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{enginetest.New(t, opts...)}
	m.Configure()
	return m
}

// to is a write that verifies, and makes the config for the stand-in's user with changes.
func (m *mount) to(changes ...func(*store.Config)) config.Write {
	return config.Write{Verify: true, NewSecret: true, Change: func(*store.Config) (*store.Config, error) { return m.Config(changes...), nil }}
}

func (m *mount) write(w config.Write) error {
	_, _, err := m.Writer.Write(m.T.Context(), m.Storage, name, w)
	m.Wait()
	return err
}

// A write that fails its check stores nothing, and leaves no client behind.
func TestWriteStoresWhatItHasChecked(t *testing.T) {
	ok := func(*store.Config) {}
	for _, c := range []struct {
		name    string
		change  func(*store.Config)
		prepare func(*mount, *config.Write)
		fails   string
		logins  int
	}{
		{"a login that works", ok, func(*mount, *config.Write) {}, "", 1},
		{"without a check", func(c *store.Config) { c.Password = "wrong" }, func(_ *mount, w *config.Write) { w.Verify = false }, "", 0},
		{"a mistake", ok, func(_ *mount, w *config.Write) {
			w.Change = func(*store.Config) (*store.Config, error) { return nil, errMistake }
		}, "field x is y", 0},
		{"a wrong password", func(c *store.Config) { c.Password = "wrong" }, func(*mount, *config.Write) {}, "nothing is stored", 1},
		{"a second factor", ok, func(m *mount, _ *config.Write) { m.Palette.Inject(palettetest.Login, palettetest.Fault{MFA: true}) }, "second factor", 1},
		{"a connection that cannot be used", func(c *store.Config) { c.CACert = "no PEM" }, func(*mount, *config.Write) {}, "ca_cert", 0},
		{"an API key that works", func(c *store.Config) { c.APIKey = "the-own-key" }, func(m *mount, _ *config.Write) { m.PlantKey("own", "the-own-key", enginetest.OwnKeyLife) }, "", 0},
		{"an API key that does not", func(c *store.Config) { c.APIKey = "nobodys" }, func(*mount, *config.Write) {}, "does not accept the api_key", 0},
		{"a key's connection that cannot be used", func(c *store.Config) { c.APIKey, c.CACert = "x", "no PEM" }, func(*mount, *config.Write) {}, "ca_cert", 0},
		{"a policy", func(c *store.Config) { c.PasswordPolicy = "mine" }, func(_ *mount, w *config.Write) { w.NewPolicy = true }, "", 1},
		{"a policy that is not there", func(c *store.Config) { c.PasswordPolicy = "other" }, func(_ *mount, w *config.Write) { w.NewPolicy = true }, `"password_policy" is "other"`, 0},
		{"a policy taken back", ok, func(_ *mount, w *config.Write) { w.NewPolicy = true }, "", 1},
		{"the storage cannot be read", ok, func(m *mount, _ *config.Write) { m.Storage.FailOn("get", store.ConfigPrefix) }, "disk", 0},
		{"the storage cannot be written", ok, func(m *mount, _ *config.Write) { m.Storage.FailOn("put", store.ConfigPrefix) }, "disk", 1},
		{"the log cannot be listed", ok, func(m *mount, _ *config.Write) { m.Storage.FailOn("list", framework.WALPrefix) }, "disk", 0},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := &mount{enginetest.New(t, palettetest.AllowLiveTokens())}
			m.System.SetPasswordPolicy("mine", func() (string, error) { return "By-The-Policy-1", nil })
			w := m.to(c.change)
			c.prepare(m, &w)
			err := m.write(w)
			m.Storage.Heal()
			assert.Equal(t, c.logins, m.Palette.Calls(palettetest.Login))
			assert.Empty(t, m.Palette.LiveTokens())
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				assert.Nil(t, m.Stored())
				return
			}
			require.NoError(t, err)
			want := m.Config(c.change)
			want.UserUID, want.APIKeyExpiry, want.APIKeyUID = m.Stored().UserUID, m.Stored().APIKeyExpiry, m.Stored().APIKeyUID // what Palette has told of a key
			assert.Equal(t, want.APIKey != "", want.UserUID != "" && want.APIKeyExpiry != 0 && want.APIKeyUID != "")
			assert.Equal(t, want, m.Stored())
		})
	}
}

// What a failed write has made a client for goes, but for the client that the stored config has.
func TestWriteDropsTheClientsThatNobodyNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.End(m.Login())
		conn := m.Stored().Connection
		wrong := func(c *store.Config) { c.Password = "wrong" }
		require.Error(t, m.write(m.to(wrong, func(c *store.Config) { c.RequestTimeout = 7 * time.Second })))
		assert.Equal(t, []palette.Connection{conn}, m.Clients.Connections())
		time.Sleep(time.Hour)
		require.Error(t, m.write(m.to(wrong)))
		assert.Equal(t, []palette.Connection{conn}, m.Clients.Connections())
		time.Sleep(time.Hour)
		require.NoError(t, m.write(m.to(func(c *store.Config) { c.RequestTimeout = 9 * time.Second })))
		assert.Equal(t, []palette.Connection{m.Stored().Connection}, m.Clients.Connections())
	})
}

// The login goes out without a lock on the config: a write that another one overtakes starts over.
func TestWriteThatOthersOvertake(t *testing.T) {
	for _, c := range []struct {
		name   string
		others int
		fails  bool
	}{{"once", 1, false}, {"twice", 2, false}, {"again and again", 3, true}} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m, seen := newMount(t), 0
			err := m.write(config.Write{Verify: true, NewSecret: true, Change: func(old *store.Config) (*store.Config, error) {
				if seen++; seen <= c.others {
					m.Change(func(c *store.Config) { c.RequestTimeout += time.Second }) // another write
				}
				next := *old
				next.PasswordPolicy = "mine"
				return &next, nil
			}})
			if c.fails {
				enginetest.RequireCode(t, err, http.StatusConflict)
				assert.Empty(t, m.Stored().PasswordPolicy)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "mine", m.Stored().PasswordPolicy)
			assert.Equal(t, store.DefaultConnection("").RequestTimeout+time.Duration(c.others)*time.Second, m.Stored().RequestTimeout, "nothing of theirs is lost")
		})
	}
}

func TestWriteWhoseCallerHangsUp(t *testing.T) {
	for _, at := range []palettetest.Endpoint{palettetest.Login, palettetest.Revoke} {
		enginetest.Bubble(t, string(at), func(t *testing.T) {
			m := &mount{enginetest.New(t)}
			gate := m.Palette.Hold(at)
			ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			_, _, err := m.Writer.Write(ctx, m.Storage, name, m.to())
			require.ErrorIs(t, err, context.DeadlineExceeded)
			gate.Release()
			m.Wait()
			assert.Nil(t, m.Stored())
			assert.Empty(t, m.Palette.LiveTokens())
		})
	}
}

// An interrupted rotation stands in the way of a write that brings no secret of its own. One that does
// shows which password works: the config is used in spite of the rotation, which is recovered later.
func TestWriteBesideAnInterruptedRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		m.Palette.Down(true)
		keep := config.Write{Change: func(old *store.Config) (*store.Config, error) { return old, nil }}
		enginetest.RequireCode(t, m.write(keep), http.StatusBadGateway)
		m.Palette.Down(false)
		m.SetPassword(others)
		require.NoError(t, m.write(m.to(func(c *store.Config) { c.Password = others })))
		failed := m.Palette.FailedLogins()
		m.End(m.Login())
		assert.Equal(t, failed, m.Palette.FailedLogins(), "the password of the rotation is not tried")
		assert.Equal(t, 1, m.WALs(), "the change may still arrive")
		m.Works()
	})
}

// A deletion waits for a rotation, which would else bring the config back, and leaves no entry.
func TestDeleteWaitsForARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate, done := m.Palette.Hold(palettetest.PasswordChange), make(chan error, 2)
		go func() { done <- m.Credentials.Rotate(t.Context(), m.Storage, name) }()
		<-gate.Arrived()
		hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		_, err := m.Writer.Delete(hurried, m.Storage, name)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		go func() {
			was, failed := m.Writer.Delete(t.Context(), m.Storage, name)
			assert.NotNil(t, was)
			done <- failed
		}()
		synctest.Wait()
		gate.Release()
		require.NoError(t, errors.Join(<-done, <-done))
		assert.Nil(t, m.Stored())
		was, err := m.Writer.Delete(t.Context(), m.Storage, name)
		require.NoError(t, err, "once more")
		assert.Nil(t, was)
	})
}

func TestDeleteForgetsAnInterruptedRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		_, err := m.Writer.Delete(t.Context(), m.Storage, name)
		require.NoError(t, err)
		assert.Zero(t, m.WALs())
		assert.Empty(t, m.Clients.Connections())
	})
}

func TestDeleteThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		remove := func() error { _, err := m.Writer.Delete(t.Context(), m.Storage, name); return err }
		for _, c := range []struct{ op, prefix string }{{"delete", store.ConfigPrefix}, {"put", store.ConnectionPrefix}, {"get", store.ConfigPrefix}} {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn(c.op, c.prefix)
			require.ErrorIs(t, remove(), enginetest.ErrDisk, c.op)
		}
		// Another write comes between the read and the swap, each time.
		writes := int64(0)
		m.Storage.Before(func(op, key string) error {
			if writes++; op == "get" && key == store.ConfigPrefix+name {
				return m.Configs.Put(t.Context(), m.Storage, name, m.Config(func(c *store.Config) { c.RotateFrom = writes }))
			}
			return nil
		})
		enginetest.RequireCode(t, remove(), http.StatusConflict)
		m.Storage.Heal()
		require.NoError(t, remove())
	})
}
