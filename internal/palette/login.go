package palette

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"vault-plugin-secrets-palette/internal/palette/lockout"
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

// TrustedFor is how long a rejection of a password may come of a replica that lags behind, after a
// rotation has set the password.
const TrustedFor = lockout.TrustedFor

// endpoint is the call that the login makes.
func (l Login) endpoint() string {
	if l.Username != "" {
		return "system_login"
	}
	return "login"
}

// OpLogin is what errors of a login call it.
const OpLogin = "log in"

// MFAError says that Palette wants a second factor of the account: its token is of no use (an
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

// Login calls POST /v1/auth/authenticate or, for a system administrator, /v1/auth/syslogin, unless that could get the account suspended.
// Errors are *[Error] and *[MFAError].
func (c *Client) Login(ctx context.Context, login Login) (Token, error) {
	until := time.Now().Add(c.conn.queueTimeout())
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
	turns := c.bucketOf(login.endpoint())
	permit, err := c.process.account(account{c.conn.Address, login.Org, login.Email, login.Username}).Acquire(waiting(ctx), lockout.Login{
		Password: lockout.DigestOf(login.Password.Reveal()), SetAt: login.SetAt, ByOperator: login.ByOperator,
		Unlimited: c.limits.Limit().Rate == 0, Way: c.conn,
		// Those who wait for a permit have no turn yet.
		Expect: func(ahead int) error { return busy(turns.Expect(ahead, until)) },
	}, until)
	if refused := new(lockout.Refused); !errors.As(err, &refused) {
		c.observer.Queued(time.Since(began), err == nil)
	}
	return permit, c.withheld(login, err)
}

// withheld makes the error of a login that got no permit.
func (c *Client) withheld(login Login, err error) error {
	var (
		refused *lockout.Refused
		last    *Error
		queue   *queueError
	)
	e := c.failure(OpLogin, Unreachable, "")
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && errors.As(refused.Cause, &last):
		c.observer.Withheld()
		*e = *last
		e.NextTry, e.NextWrite, e.Failures = refused.Next, refused.NextWrite, refused.Failures
	case errors.As(err, &queue):
		c.observer.Waited(rules[login.endpoint()].bucket.resource, 0, false)
		e.Kind, e.Verdict, e.Cause = Limited, HeldBack, queue.Error()
	case errors.Is(err, lockout.ErrTimeout):
		e.Kind, e.Verdict = Limited, HeldBack
		e.Cause = "other logins of the account, whose outcome this one waits for, have not ended within queue_timeout"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.ctxErr, e.Cause = err, cause(err)
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
	case errors.As(err, &e) && !e.NextTry.IsZero(), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), KindOf(err) == Limited:
		return lockout.Abandoned
	case VerdictOf(err) == LoginFailed:
		return lockout.Rejected
	case VerdictOf(err) == LoginMayHaveFailed:
		return lockout.Uncertain
	}
	return lockout.Failed
}

func (c *Client) login(ctx context.Context, login Login, permit *lockout.Permit, until time.Time) (Token, error) {
	k := call{
		op: OpLogin, endpoint: login.endpoint(), method: http.MethodPost, path: "/v1/auth/authenticate", query: withoutCookie,
		body: struct {
			EmailID  string `json:"emailId"`
			Org      string `json:"org"`
			Password Secret `json:"password"`
		}{login.Email, login.Org, login.Password},
		secrets:  []Secret{login.Password},
		deadline: until,
		admit:    func() error { return c.withheld(login, permit.Check()) },
	}
	if login.Username != "" { // source: Palette's documentation of the system console, which knows no query
		k.path, k.query = "/v1/auth/syslogin", nil
		k.body = struct {
			Username string `json:"username"`
			Password Secret `json:"password"`
		}{login.Username, login.Password}
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return Token{}, err
	}
	return c.token(OpLogin, a)
}
