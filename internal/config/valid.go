package config

import (
	"errors"
	"strconv"

	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Valid looks at a config as a whole. The error is a Mistake.
func Valid(c *store.Config) error {
	if c.IsSystem() {
		if err := validSystem(c); err != nil {
			return err
		}
	}
	switch {
	case !c.IsSystem() && c.Username != "":
		return upstream.Mistakef("field %q is %q, but is for %s=%s; a user logs in with %q", "username", c.Username, "login_type", store.LoginSystem, "email")
	case !transport.FitsHeader(c.APIKey.Reveal()):
		return upstream.Mistakef("field %q holds characters that no API key has", "api_key")
	case c.APIKey != "":
	case !c.IsSystem() && c.Email == "":
		return upstream.Mistakef("field %q is required: the Palette user's email address (or %q instead of a login)", "email", "api_key")
	case c.Password == "":
		return upstream.Mistakef("field %q is required and must not be empty", "password")
	}
	if err := c.Validate(); err != nil {
		return FieldMistake(err)
	}
	return nil
}

// NoSystemKeys says why a system administrator's config has nothing to do with API keys.
const NoSystemKeys = "Palette documents no API keys of system administrators"

// validSystem looks at the fields that a system administrator's config has none of.
func validSystem(c *store.Config) error {
	if c.Username == "" {
		return upstream.Mistakef("field %q is required with %s=%s: the name that the system administrator logs in with", "username", "login_type", store.LoginSystem)
	}
	const noRotations = "Palette documents no call that changes a system administrator's password"
	for _, f := range []struct {
		field string
		given bool
		value any
		right string
		why   string
	}{
		{"email", c.Email != "", strconv.Quote(c.Email), "empty", "a system administrator logs in with username"},
		{"org", c.Org != "", strconv.Quote(c.Org), "empty", "a system administrator is in no organization"},
		{"api_key", c.APIKey != "", "set", "empty", NoSystemKeys},
		{"api_key_uid", c.APIKeyUID != "", strconv.Quote(c.APIKeyUID), "empty", NoSystemKeys},
		{"password_policy", c.PasswordPolicy != "", strconv.Quote(c.PasswordPolicy), "empty", noRotations},
		{"rotation_period", c.RotationPeriod != 0, c.RotationPeriod, "0", noRotations},
	} {
		if f.given {
			return upstream.Mistakef("field %q is %s, but must be %s with %s=%s: %s", f.field, f.value, f.right, "login_type", store.LoginSystem, f.why)
		}
	}
	return nil
}

// FieldMistake tells the user of a mistake that the wire client found in a field.
func FieldMistake(err error) error {
	var mistake *transport.FieldError
	if errors.As(err, &mistake) {
		return upstream.Mistakef("field %q %s", mistake.Field, mistake.Problem)
	}
	return upstream.Mistakef("%s", err.Error())
}
