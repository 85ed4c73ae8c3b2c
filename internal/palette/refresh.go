package palette

import (
	"context"
	"net/http"
	"net/url"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// Refresh calls GET /v1/auth/refresh/{token} and returns a new token of the same
// session. The old one lives on to its own end. Errors are *[Error], of the
// verdict SessionOver where the session is over.
func (c *Client) Refresh(ctx context.Context, token Secret) (Token, error) {
	const op = "refresh the token"
	a, err := c.wire.Do(ctx, exchange.Call{
		Op: op, Endpoint: "refresh", Method: http.MethodGet, Path: "/v1/auth/refresh/" + url.PathEscape(token.Reveal()), Query: withoutCookie,
		Auth: Auth{Token: token},
	})
	if err != nil {
		return Token{}, err
	}
	return c.token(op, a)
}
