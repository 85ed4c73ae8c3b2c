package palette

import (
	"context"
	"net/http"
	"net/url"
)

// Login is what a user logs in with.
type Login struct {
	Email string
	// Org may be empty where the user is in one organization only.
	Org      string
	Password Secret
}

// MFAError says that the account owes a second factor: its token is of no use (an
// assumption; the document only says that isMfa "indicates the authentication flow
// using MFA"). Token is what came along, perhaps empty, so that it can be revoked.
type MFAError struct {
	Host  string
	Token Secret
}

// Error implements error.
func (e *MFAError) Error() string {
	return "Palette (" + e.Host + ") asks the account for a second factor"
}

// withoutCookie is on each call that makes a token: setCookie defaults to true.
var withoutCookie = url.Values{"setCookie": {"false"}}

// Login calls POST /v1/auth/authenticate. Errors are *[Error] and *[MFAError].
func (c *Client) Login(ctx context.Context, login Login) (Token, error) {
	const op = "log in"
	a, err := c.do(ctx, call{
		op: op, method: http.MethodPost, path: "/v1/auth/authenticate", query: withoutCookie,
		body: struct {
			EmailID  string `json:"emailId"`
			Org      string `json:"org"`
			Password Secret `json:"password"`
		}{login.Email, login.Org, login.Password},
		secrets: []Secret{login.Password},
	})
	if err != nil {
		return Token{}, err
	}
	return c.token(op, a)
}
