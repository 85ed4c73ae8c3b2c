package config_test

import (
	"testing"
	"time"

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

func TestConfigIsValid(t *testing.T) {
	user := func(c *store.Config) { c.Email, c.Password = "vault@example.com", "p" }
	system := func(c *store.Config) { c.LoginType, c.Username, c.Password = store.LoginSystem, "admin", "p" }
	for _, c := range []struct {
		base, change func(*store.Config)
		says         string
	}{
		{user, func(*store.Config) {}, ""},
		{system, func(*store.Config) {}, ""},
		{user, func(c *store.Config) { c.Email, c.Password, c.APIKey = "", "", "k" }, ""},
		{user, func(c *store.Config) { c.Username = "admin" }, `field "username" is "admin", but is for login_type=system`},
		{user, func(c *store.Config) { c.APIKey = "a key" }, `field "api_key" holds characters that no API key has`},
		{user, func(c *store.Config) { c.Email = "" }, `field "email" is required`},
		{user, func(c *store.Config) { c.Password = "" }, `field "password" is required`},
		{user, func(c *store.Config) { c.CACert = "x" }, `field "ca_cert" holds no certificate`},
		{system, func(c *store.Config) { c.Username = "" }, `field "username" is required with login_type=system`},
		{system, func(c *store.Config) { c.Password = "" }, `field "password" is required`},
		{system, func(c *store.Config) { c.Email = "a@example.com" }, `field "email" is "a@example.com", but must be empty`},
		{system, func(c *store.Config) { c.Org = "o" }, "is in no organization"},
		{system, func(c *store.Config) { c.APIKey = "Leaky" }, `field "api_key" is set, but`},
		{system, func(c *store.Config) { c.APIKeyUID = "u" }, config.NoSystemKeys},
		{system, func(c *store.Config) { c.PasswordPolicy = "strict" }, `field "password_policy" is "strict"`},
		{system, func(c *store.Config) { c.RotationPeriod = time.Hour }, `field "rotation_period" is 1h0m0s, but`},
	} {
		cfg := store.NewConfig("https://palette.example.com")
		c.base(cfg)
		c.change(cfg)
		err := config.Valid(cfg)
		if c.says == "" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, c.says)
		assert.NotContains(t, err.Error(), "Leaky")
	}
	assert.EqualError(t, config.FieldMistake(assert.AnError), assert.AnError.Error())
}
