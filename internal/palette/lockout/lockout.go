// Package lockout says whether a login may go out, so that Palette does not suspend the account. Palette
// can do so for 15 minutes after five failed logins (source: its documentation for administrators).
// Callers tell what became of each login; the package knows no errors of the wire.
//
// Promise: no more than four logins that Palette may have counted fail within any 15 minutes, as far as
// this process knows. Three are for the password in use. The fourth is kept for an operator who writes
// another password.
//
// State: an [Account] has the history of its logins, the permits that are out, and the logins that wait.
// One mutex an account guards all three; no call waits under it.
package lockout

import (
	"crypto/sha256"
	"time"
)

const (
	// Window is how long Palette remembers a failed login.
	Window = 15 * time.Minute
	// MaxFailures is how many logins may fail within the window.
	MaxFailures = 4
	// MaxReadFailures is how many of them may be of others than an operator.
	MaxReadFailures = 3
	// Spacing spreads the tries with a password that Palette rejects over the window.
	Spacing = Window / MaxReadFailures
	// FirstUncertainPause is the pause after a login that may have failed.
	FirstUncertainPause = 5 * time.Second
	// FirstTrustedPause is the pause after a rejection of a password that is known to be right: a
	// replica of Palette's may lag behind (public reports).
	FirstTrustedPause = 15 * time.Second
	// LaterPause comes after each further one of the two.
	LaterPause = 2 * time.Minute
	// TrustedFor is how long a password is known to be right after it has worked or a rotation
	// has set it.
	TrustedFor = 24 * time.Hour
	// MaxInFlight is how many logins may go side by side under a rate limit: all of them may
	// fail. It is enough for 10 a second, each of 0.3 seconds.
	MaxInFlight = MaxReadFailures
)

// Digest stands for a password, which is not kept.
type Digest [sha256.Size]byte

// DigestOf makes one.
func DigestOf(password string) Digest { return sha256.Sum256([]byte(password)) }

// Login is one that wants to go out.
type Login struct {
	Password Digest
	// SetAt is when a rotation has set the password; zero where none has.
	SetAt time.Time
	// ByOperator: somebody has just written the password.
	ByOperator bool
	// Unlimited: any number may go side by side once the password has worked.
	Unlimited bool
	// Expect is asked whether the login may join a line of so many; nil where all may. It must not
	// wait.
	Expect func(ahead int) error
	// Way is how Palette is reached: a fault on it says nothing of other ways. It must be comparable.
	Way any
}

// Outcome is what became of a login.
type Outcome int

// The outcomes.
const (
	// Abandoned: it was not sent, or nobody waits for it any more.
	Abandoned Outcome = iota
	// Worked: the password is right.
	Worked
	// Rejected: Palette has said no.
	Rejected
	// Uncertain: somebody has said no, and Palette may have counted it.
	Uncertain
	// Failed: it met a fault that says nothing of the password.
	Failed
)

// Refused is a login that must not go out now.
type Refused struct {
	// Cause is what its caller has told of the last login that failed.
	Cause error
	// Next is when the login may go out.
	Next time.Time
	// NextWrite is when one with another password, by an operator, may: the zero time where it
	// may at once.
	NextWrite time.Time
	// Failures is how many logins have failed within the window.
	Failures int
	// Others: none of them was with the login's password.
	Others bool
}

// Error implements error.
func (r *Refused) Error() string {
	return "no login goes out before " + r.Next.UTC().Format(time.RFC3339)
}

// Unwrap is the last failure.
func (r *Refused) Unwrap() error { return r.Cause }

// failure is a login that has failed, or may have.
type failure struct {
	at        time.Time
	password  Digest
	uncertain bool
}

// history is what is known of an account's logins.
type history struct {
	// failures are those within the window, the oldest first.
	failures []failure
	// cause is what was told of the last one.
	cause error
	// worked is the password that worked last, and when.
	worked   Digest
	workedAt time.Time
	// proven: it has not been rejected since.
	proven bool
}

// note takes an outcome in.
func (h *history) note(l Login, o Outcome, cause error, now time.Time) {
	switch o {
	case Worked:
		h.failures, h.cause = nil, nil
		h.worked, h.workedAt, h.proven = l.Password, now, true
	case Rejected, Uncertain:
		h.failures = append(h.failures, failure{now, l.Password, o == Uncertain})
		h.cause = cause
		if l.Password == h.worked {
			h.proven = false
		}
	}
}

// concurrency is how many logins may be under way when one goes out.
func (h *history) concurrency(l Login) int {
	switch {
	case !h.proven || l.Password != h.worked || len(h.failures) > 0:
		return 1
	case l.Unlimited:
		return 1 << 30
	}
	return MaxInFlight
}

// refusal tells whether a login may go out; nil where it may.
func (h *history) refusal(l Login, now time.Time) *Refused {
	for len(h.failures) > 0 && now.Sub(h.failures[0].at) >= Window {
		h.failures = h.failures[1:]
	}
	if len(h.failures) == 0 {
		return nil
	}
	var last failure
	mine := 0
	for _, f := range h.failures {
		if f.password == l.Password {
			last = f
			mine++
		}
	}
	most, next := MaxReadFailures, time.Time{}
	switch {
	case mine > 0:
		next = last.at.Add(h.pause(l, last, mine, now))
	case l.ByOperator || l.Password == h.worked: // what failed was another one
		most = MaxFailures
	}
	if free := h.free(most); free.After(next) {
		next = free
	}
	if !next.After(now) {
		return nil
	}
	return &Refused{Cause: h.cause, Next: next, NextWrite: h.free(MaxFailures), Failures: len(h.failures), Others: mine == 0}
}

// pause is how long after its last failure, of so many, a password is tried again.
func (h *history) pause(l Login, last failure, failures int, now time.Time) time.Duration {
	first := Spacing
	trusted := l.Password == h.worked && now.Sub(h.workedAt) < TrustedFor || !l.SetAt.IsZero() && now.Sub(l.SetAt) < TrustedFor
	switch {
	case last.uncertain:
		first = FirstUncertainPause
	case trusted:
		first = FirstTrustedPause
	default:
		return first
	}
	if failures > 1 {
		return LaterPause
	}
	return first
}

// free is when fewer than most logins will have failed within the window: the zero time where
// that is so already.
func (h *history) free(most int) time.Time {
	n := len(h.failures)
	if n < most {
		return time.Time{}
	}
	return h.failures[n-most].at.Add(Window)
}
