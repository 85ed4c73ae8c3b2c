package config_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

const name = "default"

// named is a config with another server name, as a write of its trust makes it.
func named(old *store.Config) (*store.Config, error) {
	next := *old
	next.TLSServerName = "palette.example.com"
	return &next, nil
}

// A way is stored where the secret works on it, and only there.
func TestTrustStoresAWayThatWorks(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(*enginetest.Engine)
		fails   string
	}{
		"it works": {func(*enginetest.Engine) {}, ""},
		"Palette rejects the password": {func(e *enginetest.Engine) {
			e.Palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
		}, "nothing is stored"},
		"Palette is away": {func(e *enginetest.Engine) { e.Palette.Down(true) }, "could not log in"},
		"somebody else answers": {func(e *enginetest.Engine) {
			e.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 401, Foreign: true, Body: "<html>"})
		}, "not Palette's answer"},
		"a second factor":               {func(e *enginetest.Engine) { e.Palette.Inject(palettetest.Login, palettetest.Fault{MFA: true}) }, "second factor"},
		"the storage cannot be written": {func(e *enginetest.Engine) { e.Storage.FailOn("put", store.ConfigPrefix) }, "disk"},
		"the log cannot be listed":      {func(e *enginetest.Engine) { e.Restart(); e.Storage.FailOn("list", framework.WALPrefix) }, "disk"},
		"there is no config":            {func(e *enginetest.Engine) { require.NoError(e.T, e.Configs.Delete(e.T.Context(), e.Storage, name)) }, "there is no config"},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			e := enginetest.New(t, palettetest.AllowLiveTokens())
			e.Configure()
			c.prepare(e)
			err := e.Writer.Trust(t.Context(), e.Storage, name, named)
			e.Storage.Heal()
			cfg, read := e.Configs.Get(t.Context(), e.Storage, name)
			require.NoError(t, read)
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				assert.True(t, cfg == nil || cfg.TLSServerName == "")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "palette.example.com", cfg.TLSServerName)
		})
	}
}

// What was written on the old way goes the new one: the password of an interrupted rotation, and pending
// revocations.
func TestTrustIsFollowed(t *testing.T) {
	enginetest.Bubble(t, "", func(t *testing.T) {
		e := enginetest.New(t, palettetest.AllowLiveTokens())
		old := *e.Configure()
		e.Storage.FailOn("put", store.ConfigPrefix)
		require.Error(t, e.Credentials.Rotate(t.Context(), e.Storage, name))
		e.Storage.Heal()
		e.Restart()
		require.NoError(t, e.Writer.Trust(t.Context(), e.Storage, name, named))
		cfg, err := e.Configs.Get(t.Context(), e.Storage, name)
		require.NoError(t, err)
		assert.NotEqual(t, old.TrustDigest(), cfg.TrustDigest())
		time.Sleep(time.Minute)
		require.NoError(t, e.Credentials.EachMinute(t.Context(), e.Storage))
		require.NoError(t, e.Tasks.Wait(t.Context()))
		cfg, err = e.Configs.Get(t.Context(), e.Storage, name)
		require.NoError(t, err)
		assert.Equal(t, e.Palette.Passwords()[1], cfg.Password.Reveal(), "the new one is stored")
		assert.Empty(t, e.Storage.Keys(framework.WALPrefix))
	})
}

func TestAskForSecret(t *testing.T) {
	base := store.NewConfig("https://palette.example.com")
	base.Email, base.Org, base.Password = "vault@example.com", "org", "p"
	for _, c := range []struct {
		change              func(*store.Config)
		hasPassword, hasKey bool
		asks                string
	}{
		{func(*store.Config) {}, false, false, ""},
		{func(c *store.Config) { c.RateLimit = 3 }, false, false, ""},
		{func(c *store.Config) { c.Email = "VAULT@example.com" }, false, false, ""},
		{func(c *store.Config) { c.Address = "https://palette.example.com:443" }, false, false, ""},
		{func(c *store.Config) { c.Address = "https://palette.example.com:8443" }, false, false, `"password" must be given again when address changes`},
		{func(c *store.Config) { c.Address = "https://palette.example.com:8443" }, true, false, ""},
		{func(c *store.Config) { c.Org, c.CACert = "other", "x" }, false, true, `"password" must be given again when org, ca_cert changes`},
		{func(c *store.Config) { c.APIKey, c.ProxyURL = "k", "http://127.0.0.1" }, true, false, `"api_key" must be given again when proxy_url changes`},
		{func(c *store.Config) { c.APIKey, c.ProxyURL = "k", "http://127.0.0.1" }, false, true, ""},
	} {
		next := *base
		c.change(&next)
		err := config.AskForSecret(base, &next, c.hasPassword, c.hasKey)
		if c.asks == "" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, c.asks)
	}
}
