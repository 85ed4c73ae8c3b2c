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
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
)

const newName = "palette.example.com"

// renamed is the config with another way, on which the stand-in is reached as before.
func renamed(old *store.Config) (*store.Config, error) {
	next := *old
	next.TLSServerName = newName
	return &next, nil
}

type change = func(*store.Config) (*store.Config, error)

func (m *mount) trust(change change) error {
	err := m.Writer.Trust(m.T.Context(), m.Storage, name, change)
	m.Wait()
	return err
}

// A new way is tried with the stored secret. What does not work is not stored, and leaves no client behind.
func TestTrustStoresWhatItHasTried(t *testing.T) {
	with := func(set func(*store.Config)) change {
		return func(old *store.Config) (*store.Config, error) { next := *old; set(&next); return &next, nil }
	}
	own := func(m *mount) { m.ConfigureKey() }
	for _, c := range []struct {
		name    string
		prepare func(m *mount)
		change  change
		fails   string
		logins  int
	}{
		{"it works", func(*mount) {}, renamed, "", 1},
		{"nothing changes", func(*mount) {}, with(func(*store.Config) {}), "", 1},
		{"a mistake", func(*mount) {}, func(*store.Config) (*store.Config, error) { return nil, errMistake }, "field x is y", 0},
		{"the password is rejected", func(m *mount) { m.SetPassword(others) }, renamed, "nothing is stored", 1},
		{"a second factor", func(m *mount) { m.Palette.Inject(palettetest.Login, palettetest.Fault{MFA: true}) }, renamed, "second factor", 1},
		{"a way that cannot be used", func(*mount) {}, with(func(c *store.Config) { c.CACert = "no PEM" }), "ca_cert", 0},
		{"an API key", own, renamed, "", 0},
		{"an API key that is rejected", func(m *mount) { own(m); m.Palette.DeleteKey("own") }, renamed, "does not accept the api_key", 0},
		{"an API key's way that cannot be used", own, with(func(c *store.Config) { c.CACert = "no PEM" }), "ca_cert", 0},
		{"the log cannot be listed", func(m *mount) { m.Storage.FailOn("list", framework.WALPrefix) }, renamed, "disk", 0},
		{"the config cannot be written", func(m *mount) { m.Storage.FailOn("put", store.ConfigPrefix) }, renamed, "disk", 1},
		{"the config cannot be read", func(m *mount) {
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn("get", store.ConfigPrefix)
		}, renamed, "disk", 0},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			c.prepare(m)
			err := m.trust(c.change)
			m.Storage.Heal()
			assert.Equal(t, c.logins, m.Palette.Calls(palettetest.Login))
			assert.Empty(t, m.Palette.LiveTokens())
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				assert.Empty(t, m.Stored().TLSServerName)
				assert.Empty(t, m.Stored().CACert)
				for _, conn := range m.Clients.Connections() {
					assert.Empty(t, conn.CACert+conn.TLSServerName, "a client that nobody needs")
				}
				return
			}
			require.NoError(t, err)
			for _, conn := range m.Clients.Connections() {
				assert.Equal(t, m.Stored().Connection, conn)
			}
		})
	}
}

func TestTrustChangesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		want, err := renamed(m.Stored())
		require.NoError(t, err)
		require.NoError(t, m.trust(renamed))
		assert.Equal(t, want, m.Stored())
		m.Works()
	})
}

func TestTrustOfNoConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mount{enginetest.New(t)}
		require.ErrorContains(t, m.trust(renamed), `there is no config "default"`)
	})
}

// Where Palette rejects the stored password, a password counts that an interrupted rotation has written ahead.
func TestTrustTriesThePasswordsOfInterruptedRotations(t *testing.T) {
	const fresh, newer = "Written-Ahead-Password-1", "Written-Ahead-Password-2"
	stored := palettetest.DefaultUser.Password
	ahead := func(passwords ...palette.Secret) func(*mount) {
		return func(m *mount) {
			for _, p := range passwords {
				m.PasswordAhead(p)
				time.Sleep(time.Second)
			}
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(m *mount)
		palette string // the password that works
		fails   string
		logins  int
	}{
		{"the stored one works", ahead(fresh), stored, "", 1},
		{"the one written ahead", ahead(fresh), fresh, "", 2},
		{"the older of two", ahead(fresh, newer), fresh, "", 3},
		{"the newer of two", ahead(fresh, newer), newer, "", 2},
		{"neither", ahead(fresh), others, "rejects the login", 2},
		{"that of another user", func(m *mount) { m.PasswordAhead(fresh, func(w *store.PasswordWAL) { w.Email = "b@example.com" }) }, fresh, "rejects the login", 1},
		{"the entry is of a key", func(m *mount) {
			m.WriteAhead(store.WALRootKey, &store.KeyWAL{ConfigName: name})
			m.Restart()
		}, others, "rejects the login", 1},
		{"the entry has another form", func(m *mount) {
			m.WriteAhead(store.WALPassword, map[string]any{"config_name": name, "password": 7})
			m.Restart()
		}, others, "cannot be decoded", 1},
		{"the entry cannot be read", func(m *mount) {
			ahead(fresh)(m)
			require.NoError(m.T, m.Credentials.LookUp(m.T.Context(), m.Storage))
			m.Storage.FailOn("get", framework.WALPrefix)
		}, fresh, "disk", 1},
		{"the entry has gone", func(m *mount) {
			ahead(fresh)(m)
			require.NoError(m.T, m.Credentials.LookUp(m.T.Context(), m.Storage))
			require.NoError(m.T, m.Storage.Delete(m.T.Context(), m.Storage.Keys(framework.WALPrefix)[0]))
		}, fresh, "rejects the login", 1},
		{"Palette fails meanwhile", func(m *mount) {
			ahead(fresh)(m)
			m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 401, Times: 1})
			m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
		}, fresh, "500", 2},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			c.prepare(m)
			m.SetPassword(c.palette)
			err := m.trust(renamed)
			m.Storage.Heal()
			assert.Equal(t, c.logins, m.Palette.Calls(palettetest.Login))
			assert.Equal(t, stored, m.Stored().Password.Reveal(), "the recovery stores the password, not the trust")
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				assert.Empty(t, m.Stored().TLSServerName)
				return
			}
			require.NoError(t, err)
			time.Sleep(time.Hour) // the login protection
			m.Works()
			assert.Equal(t, c.palette, m.Stored().Password.Reveal())
		})
	}
}

