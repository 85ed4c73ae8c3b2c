package config_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// A rotation deletes the key of the config's UID, so a write takes no UID but one of the user's keys.
func TestWriteRefusesTheUIDOfNoKeyOfTheUser(t *testing.T) {
	enginetest.Bubble(t, "", func(t *testing.T) {
		m := &mount{enginetest.New(t, palettetest.AllowLiveTokens())}
		m.PlantKey("own", "the-own-key", enginetest.OwnKeyLife)
		err := m.write(m.to(func(cfg *store.Config) { cfg.APIKey, cfg.APIKeyUID = "the-own-key", "gone" }))
		require.ErrorContains(t, err, `"api_key_uid" is "gone"`)
		assert.Nil(t, m.Stored())
	})
}

// A write of a key learns when it expires, where Palette tells which of the user's keys it is. No write fails for it.
func TestRootKeyExpiryIsLearned(t *testing.T) {
	for _, c := range []struct {
		name    string
		uid     string
		prepare func(m *mount)
		known   bool
	}{
		{"the only key", "", func(*mount) {}, true},
		{"one of two", "", func(m *mount) { m.PlantKey("other", "another-key", enginetest.OwnKeyLife) }, false},
		{"one of two, by its UID", "own", func(m *mount) { m.PlantKey("other", "another-key", enginetest.OwnKeyLife) }, true},
		{"nobody may list", "own", func(m *mount) { m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 403}) }, false},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := &mount{enginetest.New(t, palettetest.AllowLiveTokens())}
			m.PlantKey("own", "the-own-key", enginetest.OwnKeyLife)
			c.prepare(m)
			require.NoError(t, m.write(m.to(func(cfg *store.Config) { cfg.APIKey, cfg.APIKeyUID = "the-own-key", c.uid })))
			want := int64(0)
			if c.known {
				want = enginetest.Epoch.Add(enginetest.OwnKeyLife).Unix()
			}
			assert.Equal(t, want, m.Stored().APIKeyExpiry)
			if c.name == "nobody may list" {
				m.Logged(config.MsgExpiryUnknown)
			}
		})
	}
}

// A key that expires before rotation_period is over is rotated at half of what is left of its life. Writes do not put that off.
func TestRotationOfARootKeyThatExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mount{enginetest.New(t)}
		m.ConfigureKey()
		expires := time.Now().Add(10 * time.Hour)
		write := func(changes ...func(*store.Config)) {
			t.Helper()
			require.NoError(t, m.write(config.Write{Change: func(old *store.Config) (*store.Config, error) {
				next := *old
				next.RotationPeriod, next.RotateFrom, next.APIKeyExpiry = 720*time.Hour, time.Now().Unix(), expires.Unix()
				for _, change := range changes {
					change(&next)
				}
				return &next, nil
			}}))
		}
		write()
		assert.Equal(t, 5*time.Hour, m.DueIn())
		time.Sleep(2 * time.Hour)
		write()
		assert.Equal(t, 3*time.Hour, m.DueIn(), "the time stays")
		write(func(c *store.Config) { c.RotationPeriod = time.Hour })
		assert.Equal(t, time.Hour, m.DueIn(), "a period that is shorter counts")
		write(func(c *store.Config) { c.RotationPeriod = 0 })
		assert.Zero(t, m.Stored().RotateBy)
		write()
		assert.Equal(t, 4*time.Hour, m.DueIn(), "half of what is left")
		time.Sleep(m.DueIn())
		m.Minute()
		assert.NotEqual(t, "own", m.Stored().APIKeyUID)
		assert.Equal(t, 720*time.Hour, m.DueIn())
		m.KeyWorks()
	})
}
