package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// failed is a failed call; its text begins with "could not log in at Palette (palette.example.com:443)".
func failed(kind answer.Kind, verdict answer.Verdict, status int) *palette.Error {
	return &palette.Error{Op: palette.OpLogin, Host: "palette.example.com:443", Kind: kind, Verdict: verdict, Status: status, Message: "why"}
}

// held is a login that the login protection did not send.
func held() *palette.Error {
	e := failed(answer.Rejected, answer.LoginFailed, 401)
	e.NextTry = enginetest.Epoch
	return e
}

// heldBySomebody is a login that was not sent after one that somebody else had answered.
func heldBySomebody() *palette.Error {
	e := failed(answer.Foreign, answer.LoginMayHaveFailed, 401)
	e.NextTry = enginetest.Epoch
	return e
}

// ofAKey is the error of a call about an API key, where err is that of a login.
func ofAKey(err error) error {
	var e *palette.Error
	if !errors.As(err, &e) {
		return err
	}
	call := *e
	call.Op = palette.OpCreateKey
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return errors.Join(&call, end)
		}
	}
	return fmt.Errorf("x: %w", &call)
}

// Where a session's login fails in a call about an API key, the advice is that of a failed login, and not about what
// the user may do.
func TestErrorOfTheLoginBehindACallOfAKey(t *testing.T) {
	for _, err := range []error{failed(answer.Rejected, answer.LoginFailed, 401), held(), &palette.MFAError{Host: "h", Token: "a-token"}} {
		assert.Equal(t, upstream.LoginFailed("ci", password, err, "a hint"), upstream.KeyCallFailed("ci", password, err, "a hint"))
	}
}