// A way that others overtake starts over from what they have stored.
func TestTrustThatOthersOvertake(t *testing.T) {
	for _, c := range []struct {
		name   string
		others int
		fails  bool
	}{{"once", 1, false}, {"twice", 2, false}, {"again and again", 3, true}} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m, seen := newMount(t), 0
			err := m.trust(func(old *store.Config) (*store.Config, error) {
				if seen++; seen <= c.others {
					m.Change(func(c *store.Config) { c.PasswordPolicy += "x" }) // another write
				}
				return renamed(old)
			})
			assert.Len(t, m.Stored().PasswordPolicy, c.others, "nothing of theirs is lost")
			if c.fails {
				enginetest.RequireCode(t, err, http.StatusConflict)
				assert.Empty(t, m.Stored().TLSServerName)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, newName, m.Stored().TLSServerName)
		})
	}
}

// The failure of a config that is no more says nothing: another write has brought the right password.
func TestTrustThatFailsForAConfigThatIsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.SetPassword(others)
		require.NoError(t, m.trust(func(old *store.Config) (*store.Config, error) {
			m.Change(func(c *store.Config) { c.Password = others })
			return renamed(old)
		}))
		m.Works()
	})
}

func TestTrustWaitsForARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate, done := m.Palette.Hold(palettetest.PasswordChange), make(chan error, 2)
		go func() { done <- m.Credentials.Rotate(t.Context(), m.Storage, name) }()
		<-gate.Arrived()
		hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		require.ErrorIs(t, m.Writer.Trust(hurried, m.Storage, name, renamed), context.DeadlineExceeded)
		go func() { done <- m.Writer.Trust(t.Context(), m.Storage, name, renamed) }()
		synctest.Wait()
		gate.Release()
		require.NoError(t, errors.Join(<-done, <-done))
		m.Wait()
		m.Works()
		assert.Equal(t, newName, m.Stored().TLSServerName)
	})
}

// What was written on the old way goes the new one. A fault there is said, and the way is stored.
func TestTrustTakesAlongWhatWasWrittenBefore(t *testing.T) {
	for fault, c := range map[string]struct{ op, prefix string }{
		"none": {"", ""}, "the entry cannot be written": {"put", framework.WALPrefix},
		"the pending revocations cannot be listed": {"list", store.PendingPrefix},
	} {
		enginetest.Bubble(t, fault, func(t *testing.T) {
			m := newMount(t)
			token := m.Login()
			before := m.Stored()
			require.NoError(t, m.Revocations.Enqueue(t.Context(), m.Storage, "id", revocation.AccountOf(before).Entry([]store.Token{token})))
			m.PasswordAhead("Written-Ahead-Password-1")
			m.Storage.FailOn(c.op, c.prefix)
			err := m.trust(renamed)
			m.Storage.Heal()
			assert.Equal(t, newName, m.Stored().TLSServerName)
			entry := m.Storage.Text(store.PendingPrefix + "id")
			if c.op != "" {
				require.ErrorIs(t, err, enginetest.ErrDisk)
				m.Logged(config.MsgTrustNotFollowed)
				assert.NotContains(t, entry, newName)
				require.NoError(t, m.trust(renamed), "as the log says")
				assert.Contains(t, m.Storage.Text(store.PendingPrefix+"id"), newName)
			} else {
				require.NoError(t, err)
				assert.Contains(t, entry, newName)
				wal, _, err := store.LoadWAL(t.Context(), m.Storage, m.Credentials.Unrecovered(name)[0])
				require.NoError(t, err)
				assert.Equal(t, m.Stored().TrustDigest(), wal.Data.(map[string]any)["way"])
			}
			require.NoError(t, m.Revocations.EachMinute(t.Context(), m.Storage))
			assert.False(t, m.Alive(token))
			m.Works()
		})
	}
}
