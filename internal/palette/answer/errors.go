package answer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vault-plugin-secrets-palette/internal/palette/transport"
)

// Kind tells what a failed call means for the caller.
type Kind int

const (
	// Unreachable: no whole answer came: name lookup, connection, TLS, a time-out.
	Unreachable Kind = iota + 1
	// Rejected: Palette itself said no, with a 4xx that is none of the following.
	Rejected
	// Missing: Palette itself answered 404.
	Missing
	// Limited: the answer was a 429, or the engine's own queue is too long. The call may be
	// sent again after a pause.
	Limited
	// Unavailable: Palette itself answered 5xx or 408.
	Unavailable
	// Malformed: Palette's answer is of its form and of no use, such as a token that is dead on
	// arrival; or the call could not be made.
	Malformed
	// Foreign: the answer is not Palette's. Somebody in between has given it, or another server.
	Foreign
	// Skewed: the call was not made, since Palette's clock and ours are too far apart.
	Skewed
)

// Stage is how far a call came that got no answer.
type Stage int32

// The stages, in their order.
const (
	// NotSent: the call waited for its turn, or was not let go out.
	NotSent Stage = iota
	// Lookup of the host's name (or the proxy's).
	Lookup
	// Connecting to the host (or the proxy).
	Connecting
	// Tunnel: the proxy was asked for a way to the host, and gave none.
	Tunnel
	// Handshake is TLS's.
	Handshake
	// Sent: there was a connection.
	Sent
)

// Error is a failed call to Palette. Its text is safe to show and to log: it is made
// of the host, a cause in this package's own words and Palette's cleaned message. It
// does not wrap what net/http returned, whose text holds the URL and so, for a
// refresh, the token.
type Error struct {
	Kind Kind
	// Verdict is what follows for what the call was about.
	Verdict Verdict
	// Op is what was tried, as a verb: "log in".
	Op string
	// Host is the host and port that was called.
	Host string
	// Status is the HTTP status, 0 where no answer came.
	Status int
	// Code, Message and Ref are Palette's own (schema v1Error); Ref is what its support
	// asks for.
	Code, Message, Ref string
	// Cause says what went wrong where Palette did not.
	Cause string
	// Stage is how far a call of kind Unreachable came.
	Stage Stage
	// Proxy is the proxy's host and port where it is what a call of kind Unreachable failed at.
	Proxy string
	// RetryAfter is how long Palette asked to wait, 0 where it did not.
	RetryAfter time.Duration
	// NextTry is set where the call was not sent, since the same login has failed before, or may
	// have, and Palette could suspend the account: when it may be tried again. The rest of the
	// error is that earlier failure.
	NextTry time.Time
	// NextWrite is when a login with another password, by an operator, may go out where NextTry
	// is set: the zero time where it may at once. Failures is how many logins of the account
	// have failed within the lockout's window then, and Others that all had other passwords.
	NextWrite time.Time
	Failures  int
	Others    bool
	// Context is context.Canceled or context.DeadlineExceeded where the caller's context
	// ended the call.
	Context error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "could not %s at Palette (%s)", e.Op, e.Host)
	if e.Status != 0 && e.Kind != Foreign { // whose cause has it
		fmt.Fprintf(&b, ": it answered %d", e.Status)
	}
	if e.Cause != "" {
		b.WriteString(": " + e.Cause)
	}
	b.WriteString(e.PaletteSays())
	return b.String()
}

// PaletteSays returns Palette's message, code and ref as the end of a sentence, or
// nothing where there are none.
func (e *Error) PaletteSays() string {
	var parts []string
	if e.Message != "" {
		parts = append(parts, fmt.Sprintf("message %q", e.Message))
	}
	if e.Code != "" {
		parts = append(parts, fmt.Sprintf("code %q", e.Code))
	}
	if e.Ref != "" {
		parts = append(parts, fmt.Sprintf("ref %q", e.Ref))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (Palette's " + strings.Join(parts, ", ") + ")"
}

// NoTLS tells whether what listens at the port speaks no TLS.
func (e *Error) NoTLS() bool { return strings.HasSuffix(e.Cause, transport.NoTLS) }

// Unwrap lets errors.Is find the end of the caller's context, and nothing else.
func (e *Error) Unwrap() error { return e.Context }

// Refusal returns the error where Palette itself said no, nil otherwise.
func Refusal(err error) *Error {
	var e *Error
	if errors.As(err, &e) && (e.Kind == Rejected || e.Kind == Missing) {
		return e
	}
	return nil
}

// Barred returns the error where Palette itself says that a call is not for the account that has made it;
// nil otherwise. The statuses are 401, 403 and 404 (source: the status codes in the introduction of its
// API). Each of the three can say so to a token that other calls accept (an assumption, for calls that
// Palette does not document for an account).
func Barred(err error) *Error {
	says := Refusal(err)
	if says == nil || says.Status != http.StatusUnauthorized && says.Status != http.StatusForbidden && says.Kind != Missing {
		return nil
	}
	return says
}

// VerdictOf returns what follows from the outcome of a call: Done for no error, Unknown for one
// that is none of a call.
func VerdictOf(err error) Verdict {
	var e *Error
	switch {
	case err == nil:
		return Done
	case errors.As(err, &e):
		return e.Verdict
	}
	return Unknown
}

// KindOf returns the kind of a failed call, 0 for an error that is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}
