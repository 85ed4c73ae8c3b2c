package palette

import (
	"context"
	"net/http"
)

// Revoke calls POST /v1/users/auth/tokens/revoke for all of tokens, authenticated by
// auth. Errors are *[Error], of the verdict NoEndpoint where this Palette has no such endpoint,
// AuthDead where auth is dead, which says nothing of the other tokens.
func (c *Client) Revoke(ctx context.Context, auth Secret, tokens []Secret) error {
	_, err := c.do(ctx, call{
		op: "revoke tokens", endpoint: "revoke", method: http.MethodPost, path: "/v1/users/auth/tokens/revoke", auth: Auth{Token: auth},
		body: struct {
			Tokens []Secret `json:"tokens"`
		}{tokens},
		secrets: tokens,
	})
	return err
}
