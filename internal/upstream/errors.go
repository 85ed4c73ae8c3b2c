package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"
)

// Mistake is an error that the user can mend. Vault answers 400 with the text: a handler makes a
// response of it, see [Answer], and a renewal a coded error, see [Coded].
type Mistake struct{ Text string }

// Error implements error.
func (m *Mistake) Error() string { return m.Text }

// Mistakef makes a Mistake. The text names field, value and limit, or what to do.
func Mistakef(format string, args ...any) error { return &Mistake{fmt.Sprintf(format, args...)} }

// Answer makes of an error what a read or a write returns: a response for a Mistake, else the
// error.
func Answer(err error) (*logical.Response, error) {
	var mistake *Mistake
	if errors.As(err, &mistake) {
		return logical.ErrorResponse("%s", mistake.Text), nil
	}
	return nil, err
}

// Coded makes of an error what a renewal returns. Vault prints a response with an error as a Go
// struct there, and a coded error as its text (measured with Vault 1.21).
func Coded(err error) error {
	var mistake *Mistake
	if errors.As(err, &mistake) {
		return logical.CodedError(http.StatusBadRequest, mistake.Text)
	}
	return err
}

// Fault is the error for a fault of Palette's: a coded error, outermost, since Vault answers 500
// for a wrapped one. Errors that are not Palette's stay as they are.
func Fault(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // the caller has gone, so nobody reads the answer
	}
	switch answer.KindOf(err) {
	case 0:
		return err
	case answer.Limited:
		return logical.CodedError(http.StatusServiceUnavailable, err.Error())
	default:
		return logical.CodedError(http.StatusBadGateway, err.Error())
	}
}

// LoginFailed is the error of a login that did not work. hint ends a Mistake's text. The status
// is never 403, which Vault's clients take for a bad Vault token.
func LoginFailed(name string, cfg *store.Config, err error, hint string) error {
	if hint != "" {
		hint = "; " + hint
	}
	var mfa *palette.MFAError
	if errors.As(err, &mfa) {
		return Mistakef("Palette asks the account %q of config %q for a second factor, which an engine cannot give; use an account without MFA%s", cmp.Or(cfg.Email, cfg.Username), name, hint)
	}
	var says *palette.Error
	if !errors.As(err, &says) {
		return Fault(err)
	}
	withheld := ""
	if !says.NextTry.IsZero() {
		withheld = fmt.Sprintf("; not asked again before %s, so that Palette does not suspend the account", says.NextTry.UTC().Format(time.RFC3339))
	}
	switch {
	case says.Others && answer.Refusal(err) != nil:
		return Mistakef("logins of the account of config %q have failed with other passwords%s%s", name, withheld, hint)
	case answer.Refusal(err) != nil:
		return Mistakef("Palette (%s) rejects the login of config %q as %s%s; %s%s%s",
			says.Host, name, cfg.Who(), says.PaletteSays(),
			afterRotation(name, cfg, "password", "check "+cfg.LoginFields()+" and write config/"+name+" again"), withheld, hint)
	case withheld != "":
		return logical.CodedError(http.StatusBadGateway, err.Error()+withheld)
	}
	return Fault(err)
}

// afterRotation says what to do where Palette rejects a config's password or key. One that a rotation
// has set is known to nobody who could check it.
func afterRotation(name string, cfg *store.Config, secret, otherwise string) string {
	at := cfg.SetByRotation()
	if time.Since(at) >= palette.TrustedFor {
		return otherwise
	}
	return fmt.Sprintf("a rotation has set this %s at %s, and Palette may need a moment to know it everywhere; where this lasts, write config/%s with the right one",
		secret, at.UTC().Format(time.RFC3339), name)
}

// RefreshFailed is the error of a renewal whose refresh failed.
func RefreshFailed(role string, err error) error {
	if says := answer.Refusal(err); says != nil {
		return Mistakef("Palette refuses to renew the session, which is over%s; read creds/%s again", says.PaletteSays(), role)
	}
	return Fault(err)
}

// KeyCallFailed is the error of a call with a config's API key, or about an API key, that did not
// work. The login of the session that makes the call may be what failed. hint ends a Mistake's text.
func KeyCallFailed(name string, cfg *store.Config, err error, hint string) error {
	var (
		mfa   *palette.MFAError
		login *palette.Error
	)
	if errors.As(err, &mfa) || errors.As(err, &login) && login.Op == palette.OpLogin {
		return LoginFailed(name, cfg, err, hint)
	}
	if hint != "" {
		hint = "; " + hint
	}
	says := answer.Refusal(err)
	switch {
	case says == nil:
		return Fault(err)
	case cfg.APIKey != "" && Unauthorized(err):
		return Mistakef("Palette (%s) does not accept the api_key of config %q%s; %s%s", says.Host, name, says.PaletteSays(),
			afterRotation(name, cfg, "API key", "write one that is active"), hint)
	default:
		return Mistakef("Palette (%s) refuses to %s for config %q%s; check that its user may do so%s", says.Host, says.Op, name, says.PaletteSays(), hint)
	}
}

// Rejected tells whether Palette has just said no. A login that the login protection held back was
// not sent, and is not rejected.
func Rejected(err error) bool {
	says := answer.Refusal(err)
	return says != nil && says.NextTry.IsZero()
}

// Gone tells whether Palette says that a key does not exist (any more).
func Gone(err error) bool { return answer.VerdictOf(err) == answer.Gone }

// Unauthorized tells whether Palette counts the credential of a call as dead.
func Unauthorized(err error) bool { return answer.VerdictOf(err) == answer.AuthDead }
