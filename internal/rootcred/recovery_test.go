package rootcred_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
)

const (
	fresh  = "Written-Ahead-Password-1"
	others = "Set-By-Somebody-Else-14"
)

// What an earlier process has left is recovered at the config's first use: the password that works becomes the config's.
func TestRecoveryFindsThePasswordThatWorks(t *testing.T) {
	stored := palettetest.DefaultUser.Password
	for _, c := range []struct {
		name    string
		palette string // the password that works
		change  func(*store.PasswordWAL)
		works   bool
		want    string // the config's then
		wals    int    // an entry that may still arrive is kept for its grace period
		said    string
	}{
		{"the change had arrived", fresh, func(*store.PasswordWAL) {}, true, fresh, 0, rootcred.MsgChanged},
		{"the change had not arrived", stored, func(*store.PasswordWAL) {}, true, stored, 1, rootcred.MsgNotChanged},
		{"it cannot arrive any more", stored, func(w *store.PasswordWAL) { w.At = w.At.Add(-time.Hour) }, true, stored, 0, rootcred.MsgNotChanged},
		{"neither works", others, func(*store.PasswordWAL) {}, false, stored, 1, rootcred.MsgNeitherWorks},
		{"it was stored, and the entry left", stored, func(w *store.PasswordWAL) { w.Password = palette.Secret(stored) }, true, stored, 0, ""},
		{"the config is another login", stored, func(w *store.PasswordWAL) { w.Email = "b@example.com" }, true, stored, 0, rootcred.MsgPasswordDropped},
		{"another trust", stored, func(w *store.PasswordWAL) { w.TrustDigest = "another" }, true, stored, 1, rootcred.MsgNotChanged},
		{"another trust, and the password would work", fresh, func(w *store.PasswordWAL) { w.TrustDigest = "another" }, false, stored, 1, "trust_changed=true"},
		{"an older version's entry", fresh, func(w *store.PasswordWAL) { w.TrustDigest = "" }, true, fresh, 0, rootcred.MsgChanged},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			m.SetPassword(c.palette)
			m.PasswordAhead(fresh, c.change)
			token, err := m.Credentials.Login(t.Context(), m.Storage, name, m.Stored())
			require.Equal(t, c.works, err == nil, err)
			m.Wait()
			assert.Equal(t, c.want, m.Stored().Password.Reveal())
			assert.Equal(t, c.wals, m.WALs())
			m.Logged(c.said)
			assert.Equal(t, c.works, m.Credentials.LastError(name) == "")
			if c.works {
				m.End(store.TokenOf(token))
				m.Works()
			}
		})
	}
}

// A config that has gone leaves no password behind, however the storage fails.
func TestRecoveryOfAConfigThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.PasswordAhead(fresh)
		require.NoError(t, m.Configs.Delete(t.Context(), m.Storage, name))
		release, err := m.Credentials.Acquire(t.Context(), m.Storage, name)
		require.NoError(t, err)
		release()
		m.Logged(rootcred.MsgPasswordDropped)
		assert.Zero(t, m.WALs())
	})
}

// Of several passwords Palette knows the last that it took, whatever order the storage lists them in. Where
// Palette has none of the first ones, login protection holds recovery back, which goes on with the others then.
func TestRecoveryOfSeveralRotations(t *testing.T) {
	passwords := []palette.Secret{"First-Written-Ahead-1", "Second-Written-Ahead-2", "Third-Written-Ahead-3", "Fourth-Written-Ahead-4", "Fifth-Written-Ahead-5", "Sixth-Written-Ahead-6"}
	stored := palette.Secret(palettetest.DefaultUser.Password)
	for _, c := range []struct {
		ahead int
		works palette.Secret
		fails int           // logins with other passwords: each is tried once
		after time.Duration // of login protection
	}{
		{2, passwords[1], 0, 0},
		{2, stored, 1, 0},
		{2, passwords[0], 2, 0},
		{3, passwords[2], 0, 0},
		{3, stored, 1, 0},
		{3, passwords[1], 2, 0},
		{3, passwords[0], 3, 15 * time.Minute},
		{6, passwords[5], 0, 0},
		{6, stored, 1, 0},
		{6, passwords[2], 4, 15 * time.Minute},
		{6, passwords[0], 6, 30 * time.Minute},
	} {
		enginetest.Bubble(t, fmt.Sprint(c.ahead, c.works.Reveal()), func(t *testing.T) {
			m := newMount(t)
			for _, password := range passwords[:c.ahead] {
				m.PasswordAhead(password)
				time.Sleep(time.Second)
			}
			m.SetPassword(c.works.Reveal())
			m.recovers(c.works, c.after)
			assert.Equal(t, c.fails, m.Palette.FailedLogins())
			m.Works()
		})
	}
}

