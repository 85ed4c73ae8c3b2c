// Package ratelimit says when a call to Palette may go out. Palette counts the calls of a source
// address by resource, each resource in a bucket of its own. A bucket fills at a steady rate: 10 calls a
// second, 50 at once (source: the introduction of its API).
//
// Promise: a call goes out when Palette's bucket has room for it, as far as the calls of this process tell.
// A call that could not go out before its deadline is refused at once. After a 429 no call of the resource
// goes out for as long as the answer asks.
//
// State: an [Address] has the limits of those who call it, and a [Bucket] for each resource, on
// golang.org/x/time/rate. One mutex an address guards both; nobody waits under it.
package ratelimit

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// firstHold is the hold after a 429 that names none; it doubles with each that follows.
	firstHold = 2 * time.Second
	// LongestHold bounds how long a bucket is held, whatever a 429 says: an answer that was wrong
	// would otherwise stop the engine for good.
	LongestHold = 5 * time.Minute
	// slower is by how much a bucket fills more slowly than it may: Palette's clock and ours run
	// at different speeds.
	slower = 1.025
	// slack is how much sooner than others a call may arrive after it was sent. The first one has a
	// connection to make, and Palette's bucket fills from its arrival on.
	slack = 250 * time.Millisecond
)

// Limit is how many calls of a resource may go out.
type Limit struct {
	// Rate is in calls a second, 0 for no limit.
	Rate int
	// Burst is how many may go at once.
	Burst int
}

// Address is one address of Palette's. mu guards it and its buckets; nobody waits under it.
type Address struct {
	mu      sync.Mutex
	limits  map[any]Limit
	limit   Limit
	buckets map[string]*Bucket
}

// NewAddress makes an address that nobody has called.
func NewAddress() *Address {
	return &Address{limits: make(map[any]Limit), buckets: make(map[string]*Bucket)}
}

// Join makes the limit of somebody who calls the address count. The lowest rate counts, and no limit
// is the highest. who must be comparable.
func (a *Address) Join(who any, l Limit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if had, ok := a.limits[who]; ok && had == l {
		return
	}
	a.limits[who] = l
	a.settle()
}

// Leave takes somebody's limit back.
func (a *Address) Leave(who any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.limits, who)
	a.settle()
}

// Limit is the one that counts.
func (a *Address) Limit() Limit {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit
}

// settle finds the limit that counts, and gives it to the buckets. Where nobody is left the last
// one stays: a bucket that is not in use need not change. The caller holds mu.
func (a *Address) settle() {
	if len(a.limits) == 0 {
		return
	}
	first := true
	for _, l := range a.limits {
		if first || less(l, a.limit) {
			a.limit = l
		}
		first = false
	}
	for _, b := range a.buckets {
		b.adjust()
	}
}

// less orders limits by their rate, and those of the same one by their burst.
func less(x, y Limit) bool {
	if x.Rate != y.Rate {
		return x.Rate != 0 && (y.Rate == 0 || x.Rate < y.Rate)
	}
	return x.Burst < y.Burst
}

// Bucket returns the bucket of a resource. It starts full.
func (a *Address) Bucket(resource string) *Bucket {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bucket(resource, nil, 1)
}

// Part returns a bucket for some of the calls of a resource. These calls may take a share of the
// resource's bucket, and leave the rest to the others.
func (a *Address) Part(resource, name string, share float64) *Bucket {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bucket(resource+"/"+name, a.bucket(resource, nil, 1), share)
}

func (a *Address) bucket(name string, whole *Bucket, share float64) *Bucket {
	b, ok := a.buckets[name]
	if !ok {
		b = &Bucket{address: a, whole: whole, share: share, again: make(chan struct{})}
		b.limiter = rate.NewLimiter(b.limit(), b.burst())
		a.buckets[name] = b
	}
	return b
}

// Bucket is what the calls of a resource are counted in.
type Bucket struct {
	address *Address
	// whole is the bucket of which this one is a share; nil for one that is whole.
	whole   *Bucket
	share   float64
	limiter *rate.Limiter
	// held is until when nobody goes after a 429, began when the hold did, and holds how many came
	// in a row.
	held, began time.Time
	holds       int
	// again is closed by the next 429: who waits reserves anew.
	again chan struct{}
}

// limit is the bucket's rate. The caller holds the address's mu, as for all that follows in lower case.
func (b *Bucket) limit() rate.Limit {
	if b.address.limit.Rate == 0 {
		return rate.Inf
	}
	return rate.Limit(float64(b.address.limit.Rate) * b.share / slower)
}

func (b *Bucket) burst() int { return max(1, int(float64(b.address.limit.Burst)*b.share)) }

// adjust takes over a limit that has changed. What is in the bucket stays, but one that had no limit
// is full.
func (b *Bucket) adjust() {
	limit, burst := b.limit(), b.burst()
	if b.limiter.Limit() == rate.Inf && limit != rate.Inf {
		b.limiter = rate.NewLimiter(limit, burst)
		return
	}
	b.limiter.SetLimit(limit)
	b.limiter.SetBurst(burst)
}

