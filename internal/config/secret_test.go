package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/store"
)

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
		{func(c *store.Config) { c.Org = "other" }, true, false, ""},
		{func(c *store.Config) { c.LoginType, c.Username = store.LoginSystem, "admin" }, false, false, `"password" must be given again when login_type, username changes`},
		{func(c *store.Config) { c.LoginType, c.Username = store.LoginSystem, "admin" }, true, false, ""},
		{func(c *store.Config) { c.LoginType = store.LoginUser }, false, false, ""},
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
