package palette

import (
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

const (
	defaultConfigName = "default"
	minRequestTimeout = time.Second
	// maxRequestTimeout stays below the 90 seconds that Vault gives a revocation.
	maxRequestTimeout = 80 * time.Second
	minQueueTimeout   = time.Second
	maxQueueTimeout   = 5 * time.Minute
	maxRateLimit      = 10000
)

// defaultConnection is a connection of which only the address is known. Stored ones are
// decoded over it: older versions had no rate_limit, and 0 would lift Palette's.
func defaultConnection(address string) palette.Connection {
	return palette.Connection{
		Address: address, RequestTimeout: palette.DefaultRequestTimeout,
		RateLimit: palette.DefaultRateLimit, QueueTimeout: palette.DefaultQueueTimeout,
	}
}

// config is a Palette login and how to reach it. It is comparable: a write checks that
// what it changes is still what it has read.
type config struct {
	palette.Connection
	Email    string         `json:"email"`
	Org      string         `json:"org"`
	Password palette.Secret `json:"password"`
	// APIKey stands instead of Email and Password. APIKeyUID is Palette's name for it, ""
	// where that is not known, and APIKeyExpiry its end (Unix seconds), 0 where that is not.
	APIKey       palette.Secret `json:"api_key,omitempty"`
	APIKeyUID    string         `json:"api_key_uid,omitempty"`
	APIKeyExpiry int64          `json:"api_key_expiry,omitempty"`
	// PasswordPolicy names the Vault policy that makes the passwords of rotations.
	PasswordPolicy string        `json:"password_policy,omitempty"`
	RotationPeriod time.Duration `json:"rotation_period,omitempty"`
	// LastRotated is when the engine last rotated, RotateFrom what the period counts from:
	// that, or when an operator wrote the secret or the period. Unix seconds, since a
	// time.Time is not comparable.
	LastRotated int64 `json:"last_rotated,omitempty"`
	RotateFrom  int64 `json:"rotate_from,omitempty"`
	// SecretSince is when the password or key was written or rotated, 0 in older entries.
	SecretSince int64 `json:"secret_since,omitempty"`
}

// blankConfig is a config of which nothing is known.
func blankConfig() *config { return &config{Connection: defaultConnection("")} }

// sameLogin tells whether two configs log in as the same user at the same Palette.
func (c *config) sameLogin(other *config) bool {
	return c.origin() == other.origin()
}

// origin is what the config logs in as, and where.
func (c *config) origin() origin { return origin{Address: c.Address, Org: c.Org, Email: c.Email} }

func (c *config) account() account {
	return account{conn: c.Connection, org: c.Org, email: c.Email}
}

func (c *config) login() palette.Login {
	return palette.Login{Email: c.Email, Org: c.Org, Password: c.Password, SetAt: c.setAt()}
}

// setAt is when a rotation has set the config's secret; zero where an operator has.
func (c *config) setAt() time.Time {
	if c.LastRotated == 0 || c.LastRotated != c.SecretSince {
		return time.Time{}
	}
	return time.Unix(c.LastRotated, 0)
}

// rotated notes that the config's secret is new since a time.
func (c *config) rotated(at time.Time) {
	c.LastRotated, c.RotateFrom, c.SecretSince = at.Unix(), at.Unix(), at.Unix()
}

// change returns the config with the fields of a write applied; old is nil for a new
// one. The response is the user's mistake.
func (c *config) change(d *framework.FieldData, now time.Time) (*config, *logical.Response) {
	next := config{Connection: defaultConnection(palette.DefaultAddress)}
	if c != nil {
		next = *c
	}
	if resp := next.applyText(d); resp != nil {
		return nil, resp
	}
	if skip, ok := d.GetOk(fieldTLSSkipVerify); ok {
		next.TLSSkipVerify = skip.(bool)
	}
	if resp := next.applyLimits(d); resp != nil {
		return nil, resp
	}
	if resp := next.applyRotation(d, now); resp != nil {
		return nil, resp
	}
	if resp := next.check(); resp != nil {
		return nil, resp
	}
	if c != nil {
		if resp := c.asksForPassword(&next, d); resp != nil {
			return nil, resp
		}
	}
	return &next, nil
}

// applyLimits takes over the fields that are numbers.
func (c *config) applyLimits(d *framework.FieldData) *logical.Response {
	for _, f := range []struct {
		field    string
		into     *time.Duration
		min, max time.Duration
	}{
		{fieldRequestTimeout, &c.RequestTimeout, minRequestTimeout, maxRequestTimeout},
		{fieldQueueTimeout, &c.QueueTimeout, minQueueTimeout, maxQueueTimeout},
	} {
		value, given, resp := seconds(d, f.field)
		switch {
		case resp != nil:
			return resp
		case given && (value < f.min || value > f.max):
			return userError("field %q is %s, but must be between %s and %s", f.field, value, f.min, f.max)
		case given:
			*f.into = value
		}
	}
	if limit, ok := d.GetOk(fieldRateLimit); ok {
		if c.RateLimit = limit.(int); c.RateLimit < 0 || c.RateLimit > maxRateLimit {
			return userError("field %q is %d, but must be between 0 (no limit) and %d calls a second", fieldRateLimit, c.RateLimit, maxRateLimit)
		}
	}
	return nil
}

// applyRotation takes over the fields about the secret's kind and its rotation.
func (c *config) applyRotation(d *framework.FieldData, now time.Time) *logical.Response {
	_, newPassword := d.GetOk(fieldPassword)
	_, newEmail := d.GetOk(fieldEmail)
	_, newKey := d.GetOk(fieldAPIKey)
	switch {
	case newKey && c.APIKey != "" && (newPassword || newEmail):
		return userError("field %q stands instead of %q and %q, and must not be given beside them", fieldAPIKey, fieldEmail, fieldPassword)
	case newKey && c.APIKey != "":
		c.Email, c.Password, c.APIKeyUID, c.APIKeyExpiry = "", "", "", 0
	case newPassword || newEmail:
		c.APIKey, c.APIKeyUID, c.APIKeyExpiry = "", "", 0
	}
	if uid, ok := d.GetOk(fieldAPIKeyUID); ok {
		c.APIKeyUID = uid.(string)
	}
	if policy, ok := d.GetOk(fieldPasswordPolicy); ok {
		c.PasswordPolicy = policy.(string)
	}
	period, given, mistake := seconds(d, fieldRotationPeriod)
	switch {
	case mistake != nil:
		return mistake
	case given && period != 0 && period < minRotationPeriod:
		return userError("field %q is %s, but must be at least %s, or 0 for no rotation", fieldRotationPeriod, period, minRotationPeriod)
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
func (c *config) applyText(d *framework.FieldData) *logical.Response {
	for field, into := range map[string]*string{
		fieldEmail: &c.Email, fieldOrg: &c.Org, fieldCACert: &c.CACert,
		fieldClientCert: &c.ClientCert, fieldTLSServerName: &c.TLSServerName,
	} {
		if text, ok := d.GetOk(field); ok {
			*into = strings.TrimSpace(text.(string))
		}
	}
	for field, into := range map[string]*palette.Secret{
		fieldPassword: &c.Password, fieldAPIKey: &c.APIKey, fieldClientKey: &c.ClientKey, fieldProxyURL: &c.ProxyURL,
	} {
		if text, ok := d.GetOk(field); ok {
			// A line break at the end is of the file or the pipe that it came through.
			*into = palette.Secret(strings.TrimRight(text.(string), "\r\n"))
		}
	}
	if text, ok := d.GetOk(fieldAddress); ok {
		address, err := palette.ParseAddress(text.(string))
		if err != nil {
			return fieldMistake(err)
		}
		c.Address = address
	}
	return nil
}

// check looks at the config as a whole.
func (c *config) check() *logical.Response {
	switch {
	case !palette.FitsHeader(c.APIKey.Reveal()):
		return userError("field %q holds characters that no API key has", fieldAPIKey)
	case c.APIKey != "":
	case c.Email == "":
		return userError("field %q is required: the Palette user's email address (or %q instead of a login)", fieldEmail, fieldAPIKey)
	case c.Password == "":
		return userError("field %q is required and must not be empty", fieldPassword)
	}
	if err := c.Validate(); err != nil {
		return fieldMistake(err)
	}
	return nil
}

// fieldMistake tells the user of a mistake that the wire client found in a field.
func fieldMistake(err error) *logical.Response {
	var mistake *palette.FieldError
	if errors.As(err, &mistake) {
		return userError("field %q %s", mistake.Field, mistake.Problem)
	}
	return userError("%s", err.Error())
}

// asksForPassword refuses a write that would send the stored password to another host
// or under another name than the one it was given for.
func (c *config) asksForPassword(next *config, d *framework.FieldData) *logical.Response {
	secret := fieldPassword
	if next.APIKey != "" {
		secret = fieldAPIKey
	}
	if _, given := d.GetOk(secret); given {
		return nil
	}
	var changed []string
	for _, f := range []struct {
		field   string
		differs bool
	}{
		{fieldAddress, c.Address != next.Address},
		{fieldEmail, c.Email != next.Email},
		{fieldOrg, c.Org != next.Org},
		{fieldProxyURL, c.ProxyURL != next.ProxyURL},
		{fieldCACert, c.CACert != next.CACert},
		{fieldTLSServerName, c.TLSServerName != next.TLSServerName},
		{fieldTLSSkipVerify, c.TLSSkipVerify != next.TLSSkipVerify},
	} {
		if f.differs {
			changed = append(changed, f.field)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return userError("field %q must be given again when %s changes, so that the stored one goes nowhere it was not meant for",
		secret, strings.Join(changed, ", "))
}

// read returns what a read of the config shows: all but the secrets.
func (c *config) read() map[string]any {
	return map[string]any{
		fieldAddress:        c.Address,
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
		fieldQueueTimeout:   int64(c.QueueTimeout.Seconds()),
	}
}