// Busy is a call that would go out too late.
type Busy struct {
	// Rate is the limit's.
	Rate int
	// Held is how long a 429 still holds the bucket, Wait how long the call would wait in all.
	Held, Wait time.Duration
}

// Error implements error.
func (b *Busy) Error() string { return "the bucket is empty for " + b.Wait.String() }

// Wait returns when a call may go out, which is at once while there is something in the bucket. One
// that could not before the deadline is refused at once. Errors are *[Busy] and those of ctx.
func (b *Bucket) Wait(ctx context.Context, deadline time.Time) error {
	for {
		reserved, err := b.reserve(deadline)
		if err != nil {
			return err
		}
		done, err := reserved.wait(ctx)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if b.whole != nil {
		return b.whole.Wait(ctx, deadline)
	}
	return nil
}

// reservation is a call's place in a bucket.
type reservation struct {
	bucket *Bucket
	taken  *rate.Reservation
	delay  time.Duration
	again  <-chan struct{}
}

// reserve takes a place for a call.
func (b *Bucket) reserve(deadline time.Time) (*reservation, error) {
	b.address.mu.Lock()
	defer b.address.mu.Unlock()
	now := time.Now()
	at := b.from(now)
	taken := b.limiter.ReserveN(at, 1)
	delay := at.Sub(now) + b.due(at, 0)
	if now.Add(delay).After(deadline) {
		taken.CancelAt(at)
		return nil, b.busy(now, delay)
	}
	return &reservation{b, taken, delay, b.again}, nil
}

// wait returns when the call may go out. Not done: a 429 came between.
func (r *reservation) wait(ctx context.Context) (done bool, err error) {
	if r.delay <= 0 {
		return true, nil
	}
	timer := time.NewTimer(r.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-r.again:
		return false, nil
	case <-ctx.Done():
		r.bucket.address.mu.Lock()
		defer r.bucket.address.mu.Unlock()
		r.taken.Cancel()
		return false, ctx.Err()
	}
}

// from is when the next call may go at the soonest.
func (b *Bucket) from(now time.Time) time.Time {
	if b.held.After(now) {
		return b.held
	}
	return now
}

// due is how long after a time there will be as many calls in the bucket as are wanted, and what the
// slack is worth.
func (b *Bucket) due(at time.Time, wanted int) time.Duration {
	limit, burst := b.limiter.Limit(), b.limiter.Burst()
	if limit == rate.Inf {
		return 0
	}
	// A bucket of one call has no room for slack.
	spare := min(slack, time.Duration(float64(burst-1)/float64(limit)*float64(time.Second)))
	missing := float64(wanted) - b.limiter.TokensAt(at)
	return max(0, spare+time.Duration(missing/float64(limit)*float64(time.Second)))
}

func (b *Bucket) busy(now time.Time, wait time.Duration) *Busy {
	return &Busy{Rate: b.address.limit.Rate, Held: max(0, b.held.Sub(now)), Wait: wait}
}

// Expect tells at once whether a call could go out before a deadline, behind so many others that will ask
// first. nil: it could. The error is a *[Busy].
func (b *Bucket) Expect(behind int, deadline time.Time) error {
	b.address.mu.Lock()
	defer b.address.mu.Unlock()
	now := time.Now()
	at := b.from(now)
	wait := at.Sub(now) + b.due(at, behind+1)
	if now.Add(wait).After(deadline) {
		return b.busy(now, wait)
	}
	return nil
}

// Limited empties the bucket and holds it after a 429. sent is when the call went out. The hold lasts as
// long as the answer asks, or else twice as long as the last one. Several 429s of calls that were under
// way together are one.
func (b *Bucket) Limited(retryAfter time.Duration, sent time.Time) {
	if b.whole != nil {
		b.whole.Limited(retryAfter, sent)
		return
	}
	b.address.mu.Lock()
	defer b.address.mu.Unlock()
	now := time.Now()
	hold := retryAfter
	if sent.After(b.began) || b.began.IsZero() {
		if hold == 0 {
			hold = Jittered(firstHold, b.holds)
		}
		b.holds++
		b.began = now
	}
	until := now.Add(min(hold, LongestHold))
	if !until.After(b.held) {
		return
	}
	b.held = until
	b.limiter = rate.NewLimiter(b.limit(), b.burst())
	b.limiter.ReserveN(until, b.burst())
	close(b.again)
	b.again = make(chan struct{})
}

// Passed notes that Palette has let a call in that was sent at a time: the next hold begins with the
// first pause.
func (b *Bucket) Passed(sent time.Time) {
	if b.whole != nil {
		b.whole.Passed(sent)
		return
	}
	b.address.mu.Lock()
	defer b.address.mu.Unlock()
	if sent.After(b.began) {
		b.holds = 0
	}
}

// Jittered is a pause that doubles with each attempt (0 is the first) up to 32 times. It varies by a
// quarter, so that calls that failed together do not come back together.
func Jittered(first time.Duration, attempt int) time.Duration {
	pause := first << min(attempt, 5)
	// #nosec G404 -- it spreads calls, it protects nothing.
	return pause - pause/4 + time.Duration(rand.Int64N(int64(pause/2)+1))
}