// recovers requires that the periodic run has made a password the config's after a time, and not before.
func (m *mount) recovers(password palette.Secret, after time.Duration) {
	m.T.Helper()
	began := time.Now()
	for m.Minute(); m.Credentials.LastError(name) != ""; m.Minute() {
		require.Less(m.T, time.Since(began), 24*time.Hour, "never recovered")
		time.Sleep(time.Minute)
	}
	assert.InDelta(m.T, after.Minutes(), time.Since(began).Minutes(), 1)
	assert.Equal(m.T, password, m.Stored().Password)
}

// Where Palette has rejected all, recovery begins anew: an administrator may set one of them.
func TestRecoveryBeginsAnewWhereNoPasswordWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		for _, password := range []palette.Secret{"First-Written-Ahead-1", "Second-Written-Ahead-2", fresh} {
			m.PasswordAhead(password)
			time.Sleep(time.Second)
		}
		m.SetPassword(others)
		for range 60 {
			m.Minute()
			time.Sleep(time.Minute)
		}
		m.Logged(rootcred.MsgNeitherWorks)
		assert.LessOrEqual(t, m.Palette.FailedLogins(), 3*4, "login protection")
		m.SetPassword("First-Written-Ahead-1")
		m.recovers("First-Written-Ahead-1", 15*time.Minute)
		m.Works()
	})
}

// What an operator writes is tried next: its outcome is not known yet.
func TestRecoveryTriesAConfigThatWasWrittenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		for _, password := range []palette.Secret{"First-Written-Ahead-1", "Second-Written-Ahead-2", fresh} {
			m.PasswordAhead(password)
			time.Sleep(time.Second)
		}
		m.SetPassword(others)
		m.Minute()
		m.Change(func(c *store.Config) { c.Password = others })
		m.recovers(others, 15*time.Minute)
		assert.Equal(t, 3, m.Palette.FailedLogins())
		m.Works()
	})
}

// Palette does not answer when the outcome is to be found out: the config is not used until it is known.
func TestRecoveryIsTriedAtEachUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		m.Palette.Down(true)
		_, err := m.Credentials.Acquire(t.Context(), m.Storage, name)
		require.Error(t, err)
		assert.Equal(t, err.Error(), m.Credentials.LastError(name))
		m.Logged(rootcred.MsgUnresolved)
		m.Minute() // it logs, and goes on
		require.Error(t, m.Rotate(), "no rotation before the outcome is known")
		m.Palette.Down(false)
		m.Works()
	})
}

// The change of a rotation that was recovered arrives late, by a plugin that outlived its Vault or a proxy.
func TestRecoveryOfAChangeThatArrivesLate(t *testing.T) {
	for use, next := range map[string]func(m *mount){
		"a login":    func(m *mount) { m.End(m.Login()) },
		"a rotation": func(m *mount) { require.NoError(m.T, m.Rotate()) },
		"nothing":    func(*mount) {},
	} {
		enginetest.Bubble(t, use, func(t *testing.T) {
			m := newMount(t)
			m.PasswordAhead(fresh)
			m.End(m.Login())
			require.Equal(t, 1, m.WALs(), "kept as long as its change may arrive")
			m.SetPassword(fresh)
			next(m)
			m.Works()
		})
	}
}

// Where a rotation's login finds the late change, and what it finds cannot be read.
func TestRecoveryInARotationThatFails(t *testing.T) {
	for fault, fail := range map[string]func(m *mount){
		"the log": func(m *mount) { m.Storage.FailOn("get", framework.WALPrefix) },
		"Palette is down": func(m *mount) {
			m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 401, Times: 1})
			m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500})
		},
	} {
		enginetest.Bubble(t, fault, func(t *testing.T) {
			m := newMount(t)
			m.PasswordAhead(fresh)
			m.End(m.Login())
			m.SetPassword(fresh)
			fail(m)
			require.Error(t, m.Rotate())
			m.Storage.Heal()
			m.Palette.ClearAll()
			time.Sleep(20 * time.Minute)
			m.Works()
		})
	}
}

