package check

import (
	"context"
	"fmt"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
)

// Values of the check's answer about the calls that Palette does not document for a system administrator.
const (
	CallAvailable = "available"
	CallRefused   = "refused"
	CallFailed    = "failed"
)

// barred notes that Palette does not let the config's system administrator make a call, and what the engine
// does instead.
func (c *check) barred(field string, err error, instead string) bool {
	if !c.cfg.IsSystem() {
		return false
	}
	says := answer.Barred(err)
	if says != nil {
		c.found[field] = CallRefused
		c.warnings = append(c.warnings, fmt.Sprintf("Palette does not let the %s %s (status %d%s): %s", c.cfg.Who(), says.Op, says.Status, says.PaletteSays(), instead))
	}
	return says != nil
}

// tryRefresh notes whether Palette refreshes a system administrator's token, and returns the token that it
// gets and those before.
func (c *check) tryRefresh(ctx context.Context, token palette.Token) []palette.Token {
	tokens := []palette.Token{token}
	if !c.cfg.IsSystem() || c.found["ok"] == false {
		return tokens
	}
	c.found["password_reset"] = token.PasswordReset
	client, err := c.Clients.For(c.cfg.Connection)
	if err == nil {
		token, err = c.Credentials.Detach(ctx, c.storage, c.cfg, func(ctx context.Context) (palette.Token, error) {
			return client.Refresh(ctx, token.Raw)
		})
	}
	switch {
	case err == nil:
		c.found["refresh"] = CallAvailable
		return append(tokens, token)
	case !c.barred("refresh", err, "a renewal logs in anew"):
		c.found["refresh"] = CallFailed
		c.warnings = append(c.warnings, "whether Palette refreshes the system administrator's tokens is not known: "+err.Error())
	}
	return tokens
}
