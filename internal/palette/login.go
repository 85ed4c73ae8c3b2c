package palette

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Login is what a user logs in with.
type Login struct {
	Email string
	// Org may be empty where the user is in one organization only.
	Org      string
	Password Secret
	// ByOperator: somebody has just written this password. One try is kept for it where
	// others have failed.
	ByOperator bool
}

// OpLogin is what errors of a login call it.
const OpLogin = "log in"

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

// Login calls POST /v1/auth/authenticate, unless that could get the account suspended.
// Errors are *[Error] and *[MFAError].
func (c *Client) Login(ctx context.Context, login Login) (Token, error) {
	const op = OpLogin
	g := c.process.guard(account{c.conn.Address, login.Org, login.Email})
	until := time.Now().Add(c.conn.patience())
	token, err := g.login(login, func(p *place) (Token, error) { return c.login(ctx, op, login, p, until) })
	if says := Refusal(err); says != nil && !says.NextTry.IsZero() {
		c.observer.Withheld()
	}
	return token, err
}

func (c *Client) login(ctx context.Context, op string, login Login, p *place, until time.Time) (Token, error) {
	a, err := c.do(ctx, call{
		op: op, endpoint: "login", method: http.MethodPost, path: "/v1/auth/authenticate", query: withoutCookie,
		body: struct {
			EmailID  string `json:"emailId"`
			Org      string `json:"org"`
			Password Secret `json:"password"`
		}{login.Email, login.Org, login.Password},
		secrets:  []Secret{login.Password},
		class:    patient,
		deadline: until,
		admit:    func(ctx context.Context) error { return p.take(ctx, login, c.pacer.limited(), until) },
	})
	if err != nil {
		return Token{}, err
	}
	return c.token(op, a)
}