// An entry that cannot be decoded is named each minute and stops nothing else; one that an operator mends is recovered.
func TestRecoveryOfAnUndecodableEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		key := m.Storage.Keys(framework.WALPrefix)[0]
		text := m.Storage.Text(key)
		m.Storage.Plant(key, "{a secret")
		m.Restart()
		require.NoError(t, m.Credentials.Initialize(t.Context(), m.Storage))
		m.Logged(rootcred.MsgUndecodable, key)
		for range 2 {
			err := m.Credentials.EachMinute(t.Context(), m.Storage)
			require.ErrorContains(t, err, key+" cannot be decoded")
			assert.NotContains(t, err.Error(), "a secret")
		}
		m.Storage.FailOn("get", key)
		require.ErrorIs(t, m.Credentials.EachMinute(t.Context(), m.Storage), enginetest.ErrDisk)
		m.Storage.Heal()
		m.Storage.Plant(key, text)
		m.Minute()
		m.Works()
	})
}

// Data that decodes as an entry, but not as what its kind says.
func TestRecoveryOfAnEntryOfAnotherForm(t *testing.T) {
	for _, kind := range []string{store.WALPassword, store.WALRootKey} {
		enginetest.Bubble(t, kind, func(t *testing.T) {
			m := newMount(t)
			m.WriteAhead(kind, map[string]any{"config_name": name, "password": 7, "name": 7})
			_, err := m.Credentials.Login(t.Context(), m.Storage, name, m.Stored())
			require.ErrorIs(t, err, store.ErrUndecodable)
			assert.Equal(t, store.ErrUndecodable.Error(), m.Credentials.LastError(name))
		})
	}
}

// Initialize calls nobody, since Vault's unseal waits for it; where the storage fails, the first use looks again.
func TestRecoveryAfterAnInitializeThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		calls := m.Palette.TotalCalls()
		for _, op := range []string{"list", "get"} {
			m.Restart()
			m.Storage.FailOn(op, framework.WALPrefix)
			require.NoError(t, m.Credentials.Initialize(t.Context(), m.Storage))
			require.ErrorIs(t, m.Credentials.EachMinute(t.Context(), m.Storage), enginetest.ErrDisk)
		}
		assert.Equal(t, 2, strings.Count(m.Log.String(), rootcred.MsgLookUpFailed))
		assert.Equal(t, calls, m.Palette.TotalCalls())
		m.Storage.Heal()
		m.Works()
	})
}

// Vault's rollback deletes an entry that is of no more use, and no other.
func TestRecoveryBeforeVaultsRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		entry, _, err := store.LoadWAL(t.Context(), m.Storage, strings.TrimPrefix(m.Storage.Keys(framework.WALPrefix)[0], framework.WALPrefix))
		require.NoError(t, err)
		rollback := func(data any) error { return m.Credentials.Rollback(t.Context(), m.Storage, data) }
		require.ErrorContains(t, rollback(entry.Data), "is not recovered yet")
		require.NoError(t, rollback(map[string]any{"config_name": name, "password": "of another one"}))
		require.ErrorIs(t, rollback(7), store.ErrUndecodable)
		for _, c := range []struct{ op, prefix string }{{"get", store.ConfigPrefix}, {"get", framework.WALPrefix}, {"list", framework.WALPrefix}} {
			if c.op == "list" {
				m.Restart()
			}
			m.Configs.Invalidate(store.ConfigPrefix + name)
			m.Storage.FailOn(c.op, c.prefix)
			require.ErrorIs(t, rollback(entry.Data), enginetest.ErrDisk, c.prefix)
		}
		m.Storage.Heal()
		m.Works()
		require.NoError(t, rollback(entry.Data))
		m.InterruptRotation()
		require.NoError(t, m.Configs.Delete(t.Context(), m.Storage, name))
		require.NoError(t, rollback(entry.Data), "nobody will use the config")
		assert.Zero(t, m.WALs())
	})
}
