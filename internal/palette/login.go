package palette

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/lockout"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// Login is what a user logs in with.
type Login struct {
	Email string
	// Org may be empty where the user is in one organization only.
	Org string
	// Username is a system administrator's, who has neither Email nor Org.
	Username string
	Password Secret
	// ByOperator: somebody has just written this password. One try is kept for it where
	// others have failed.
	ByOperator bool
	// SetAt is when a rotation has set the password; zero where none has. A rejection may come of
	// a replica of Palette's that does not know it yet.
	SetAt time.Time
}

// call is the call that the login makes. That of a system administrator is in no OpenAPI document (source:
// Palette's documentation of the system console, which knows no query).
func (l Login) call() exchange.Call {
	if l.Username != "" {
		return exchange.Call{Endpoint: "system_login", Path: "/v1/auth/syslogin", Body: struct {
			Username string `json:"username"`
			Password Secret `json:"password"`
		}{l.Username, l.Password}}
	}
	return exchange.Call{Endpoint: "login", Path: "/v1/auth/authenticate", Query: withoutCookie, Body: struct {
		EmailID  string `json:"emailId"`
		Org      string `json:"org"`
		Password Secret `json:"password"`
	}{l.Email, l.Org, l.Password}}
}

// TrustedFor is how long a rejection of a password may come of a replica that lags behind, after a
// rotation has set the password.
const TrustedFor = lockout.TrustedFor

// OpLogin is what errors of a login call it.
const OpLogin = "log in"

// withoutCookie is on each call that makes a token: setCookie defaults to true.
var withoutCookie = url.Values{"setCookie": {"false"}}

// Login calls POST /v1/auth/authenticate or, for a system administrator, /v1/auth/syslogin, unless that
// could get the account suspended.
// Errors are *[Error] and *[MFAError].
func (c *Client) Login(ctx context.Context, login Login) (Token, error) {
	until := time.Now().Add(c.conn.QueueFor())
	permit, err := c.permit(ctx, login, until)
	if err != nil {
		return Token{}, err
	}
	// Also where the call panics: the others would wait for ever.
	outcome, err := lockout.Failed, errBrokenOff
	defer func() { permit.Release(outcome, err) }()
	var token Token
	token, err = c.login(ctx, login, permit, until)
	outcome = outcomeOfLogin(err)
	return token, err
}

// errBrokenOff is what those are told who waited for a login that has no outcome.
var errBrokenOff = errors.New("the login was broken off")

// permit waits until the login may go out.
func (c *Client) permit(ctx context.Context, login Login, until time.Time) (*lockout.Permit, error) {
	began := time.Now()
	permit, err := c.process.Logins(exchange.Account{Address: c.conn.Address, Org: login.Org, Email: login.Email, Username: login.Username}).Acquire(exchange.Waiting(ctx), lockout.Login{
		Password: lockout.DigestOf(login.Password.Reveal()), SetAt: login.SetAt, ByOperator: login.ByOperator,
		Unlimited: c.wire.Unlimited(), Way: c.conn,
		// Those who wait for a permit have no turn yet.
		Expect: func(ahead int) error { return c.wire.Expect(login.call().Endpoint, ahead, until) },
	}, until)
	if refused := new(lockout.Refused); !errors.As(err, &refused) {
		c.wire.Observer.Queued(time.Since(began), err == nil)
	}
	return permit, c.withheld(login, err)
}

// withheld makes the error of a login that got no permit.
func (c *Client) withheld(login Login, err error) error {
	var (
		refused *lockout.Refused
		last    *Error
		queue   *exchange.QueueError
	)
	e := c.wire.Failure(OpLogin, answer.Unreachable, "")
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && errors.As(refused.Cause, &last):
		c.wire.Observer.Withheld()
		*e = *last
		e.NextTry, e.NextWrite, e.Failures, e.Others = refused.Next, refused.NextWrite, refused.Failures, refused.Others
	case errors.As(err, &queue):
		c.wire.Observer.Waited(answer.RuleOf(login.call().Endpoint).Bucket.Resource, 0, false)
		e.Kind, e.Verdict, e.Cause = answer.Limited, answer.HeldBack, queue.Error()
	case errors.Is(err, lockout.ErrTimeout):
		e.Kind, e.Verdict = answer.Limited, answer.HeldBack
		e.Cause = "other logins of the account, whose outcome this one waits for, have not ended within queue_timeout"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Context, e.Cause = err, transport.Cause(err)
	default: // the fault of the login that this one has waited for
		return err
	}
	return e
}

// outcomeOfLogin is what the lockout protection is told of a login.
func outcomeOfLogin(err error) lockout.Outcome {
	var (
		mfa *MFAError
		e   *Error
	)
	switch {
	case err == nil || errors.As(err, &mfa): // the password is right
		return lockout.Worked
	case errors.As(err, &e) && !e.NextTry.IsZero(), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), answer.KindOf(err) == answer.Limited:
		return lockout.Abandoned
	case answer.VerdictOf(err) == answer.LoginFailed:
		return lockout.Rejected
	case answer.VerdictOf(err) == answer.LoginMayHaveFailed:
		return lockout.Uncertain
	}
	return lockout.Failed
}

func (c *Client) login(ctx context.Context, login Login, permit *lockout.Permit, until time.Time) (Token, error) {
	k := login.call()
	k.Op, k.Method, k.Secrets, k.Deadline = OpLogin, http.MethodPost, []Secret{login.Password}, until
	k.Admit = func() error { return c.withheld(login, permit.Check()) }
	a, err := c.wire.Do(ctx, k)
	if err != nil {
		return Token{}, err
	}
	return c.token(OpLogin, a)
}

// token reads the token out of the answer to a login or a refresh. Errors are *[Error] and *[MFAError].
func (c *Client) token(op string, a *answer.Reply) (Token, error) {
	offset, _ := c.wire.ClockOffset()
	return answer.ReadToken(op, c.conn.HostPort(), a, offset)
}
