package palette

import (
	"context"
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// Revoke calls POST /v1/users/auth/tokens/revoke for all of tokens, authenticated by
// auth. Errors are *[Error], of the verdict NoEndpoint where this Palette has no such endpoint,
// AuthDead where auth is dead, which says nothing of the other tokens.
func (c *Client) Revoke(ctx context.Context, auth Secret, tokens []Secret) error {
	_, err := c.wire.Do(ctx, exchange.Call{
		Op: "revoke tokens", Endpoint: "revoke", Method: http.MethodPost, Path: "/v1/users/auth/tokens/revoke", Auth: Auth{Token: auth},
		Body: struct {
			Tokens []Secret `json:"tokens"`
		}{tokens},
		Secrets: tokens,
	})
	return err
}
