package palettesecrets

import (
	"cmp"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

const (
	defaultConfigName = "default"
	minRequestTimeout = time.Second
	// maxRequestTimeout stays below the 90 seconds that Vault gives a revocation.
	maxRequestTimeout = 80 * time.Second
	minQueueTimeout   = time.Second
	maxQueueTimeout   = 5 * time.Minute
	maxRateLimit      = 10000
	maxKeyLimit       = 1000000
)

// configInput is a config that a write changes.
type configInput struct{ store.Config }

// changeConfig returns the config with the fields of a write applied; old is nil for a new config.
// Errors are Mistakes.
func changeConfig(old *store.Config, d *framework.FieldData, now time.Time) (*store.Config, error) {
	next := configInput{*store.NewConfig(transport.DefaultAddress)}
	if old != nil {
		next.Config = *old
	}
	if err := next.applyLoginType(d); err != nil {
		return nil, err
	}
	if err := next.applyText(d); err != nil {
		return nil, err
	}
	set(d, is, map[string]*bool{fieldTLSSkipVerify: &next.TLSSkipVerify})
	if err := next.applyLimits(d); err != nil {
		return nil, err
	}
	if err := next.applyRotation(d, now); err != nil {
		return nil, err
	}
	if err := config.Valid(&next.Config); err != nil {
		return nil, err
	}
	if old != nil {
		_, hasPassword := d.GetOk(fieldPassword)
		_, hasKey := d.GetOk(fieldAPIKey)
		if err := config.AskForSecret(old, &next.Config, hasPassword, hasKey); err != nil {
			return nil, err
		}
	}
	return &next.Config, nil
}

// applyLoginType takes over whose login the config holds. The fields of the other kind of login are
// cleared.
func (c *configInput) applyLoginType(d *framework.FieldData) error {
	text, given := d.GetOk(fieldLoginType)
	if !given || text == cmp.Or(c.LoginType, store.LoginUser) {
		return nil
	}
	switch c.LoginType = text.(string); c.LoginType {
	case store.LoginUser:
		c.Username = ""
	case store.LoginSystem:
		c.Email, c.Org, c.APIKey = "", "", ""
		c.forgetKey()
	default:
		return upstream.Mistakef("field %q is %q, but must be %s or %s", fieldLoginType, text, store.LoginUser, store.LoginSystem)
	}
	return nil
}

// forgetKey drops what is known of an API key that the config no longer holds.
func (c *configInput) forgetKey() {
	c.UserUID, c.APIKeyUID, c.APIKeyName, c.APIKeyExpiry = "", "", "", 0
}

// applyLimits takes over the fields that are numbers.
func (c *configInput) applyLimits(d *framework.FieldData) error {
	for _, f := range []struct {
		field    string
		into     *time.Duration
		min, max time.Duration
	}{
		{fieldRequestTimeout, &c.RequestTimeout, minRequestTimeout, maxRequestTimeout},
		{fieldQueueTimeout, &c.QueueTimeout, minQueueTimeout, maxQueueTimeout},
	} {
		value, given, err := seconds(d, f.field)
		switch {
		case err != nil:
			return err
		case given && (value < f.min || value > f.max):
			return upstream.Mistakef("field %q is %s, but must be between %s and %s", f.field, value, f.min, f.max)
		case given:
			*f.into = value
		}
	}
	if limit, ok := d.GetOk(fieldKeyLimit); ok {
		if c.KeyLimit = limit.(int); c.KeyLimit < 0 || c.KeyLimit > maxKeyLimit {
			return upstream.Mistakef("field %q is %d, but must be between 0 (not known) and %d API keys", fieldKeyLimit, c.KeyLimit, maxKeyLimit)
		}
	}
	return c.applyRate(d)
}

// applyRate takes over rate_limit and rate_burst.
func (c *configInput) applyRate(d *framework.FieldData) error {
	if limit, ok := d.GetOk(fieldRateLimit); ok {
		if c.RateLimit = limit.(int); c.RateLimit < 0 || c.RateLimit > maxRateLimit {
			return upstream.Mistakef("field %q is %d, but must be between 0 (no limit) and %d calls a second", fieldRateLimit, c.RateLimit, maxRateLimit)
		}
		if c.RateLimit == 0 {
			c.RateBurst = 0
		}
	}
	burst, ok := d.GetOk(fieldRateBurst)
	if !ok {
		return nil
	}
	switch c.RateBurst = burst.(int); {
	case c.RateBurst < 0 || c.RateBurst > transport.MaxBurst:
		return upstream.Mistakef("field %q is %d, but must be between 1 and %d calls, or 0 for five times %s", fieldRateBurst, c.RateBurst, transport.MaxBurst, fieldRateLimit)
	case c.RateBurst > 0 && c.RateLimit == 0:
		return upstream.Mistakef("field %q is %d, but without a limit (%s=0) there is no burst; leave it out, or set %s", fieldRateBurst, c.RateBurst, fieldRateLimit, fieldRateLimit)
	}
	return nil
}

// applyRotation takes over the fields about the secret's kind and its rotation.
func (c *configInput) applyRotation(d *framework.FieldData, now time.Time) error {
	_, newPassword := d.GetOk(fieldPassword)
	_, newEmail := d.GetOk(fieldEmail)
	_, newKey := d.GetOk(fieldAPIKey)
	switch {
	case newKey && c.APIKey != "" && (newPassword || newEmail):
		return upstream.Mistakef("field %q stands instead of %q and %q, and must not be given beside them", fieldAPIKey, fieldEmail, fieldPassword)
	case newKey && c.APIKey != "":
		c.Email, c.Password = "", ""
		c.forgetKey()
	case newPassword || newEmail:
		c.APIKey = ""
		c.forgetKey()
	}
	if uid, ok := d.GetOk(fieldAPIKeyUID); ok && uid.(string) != c.APIKeyUID {
		c.APIKeyUID, c.APIKeyName, c.APIKeyExpiry = uid.(string), "", 0
	}
	if policy, ok := d.GetOk(fieldPasswordPolicy); ok {
		c.PasswordPolicy = policy.(string)
	}
	period, given, err := seconds(d, fieldRotationPeriod)
	switch {
	case err != nil:
		return err
	case given && period != 0 && period < rootcred.MinRotationPeriod:
		return upstream.Mistakef("field %q is %s, but must be at least %s, or 0 for no rotation", fieldRotationPeriod, period, rootcred.MinRotationPeriod)
	case given:
		c.RotationPeriod = period
	}
	if newPassword || newKey {
		c.SecretSince = now.Unix()
	}
	if newPassword || newKey || given {
		c.RotateFrom = now.Unix()
	}
	return nil
}

// applyText takes over the fields that are text.
func (c *configInput) applyText(d *framework.FieldData) error {
	set(d, trimmed, map[string]*string{
		fieldEmail: &c.Email, fieldOrg: &c.Org, fieldUsername: &c.Username, fieldCACert: &c.CACert,
		fieldClientCert: &c.ClientCert, fieldTLSServerName: &c.TLSServerName,
	})
	// A line break at the end of a secret is of the file or the pipe that it came through.
	set(d, func(value any) palette.Secret { return palette.Secret(strings.TrimRight(value.(string), "\r\n")) }, map[string]*palette.Secret{
		fieldPassword: &c.Password, fieldAPIKey: &c.APIKey, fieldClientKey: &c.ClientKey, fieldProxyURL: &c.ProxyURL,
	})
	if text, ok := d.GetOk(fieldAddress); ok {
		address, err := transport.ParseAddress(text.(string))
		if err != nil {
			return config.FieldMistake(err)
		}
		c.Address = address
	}
	return nil
}

// shownConfig is what a read of a config shows: all but the secrets.
func shownConfig(c *store.Config) map[string]any {
	data := map[string]any{
		fieldAddress:        c.Address,
		fieldLoginType:      cmp.Or(c.LoginType, store.LoginUser),
		fieldUsername:       c.Username,
		fieldEmail:          c.Email,
		fieldOrg:            c.Org,
		"password_set":      c.Password != "",
		"api_key_set":       c.APIKey != "",
		fieldAPIKeyUID:      c.APIKeyUID,
		fieldPasswordPolicy: c.PasswordPolicy,
		fieldRotationPeriod: int64(c.RotationPeriod.Seconds()),
		fieldCACert:         c.CACert,
		fieldClientCert:     c.ClientCert,
		"client_key_set":    c.ClientKey != "",
		fieldTLSServerName:  c.TLSServerName,
		fieldTLSSkipVerify:  c.TLSSkipVerify,
		fieldProxyURL:       c.RedactedProxyURL(),
		fieldRequestTimeout: int64(c.RequestTimeout.Seconds()),
		fieldRateLimit:      c.RateLimit,
		fieldKeyLimit:       c.KeyLimit,
		fieldRateBurst:      c.Burst(),
		fieldQueueTimeout:   int64(c.QueueTimeout.Seconds()),
	}
	for field, at := range map[string]int64{"last_rotated": c.LastRotated, "api_key_expires_at": c.APIKeyExpiry} {
		if at != 0 {
			data[field] = time.Unix(at, 0).UTC().Format(time.RFC3339)
		}
	}
	return data
}
