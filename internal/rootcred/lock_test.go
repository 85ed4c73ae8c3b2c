package rootcred_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// A rotation waits for the logins under way, and holds the credential lock alone: what comes meanwhile
// goes out with the new password.
func TestLockIsSharedByLoginsAndARotationsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		first, release, err := m.Credentials.Use(t.Context(), m.Storage, name, m.Stored())
		require.NoError(t, err)
		_, releaseToo, err := m.Credentials.Use(t.Context(), m.Storage, name, m.Stored())
		require.NoError(t, err, "uses do not wait for each other")
		rotated := make(chan error, 1)
		go func() { rotated <- m.Credentials.Rotate(t.Context(), m.Storage, name) }()
		synctest.Wait()
		assert.Zero(t, m.Palette.Calls(palettetest.Login), "the rotation waits")
		hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		_, _, err = m.Credentials.Use(hurried, m.Storage, name, m.Stored())
		require.ErrorContains(t, err, "waiting for a rotation of config")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		release()
		releaseToo()
		require.NoError(t, <-rotated)
		cfg, release, err := m.Credentials.Use(t.Context(), m.Storage, name, first)
		require.NoError(t, err)
		release()
		assert.NotEqual(t, first.Password, cfg.Password, "the config as it is after the rotation")
		m.Works()
	})
}

// A caller who has seen another identity must not go on as somebody else.
func TestLockIsRefusedWhereTheConfigHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		seen := m.Stored()
		use := func() error {
			_, release, err := m.Credentials.Use(t.Context(), m.Storage, name, seen)
			if err == nil {
				release()
			}
			return err
		}
		m.Configure(func(c *store.Config) { c.Password = "another" })
		require.NoError(t, use(), "the same user")
		m.Configure(func(c *store.Config) { c.Email = "b@example.com" })
		enginetest.RequireCode(t, use(), http.StatusServiceUnavailable)
		require.NoError(t, m.Configs.Delete(t.Context(), m.Storage, name))
		enginetest.RequireCode(t, use(), http.StatusServiceUnavailable)
		m.Storage.FailOn("get", store.ConfigPrefix)
		require.ErrorIs(t, use(), enginetest.ErrDisk)
		m.Storage.Heal()
		m.Configure()
		require.NoError(t, m.Rotate(), "none of them has kept the lock")
		m.Works()
	})
}

// Those who wait for a rotation that is broken off find out what it has left before they use a password.
func TestLockAfterARotationThatIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate := m.Palette.Hold(palettetest.PasswordChange)
		m.Palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
		m.Palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
		m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1}) // which one it is
		rotated, tokens := make(chan error, 1), make(chan store.Token)
		go func() { rotated <- m.Credentials.Rotate(t.Context(), m.Storage, name) }()
		<-gate.Arrived()
		const waiting = 3
		for range waiting {
			go func() { tokens <- m.Login() }()
		}
		synctest.Wait()
		gate.Release()
		require.Error(t, <-rotated)
		for range waiting {
			m.End(<-tokens)
		}
		assert.LessOrEqual(t, m.Palette.FailedLogins(), 0, "nobody has tried the old one")
		m.Works()
	})
}

func TestLockOfAStorageThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Storage.FailOn("list", framework.WALPrefix)
		_, err := m.Credentials.Acquire(t.Context(), m.Storage, name)
		require.ErrorIs(t, err, enginetest.ErrDisk)
		m.Storage.Heal()
		m.InterruptRotation()
		m.Storage.FailOn("get", framework.WALPrefix)
		_, err = m.Credentials.Acquire(t.Context(), m.Storage, name)
		require.ErrorIs(t, err, enginetest.ErrDisk)
		assert.Contains(t, m.Credentials.LastError(name), "disk")
		m.Storage.Heal()
		m.Works()
	})
}

// A write shows that the config's secret works, so the config is used in spite of an interrupted rotation. The
// rotation is recovered when its call cannot arrive any more.
func TestLockOfAConfigWhoseSecretHasWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		require.Len(t, m.Credentials.Unrecovered(name), 1)
		m.SetPassword(others)
		m.Change(func(c *store.Config) { c.Password = others })
		m.Credentials.Supersede(name, m.Stored())
		m.End(m.Login())
		assert.Zero(t, m.Palette.FailedLogins(), "the rotation's password is not tried")
		assert.Len(t, m.Credentials.Unrecovered(name), 1, "the change may still arrive")
		m.Works()
		assert.Empty(t, m.Credentials.Unrecovered(name))
	})
}

// A use and a recovery whose caller hangs up while a rotation is under way.
func TestLockThatIsNotGivenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.InterruptRotation()
		release, err := m.Credentials.AcquireShared(t.Context(), name)
		require.NoError(t, err)
		hurried, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		_, err = m.Credentials.Acquire(hurried, m.Storage, name)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		release()
		m.Works()
	})
}
