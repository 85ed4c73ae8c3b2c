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

// defaultConnection is a connection of which only the address is known.
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
}

// sameLogin tells whether two configs log in as the same user at the same Palette.
func (c *config) sameLogin(other *config) bool {
	return c.Address == other.Address && c.Org == other.Org && c.Email == other.Email
}

func (c *config) account() account {
	return account{conn: c.Connection, org: c.Org, email: c.Email}
}

func (c *config) login() palette.Login {
	return palette.Login{Email: c.Email, Org: c.Org, Password: c.Password}
}

// change returns the config with the fields of a write applied; old is nil for a new
// one. The response is the user's mistake.
func (c *config) change(d *framework.FieldData) (*config, *logical.Response) {
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
		fieldPassword: &c.Password, fieldClientKey: &c.ClientKey, fieldProxyURL: &c.ProxyURL,
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
	case c.Email == "":
		return userError("field %q is required: the Palette user's email address", fieldEmail)
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
	if _, given := d.GetOk(fieldPassword); given {
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
	return userError("field %q must be given again when %s changes, so that the stored password goes nowhere it was not meant for",
		fieldPassword, strings.Join(changed, ", "))
}

// read returns what a read of the config shows: all but the secrets.
func (c *config) read() map[string]any {
	return map[string]any{
		fieldAddress:        c.Address,
		fieldEmail:          c.Email,
		fieldOrg:            c.Org,
		"password_set":      c.Password != "",
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
