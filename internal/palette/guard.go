package palette

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// Palette can suspend an account for 15 minutes after five failed logins (its
// documentation, for administrators), so the engine stays at four in any 15 minutes.
const (
	lockoutWindow = 15 * time.Minute
	// maxFailures is how many logins may fail within the window, maxReadFailures how many
	// of them with a password that is in use: the last one is kept for an operator who
	// writes another password.
	maxFailures     = 4
	maxReadFailures = 3
	// failureSpacing spreads the tries with a password that Palette has rejected over the
	// window.
	failureSpacing = lockoutWindow / maxReadFailures
	// provenFor is how long after a login that worked others go out side by side. Later, the
	// first one goes alone and the others wait for its outcome: 500 that start together with
	// a password that was changed at Palette meanwhile would fail 500 times.
	provenFor = 30 * time.Second
)

// account is what Palette counts failed logins by.
type account struct{ address, org, email string }

// guard keeps one account from being suspended.
type guard struct {
	clock clockwork.Clock

	mu sync.Mutex
	// failures are the times of the rejected logins within the window, the oldest first.
	failures []time.Time
	// rejection is what Palette said to the last of them, and rejected a digest of its
	// password.
	rejection *Error
	rejected  [sha256.Size]byte
	// provenUntil is the time until which logins go out side by side.
	provenUntil time.Time
	// probe is the login that goes alone now, nil for none. It is a single flight: those who
	// wait for it hold no lock.
	probe *probe
}

// probe is a login that others wait for. err is set before done is closed: a fault that is
// theirs too, nil where Palette has said yes or no.
type probe struct {
	done chan struct{}
	err  error
}

// login runs a login, if it may run: send is called at most once. patience bounds the
// wait for another one's outcome.
func (g *guard) login(ctx context.Context, login Login, patience time.Duration, send func() (Token, error)) (Token, error) {
	alone, err := g.admit(ctx, login, patience)
	if err != nil {
		return Token{}, err
	}
	// Also where send panics: the others would wait for ever.
	err = errBrokenOff
	defer func() { g.settle(login, alone, err) }()
	var token Token
	token, err = send()
	return token, err
}

// errBrokenOff is the outcome of a login that has none.
var errBrokenOff = errors.New("the login was broken off")

// admit returns when the login may go out: alone (others wait for the probe) or beside
// others (nil).
func (g *guard) admit(ctx context.Context, login Login, patience time.Duration) (*probe, error) {
	until := g.clock.Now().Add(patience)
	for {
		g.mu.Lock()
		if err := g.refusal(login); err != nil {
			g.mu.Unlock()
			return nil, err
		}
		other := g.probe
		if other == nil && !g.provenUntil.After(g.clock.Now()) {
			mine := &probe{done: make(chan struct{})}
			g.probe = mine
			g.mu.Unlock()
			return mine, nil
		}
		g.mu.Unlock()
		if other == nil {
			return nil, nil
		}
		if err := g.await(ctx, other, until); err != nil {
			return nil, err
		}
	}
}

// await returns when another login has ended, with its fault where it had one.
func (g *guard) await(ctx context.Context, other *probe, until time.Time) error {
	expired := g.clock.NewTimer(until.Sub(g.clock.Now()))
	defer expired.Stop()
	select {
	case <-other.done:
		return other.err
	case <-ctx.Done():
		return ctx.Err()
	case <-expired.Chan():
		return &queueError{"another login of the account, whose outcome this one waits for, has not ended within queue_timeout"}
	}
}

// check refuses a login that has been admitted and whose account has gone bad while it
// waited for its turn.
func (g *guard) check(login Login) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusal(login)
}

// refusal is the answer to a login that must not go out: what Palette said to the last
// one, and when the next may. The caller holds mu.
func (g *guard) refusal(login Login) error {
	now := g.clock.Now()
	for len(g.failures) > 0 && now.Sub(g.failures[0]) >= lockoutWindow {
		g.failures = g.failures[1:]
	}
	n := len(g.failures)
	if n == 0 {
		return nil
	}
	next, most := now, maxReadFailures
	if g.rejected == digest(login.Password) {
		next = g.failures[n-1].Add(failureSpacing)
	} else if login.ByOperator {
		most = maxFailures
	}
	if n >= most {
		if free := g.failures[n-most].Add(lockoutWindow); free.After(next) {
			next = free
		}
	}
	if !next.After(now) {
		return nil
	}
	again := *g.rejection
	again.NextTry = next
	return &again
}

// settle notes the outcome of a login, and lets those go on who wait for it.
func (g *guard) settle(login Login, alone *probe, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var mfa *MFAError
	switch rejection := Refusal(err); {
	case err == nil || errors.As(err, &mfa): // the password is right
		g.failures, g.rejection = nil, nil
		g.provenUntil = g.clock.Now().Add(provenFor)
	case rejection != nil && rejection.NextTry.IsZero():
		g.failures = append(g.failures, g.clock.Now())
		g.rejection, g.rejected = rejection, digest(login.Password)
		g.provenUntil = time.Time{}
	case rejection == nil && alone != nil:
		alone.err = err
	}
	if alone != nil {
		g.probe = nil
		close(alone.done)
	}
}

func digest(password Secret) [sha256.Size]byte { return sha256.Sum256([]byte(password.Reveal())) }
