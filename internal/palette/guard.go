package palette

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"
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
	// maxInFlight is how many logins of an account may be under way at a time, where there is
	// a rate limit: all of them may fail. It is enough for 10 a second, each of 0.3 seconds.
	// Without a limit the operator wants them as fast as they go.
	maxInFlight = maxReadFailures
	// rampStep is how many more may go for each login that works.
	rampStep = 2
	// provenFor is how long after a login that worked the ramp begins with maxInFlight
	// instead of one: as many may fail.
	provenFor = 30 * time.Second
)

// account is what Palette counts failed logins by.
type account struct{ address, org, email string }

// guard keeps one account from being suspended. It lets logins go out by a ramp: while none
// is under way the next one goes alone, or three side by side where one has worked lately,
// and each that works lets two more go beside the others. 500 that start together with a
// password that was changed at Palette would otherwise fail 500 times.
type guard struct {
	mu sync.Mutex
	// failures are the times of the rejected logins within the window, the oldest first.
	failures []time.Time
	// rejection is what Palette said to the last of them, and rejected a digest of its
	// password.
	rejection *Error
	rejected  [sha256.Size]byte
	// worked is a digest of the password that worked last.
	worked [sha256.Size]byte
	// inFlight counts the logins under way, and ramp how many may be. It is a single flight
	// at its beginning; those who wait hold no lock.
	inFlight, ramp int
	waiting        []*entrant
	// provenUntil is the time until which the ramp begins higher.
	provenUntil time.Time
}

// entrant is a login that waits for a place among those under way. ready gets nil with the
// place, or why there will be none.
type entrant struct {
	login   Login
	limited bool
	ready   chan error
}

// errBrokenOff is the outcome of a login that has none.
var errBrokenOff = errors.New("the login was broken off")

// login runs a login, if it may run: send is called at most once, and calls take when the
// login has its turn.
func (g *guard) login(login Login, send func(*place) (Token, error)) (Token, error) {
	g.mu.Lock()
	err := g.refusal(login)
	g.mu.Unlock()
	if err != nil {
		return Token{}, err
	}
	// Also where send panics: the others would wait for ever.
	err = errBrokenOff
	mine := &place{guard: g}
	defer func() { g.settle(login, mine, err) }()
	var token Token
	token, err = send(mine)
	return token, err
}

// place is one of the logins under way.
type place struct {
	*guard
	taken bool
}

// take returns when the login may go out, or why it may not: its account may have gone bad
// while it waited. It may be called again, for another attempt. limited: there is a rate
// limit. until bounds the wait.
func (p *place) take(ctx context.Context, login Login, limited bool, until time.Time) error {
	p.mu.Lock()
	if err := p.refusal(login); err != nil || p.taken {
		p.mu.Unlock()
		return err
	}
	if p.inFlight < p.allowed(limited) {
		p.inFlight++
		p.taken = true
		p.mu.Unlock()
		return nil
	}
	e := &entrant{login, limited, make(chan error, 1)}
	p.waiting = append(p.waiting, e)
	p.mu.Unlock()
	return p.await(ctx, e, until)
}

// await waits for an entrant's place.
func (p *place) await(ctx context.Context, e *entrant, until time.Time) error {
	expired := time.NewTimer(time.Until(until))
	defer expired.Stop()
	select {
	case err := <-e.ready:
		p.taken = err == nil
		return err
	case <-ctx.Done():
		return p.withdraw(e, ctx.Err())
	case <-expired.C:
		return p.withdraw(e, &queueError{"other logins of the account, whose outcome this one waits for, have not ended within queue_timeout"})
	}
}

// withdraw takes an entrant out of the line; a place that it was given meanwhile goes to the
// next one.
func (p *place) withdraw(e *entrant, why error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, e); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else if err := <-e.ready; err == nil {
		p.inFlight--
		p.callIn()
	}
	return why
}

// allowed is how many logins may be under way now. The caller holds mu.
func (g *guard) allowed(limited bool) int {
	switch {
	case len(g.failures) > 0:
		g.ramp = 1
	case g.inFlight == 0 && time.Now().Before(g.provenUntil):
		g.ramp = maxInFlight
	case g.inFlight == 0:
		g.ramp = 1
	}
	if limited {
		return min(g.ramp, maxInFlight)
	}
	return g.ramp
}

// callIn gives places to those who wait, as far as there are any. The caller holds mu.
func (g *guard) callIn() {
	for len(g.waiting) > 0 {
		e := g.waiting[0]
		err := g.refusal(e.login)
		if err == nil {
			// The ramp goes on where the last one has just left and others wait.
			most := g.ramp
			if e.limited {
				most = min(most, maxInFlight)
			}
			if g.inFlight >= max(most, 1) {
				return
			}
			g.inFlight++
		}
		g.waiting = g.waiting[1:]
		e.ready <- err
	}
}

// refusal is the answer to a login that must not go out: what Palette said to the last
// one, and when the next may. The caller holds mu.
func (g *guard) refusal(login Login) error {
	now := time.Now()
	for len(g.failures) > 0 && now.Sub(g.failures[0]) >= lockoutWindow {
		g.failures = g.failures[1:]
	}
	n := len(g.failures)
	if n == 0 {
		return nil
	}
	next, most := now, maxReadFailures
	switch digest(login.Password) {
	case g.rejected:
		next = g.failures[n-1].Add(failureSpacing)
	case g.worked: // what failed was something else that an operator has tried
		most = maxFailures
	default:
		if login.ByOperator {
			most = maxFailures
		}
	}
	if free := g.free(most); free.After(next) {
		next = free
	}
	if !next.After(now) {
		return nil
	}
	again := *g.rejection
	again.NextTry, again.NextWrite, again.Failures = next, g.free(maxFailures), n
	return &again
}

// free is when fewer than most logins will have failed within the window: the zero time
// where that is so already. The caller holds mu.
func (g *guard) free(most int) time.Time {
	n := len(g.failures)
	if n < most {
		return time.Time{}
	}
	return g.failures[n-most].Add(lockoutWindow)
}

// settle notes the outcome of a login, and lets others go.
func (g *guard) settle(login Login, mine *place, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !mine.taken {
		return // it was not sent
	}
	var mfa *MFAError
	switch rejection := Refusal(err); {
	case err == nil || errors.As(err, &mfa): // the password is right
		g.failures, g.rejection = nil, nil
		g.worked = digest(login.Password)
		g.ramp += rampStep
		g.provenUntil = time.Now().Add(provenFor)
	case rejection != nil && rejection.NextTry.IsZero():
		g.failures = append(g.failures, time.Now())
		g.rejection, g.rejected = rejection, digest(login.Password)
		g.ramp, g.provenUntil = 1, time.Time{}
		if g.worked == g.rejected {
			g.worked = [sha256.Size]byte{}
		}
	case g.inFlight == 1 && !errors.Is(err, context.Canceled):
		// A fault that those who waited for this one share: each would wait as long for it.
		for _, e := range g.waiting {
			e.ready <- err
		}
		g.waiting, g.ramp = nil, 1
	}
	g.inFlight--
	g.callIn()
}

func digest(password Secret) [sha256.Size]byte { return sha256.Sum256([]byte(password.Reveal())) }
