package palette

import (
	"context"
	"net/http"
	"net/url"
)

// Refresh calls GET /v1/auth/refresh/{token} and returns a new token of the same
// session. The old one lives on to its own end. Errors are *[Error], of the
// verdict SessionOver where the session is over.
func (c *Client) Refresh(ctx context.Context, token Secret) (Token, error) {
	const op = "refresh the token"
	a, err := c.do(ctx, call{
		op: op, endpoint: "refresh", method: http.MethodGet, path: "/v1/auth/refresh/" + url.PathEscape(token.Reveal()), query: withoutCookie,
		auth: Auth{Token: token},
	})
	if err != nil {
		return Token{}, err
	}
	return c.token(op, a)
}
