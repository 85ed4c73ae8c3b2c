package config

import (
	"strings"

	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// AskForSecret refuses a write that would send the stored secret to another host, or under another name,
// than it was given for. Such a write has to bring the secret along. Another spelling of an address or an
// email is no change. hasPassword and hasKey tell what the write brings.
func AskForSecret(old, next *store.Config, hasPassword, hasKey bool) error {
	secret, has := "password", hasPassword
	if next.APIKey != "" {
		secret, has = "api_key", hasKey
	}
	if has {
		return nil
	}
	var changed []string
	for _, f := range []struct {
		field   string
		differs bool
	}{
		{"login_type", old.IsSystem() != next.IsSystem()},
		{"username", old.Username != next.Username},
		{"address", !store.SameAddress(old.Address, next.Address)},
		{"email", transport.NormalEmail(old.Email) != transport.NormalEmail(next.Email)},
		{"org", old.Org != next.Org},
		{"proxy_url", old.ProxyURL != next.ProxyURL},
		{"ca_cert", old.CACert != next.CACert},
		{"tls_server_name", old.TLSServerName != next.TLSServerName},
		{"tls_skip_verify", old.TLSSkipVerify != next.TLSSkipVerify},
	} {
		if f.differs {
			changed = append(changed, f.field)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return upstream.Mistakef("field %q must be given again when %s changes, so that the stored one goes nowhere it was not meant for",
		secret, strings.Join(changed, ", "))
}