// status is what Vault answers with: 400 for a Mistake, the code of an outermost coded error, else 500.
func status(resp *logical.Response, err error) int {
	coded, ok := err.(logical.HTTPCodedError) //nolint:errorlint // Vault looks at the outermost error only
	switch {
	case ok:
		return coded.Code()
	case resp.IsError():
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

var (
	password = &store.Config{Email: "vault@example.com", Org: "example"}
	key      = &store.Config{Org: "example", APIKey: "a-key"}
)

// What an error of Palette's means to Vault: the user's mistake is a 400 that says what to do, Palette's fault a 502
// or 503. Nothing is ever a 403, which Vault's clients take for a bad Vault token.
func TestErrorMapping(t *testing.T) {
	const logsIn, refuses, dead = "rejects the login", "refuses to create an API key", "does not accept the api_key"
	for _, c := range []struct {
		name  string
		err   error
		login int // LoginFailed's status, and a part of its text
		says  string
		call  int // KeyCallFailed's with a password
		tells string
		byKey int // KeyCallFailed's with an API key
		keys  string
	}{
		{"rejected", failed(answer.Rejected, answer.LoginFailed, 401), 400, logsIn, 400, refuses, 400, refuses},
		{"the key is dead", failed(answer.Rejected, answer.AuthDead, 401), 400, logsIn, 400, refuses, 400, dead},
		{"forbidden", failed(answer.Rejected, answer.NotDone, 403), 400, logsIn, 400, refuses, 400, refuses},
		{"missing", failed(answer.Missing, answer.NotDone, 404), 400, logsIn, 400, refuses, 400, refuses},
		{"held back", held(), 400, "not asked again before 2026-03-01T12:00:00Z", 400, refuses, 400, refuses},
		{"a second factor", &palette.MFAError{Host: "h", Token: "a-token"}, 400, "second factor", 400, "second factor", 400, "second factor"},
		{"limited", failed(answer.Limited, answer.HeldBack, 429), 503, "answered 429", 503, "429", 503, "429"},
		{"unreachable", failed(answer.Unreachable, answer.Unknown, 0), 502, "could not log in", 502, "could not", 502, "could not"},
		{"unavailable", failed(answer.Unavailable, answer.Unknown, 503), 502, "answered 503", 502, "503", 502, "503"},
		{"malformed", failed(answer.Malformed, answer.Unknown, 200), 502, "answered 200", 502, "200", 502, "200"},
		{"somebody else's", failed(answer.Foreign, answer.LoginMayHaveFailed, 401), 502, "could not log in", 502, "could not", 502, "could not"},
		{"held back after somebody else's", heldBySomebody(), 502, "not asked again before 2026-03-01T12:00:00Z", 502, "could not", 502, "could not"},
		{"wrapped", fmt.Errorf("x: %w", failed(answer.Rejected, answer.LoginFailed, 401)), 400, logsIn, 400, refuses, 400, refuses},
		{"the storage's", enginetest.ErrDisk, 500, "disk", 500, "disk", 500, "disk"},
		{"the caller has gone", errors.Join(failed(answer.Unreachable, answer.Unknown, 0), context.Canceled), 500, "canceled", 500, "canceled", 500, "canceled"},
		{"the caller has no more time", errors.Join(failed(answer.Unreachable, answer.Unknown, 0), context.DeadlineExceeded), 500, "exceeded", 500, "exceeded", 500, "exceeded"},
	} {
		for of, got := range map[string]struct {
			err    error
			status int
			says   string
		}{
			"login": {upstream.LoginFailed("ci", password, c.err, "a hint"), c.login, c.says},
			"call":  {upstream.KeyCallFailed("ci", password, ofAKey(c.err), "a hint"), c.call, c.tells},
			"byKey": {upstream.KeyCallFailed("ci", key, ofAKey(c.err), "a hint"), c.byKey, c.keys},
		} {
			t.Run(c.name+" "+of, func(t *testing.T) {
				resp, err := upstream.Answer(got.err)
				require.Equal(t, got.status, status(resp, err), got.err)
				assert.Equal(t, got.status, status(nil, upstream.Coded(got.err)), "of a renewal")
				require.ErrorContains(t, got.err, got.says)
				if got.status == http.StatusBadRequest {
					assert.ErrorContains(t, got.err, `config "ci"`)
					assert.Regexp(t, "; a hint$", got.err)
				}
				assert.NotContains(t, got.err.Error(), "a-token")
				assert.NotContains(t, got.err.Error(), "a-key")
			})
		}
	}
}

func TestErrorMistakeNeedsNoHint(t *testing.T) {
	rejected := failed(answer.Rejected, answer.AuthDead, 401)
	for _, err := range []error{
		upstream.LoginFailed("ci", password, rejected, ""), upstream.KeyCallFailed("ci", key, rejected, ""), upstream.Mistakef("field %q", "ttl"),
	} {
		assert.NotRegexp(t, "; $", err)
		resp, answered := upstream.Answer(fmt.Errorf("around: %w", err))
		require.NoError(t, answered)
		assert.Equal(t, err.Error(), resp.Error().Error())
	}
	assert.NoError(t, upstream.Fault(nil))
	assert.NoError(t, upstream.Coded(nil))
}

// A password or key that a rotation has set is known to nobody who could check it.
func TestErrorAfterARotation(t *testing.T) {
	for age, rotation := range map[time.Duration]bool{time.Minute: true, palette.TrustedFor + time.Minute: false} {
		enginetest.Bubble(t, age.String(), func(t *testing.T) {
			withPassword, withKey := *password, *key
			withPassword.SetRotated(time.Now())
			withKey.SetRotated(time.Now())
			time.Sleep(age)
			for _, err := range []error{
				upstream.LoginFailed("ci", &withPassword, failed(answer.Rejected, answer.LoginFailed, 401), ""),
				upstream.KeyCallFailed("ci", &withKey, failed(answer.Rejected, answer.AuthDead, 401), ""),
			} {
				assert.Equal(t, rotation, strings.Contains(err.Error(), "a rotation has set this"), err)
			}
		})
	}
}

// What callers decide by.
func TestErrorVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		err                          error
		rejected, gone, unauthorized bool
	}{
		"no error":     {nil, false, false, false},
		"rejected":     {failed(answer.Rejected, answer.LoginFailed, 401), true, false, false},
		"held back":    {held(), false, false, false},
		"gone":         {failed(answer.Missing, answer.Gone, 404), true, true, false},
		"dead":         {failed(answer.Rejected, answer.AuthDead, 401), true, false, true},
		"unreachable":  {failed(answer.Unreachable, answer.Unknown, 0), false, false, false},
		"the disk's":   {enginetest.ErrDisk, false, false, false},
		"somebody's":   {failed(answer.Foreign, answer.Unknown, 401), false, false, false},
		"at its limit": {failed(answer.Limited, answer.HeldBack, 429), false, false, false},
	} {
		assert.Equal(t, []bool{c.rejected, c.gone, c.unauthorized}, []bool{upstream.Rejected(c.err), upstream.Gone(c.err), upstream.Unauthorized(c.err)}, name)
	}
}
