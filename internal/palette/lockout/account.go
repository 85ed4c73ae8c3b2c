package lockout

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrTimeout is for a login that waited for others of its account until its deadline.
var ErrTimeout = errors.New("other logins of the account have not ended in time")

// Account gives permits to the logins of one account, one after the other or side by side. The
// zero value is ready for use. mu guards it, and no call waits under it.
type Account struct {
	mu       sync.Mutex
	history  history
	inFlight int
	// waiters are the logins that wait for a permit, the first one first.
	waiters []*waiter
}

// waiter is a login that waits. ready gets nil with the permit, or why there will be none.
type waiter struct {
	login Login
	ready chan error
}

// Permit lets one login go out. It must be released.
type Permit struct {
	account *Account
	login   Login
}

// Acquire returns a permit, which it waits for until the deadline at the longest. Errors are
// *[Refused], [ErrTimeout], those of ctx and of Expect, and the fault of a login that this one has
// waited for.
func (a *Account) Acquire(ctx context.Context, l Login, deadline time.Time) (*Permit, error) {
	a.mu.Lock()
	if refused := a.history.refusal(l, time.Now()); refused != nil {
		a.mu.Unlock()
		return nil, refused
	}
	if len(a.waiters) == 0 && a.inFlight < a.history.concurrency(l) {
		a.inFlight++
		a.mu.Unlock()
		return &Permit{a, l}, nil
	}
	if l.Expect != nil {
		if err := l.Expect(len(a.waiters)); err != nil {
			a.mu.Unlock()
			return nil, err
		}
	}
	w := &waiter{l, make(chan error, 1)}
	a.waiters = append(a.waiters, w)
	a.mu.Unlock()
	if err := a.await(ctx, w, deadline); err != nil {
		return nil, err
	}
	return &Permit{a, l}, nil
}

// await waits for a waiter's permit.
func (a *Account) await(ctx context.Context, w *waiter, deadline time.Time) error {
	expired := time.NewTimer(time.Until(deadline))
	defer expired.Stop()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		return a.withdraw(w, ctx.Err())
	case <-expired.C:
		return a.withdraw(w, ErrTimeout)
	}
}

// withdraw takes a waiter out of the line; a permit that it was given meanwhile goes to the next
// one.
func (a *Account) withdraw(w *waiter, why error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.waiters, w); i >= 0 {
		a.waiters = slices.Delete(a.waiters, i, i+1)
	} else if err := <-w.ready; err == nil {
		a.inFlight--
	}
	a.grant()
	return why
}

// grant gives permits to the first waiters, as far as there are any. The caller holds mu.
func (a *Account) grant() {
	for len(a.waiters) > 0 {
		w := a.waiters[0]
		refused := a.history.refusal(w.login, time.Now())
		if refused == nil && a.inFlight >= a.history.concurrency(w.login) {
			return
		}
		a.waiters = a.waiters[1:]
		if refused != nil {
			w.ready <- refused
			continue
		}
		a.inFlight++
		w.ready <- nil
	}
}

// Check tells whether the login may still go out: others may have failed since it was given its
// permit. Errors are *[Refused].
func (p *Permit) Check() error {
	p.account.mu.Lock()
	defer p.account.mu.Unlock()
	if refused := p.account.history.refusal(p.login, time.Now()); refused != nil {
		return refused
	}
	return nil
}

// Release gives the permit back and tells what became of the login. cause is handed to logins
// that are refused because of it. A fault of a login that went alone is the answer to all that
// waited for it on the same way: each would wait as long for its own.
func (p *Permit) Release(o Outcome, cause error) {
	a := p.account
	a.mu.Lock()
	defer a.mu.Unlock()
	a.history.note(p.login, o, cause, time.Now())
	if o == Failed && a.inFlight == 1 {
		a.waiters = slices.DeleteFunc(a.waiters, func(w *waiter) bool {
			if w.login.Way != p.login.Way {
				return false
			}
			w.ready <- cause
			return true
		})
	}
	a.inFlight--
	a.grant()
}
