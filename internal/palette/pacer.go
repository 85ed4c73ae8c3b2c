package palette

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultRateLimit is Palette's limit for one IP address, in calls a second (its
	// documentation). All calls of a Vault come from one.
	DefaultRateLimit = 10
	// DefaultQueueTimeout is how long a call waits for its turn: less than the 60 seconds
	// that Vault's clients wait for an answer.
	DefaultQueueTimeout = 55 * time.Second
	// second is the window in which Palette counts, and a little more: calls do not take
	// equally long on their way, and eleven that were sent within 1.01 s can arrive within 1.
	second = time.Second + 25*time.Millisecond
	// urgentInRow is how many turns urgent calls may take in a row while a login waits: of
	// ten turns two are the logins'.
	urgentInRow = 4
)

// class orders the calls that wait for a turn.
type class int

const (
	// urgent calls end or keep what exists: revocations, refreshes, a password change.
	urgent class = iota
	// patient calls make something new: logins and API keys.
	patient
	classes
)

// pacer spaces the calls to one address, of all clients of the process together.
type pacer struct {
	mu sync.Mutex
	// limits are those that count here, by their holder; the lowest counts. fallback does
	// where there is none.
	limits   map[any]int
	fallback int
	// sent are the calls of the last second, the oldest first.
	sent    []*stamp
	waiting [classes][]*turn
	// urgentTurns counts the turns that urgent calls took in a row while a login waited.
	urgentTurns int
	// heldUntil is when Palette lets calls in again, after a 429.
	heldUntil time.Time
	// alarm is set for the next turn while any call waits.
	alarm *time.Timer
}

// turn is a call that waits. given gets its stamp when it may be sent.
type turn struct {
	class class
	given chan *stamp
}

// stamp is when a call was sent; nil where there is no limit.
type stamp struct{ at time.Time }

// count makes a holder's limit count, uncount no longer.
func (p *pacer) count(holder any, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if had, ok := p.limits[holder]; ok && had == limit {
		return
	}
	p.limits[holder] = limit
	p.setAlarm(time.Now())
}

func (p *pacer) uncount(holder any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.limits, holder)
	p.setAlarm(time.Now()) // without its limit the next turn may come sooner
}

// limited tells whether there is a limit.
func (p *pacer) limited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit() > 0
}

// limit is the calls a second, 0 for none. The caller holds mu.
func (p *pacer) limit() int {
	if len(p.limits) == 0 {
		return p.fallback
	}
	lowest := 0
	for _, l := range p.limits {
		if l > 0 && (lowest == 0 || l < lowest) {
			lowest = l
		}
	}
	return lowest
}

// wait returns when a call may be sent, which is at once while there is room. A call whose
// turn would come after patience is refused at once.
func (p *pacer) wait(ctx context.Context, c class, patience time.Duration, again bool) (*stamp, error) {
	t, sent, err := p.enter(c, patience, again)
	if t == nil || err != nil {
		return sent, err
	}
	expired := time.NewTimer(patience)
	defer expired.Stop()
	select {
	case sent := <-t.given:
		return sent, nil
	case <-ctx.Done():
		return nil, p.leave(t, ctx.Err())
	case <-expired.C:
		// Urgent calls that came later have gone before it.
		p.mu.Lock()
		err := p.busy(patience)
		p.mu.Unlock()
		return nil, p.leave(t, err)
	}
}

// enter takes a turn where one is free (nil, and its stamp), or gets in line.
func (p *pacer) enter(c class, patience time.Duration, again bool) (*turn, *stamp, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if len(p.waiting[urgent])+len(p.waiting[patient]) == 0 && !p.nextSlot(1, now).After(now) {
		return nil, p.take(now), nil
	}
	ahead := p.ahead(c)
	if again {
		ahead = 0
	}
	if wait := p.nextSlot(ahead+1, now).Sub(now); wait > patience {
		return nil, nil, p.busy(wait)
	}
	t := &turn{c, make(chan *stamp, 1)}
	if again { // it has waited before
		p.waiting[c] = slices.Insert(p.waiting[c], 0, t)
	} else {
		p.waiting[c] = append(p.waiting[c], t)
	}
	p.setAlarm(now)
	return t, nil, nil
}

// ahead counts the turns that will go before a call that gets in line now. The caller
// holds mu.
func (p *pacer) ahead(c class) int {
	mine, others := len(p.waiting[c]), len(p.waiting[1-c])
	if c == urgent {
		return mine + min(others, (mine+p.urgentTurns)/urgentInRow)
	}
	return mine + min(others, (mine+1)*urgentInRow)
}

// busy is the refusal of a call that would wait too long. The caller holds mu.
func (p *pacer) busy(wait time.Duration) error {
	why := fmt.Sprintf("rate_limit is %d calls a second", p.limit())
	if held := time.Until(p.heldUntil); held > 0 {
		why = fmt.Sprintf("Palette has answered 429 and asks to hold back for %s", held.Round(time.Second/10))
	}
	return &queueError{fmt.Sprintf("%s, and the turn would come after %s, later than queue_timeout", why, wait.Round(time.Second/10))}
}

// queueError is a call that was not sent, since its turn would have come too late.
type queueError struct{ text string }

func (e *queueError) Error() string { return e.text }

// nextSlot is when the k-th call from now on may be sent. The caller holds mu.
func (p *pacer) nextSlot(k int, now time.Time) time.Time {
	at := now
	if p.heldUntil.After(at) {
		at = p.heldUntil
	}
	limit := p.limit()
	if limit == 0 {
		return at
	}
	p.forget(now)
	// Calls go in rounds of limit: the first ones when the calls of the last second are a
	// second old, and each later round a second after the one before.
	round, place := (k-1)/limit, (k-1)%limit
	if i := len(p.sent) - limit + place; i >= 0 {
		if free := p.sent[i].at.Add(second); free.After(at) {
			at = free
		}
	}
	return at.Add(time.Duration(round) * second)
}

// sentNow moves a call's time to now: one that had its turn may have needed a connection
// first, or a place among the logins under way, and Palette counts from when it arrives.
func (p *pacer) sentNow(s *stamp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.sent, s)
	if s == nil || i < 0 {
		return
	}
	s.at = time.Now()
	p.sent = append(slices.Delete(p.sent, i, i+1), s) // no other is later
}

// forget drops the calls that are more than a second old. The caller holds mu.
func (p *pacer) forget(now time.Time) {
	old := 0
	for old < len(p.sent) && now.Sub(p.sent[old].at) >= second {
		old++
	}
	p.sent = slices.Delete(p.sent, 0, old)
}

// take records a call. The caller holds mu.
func (p *pacer) take(now time.Time) *stamp {
	if p.limit() == 0 {
		return nil
	}
	s := &stamp{now}
	p.sent = append(p.sent, s)
	return s
}

// leave takes a call out of the line; where its turn was given meanwhile, that is lost.
func (p *pacer) leave(t *turn, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting[t.class], t); i >= 0 {
		p.waiting[t.class] = slices.Delete(p.waiting[t.class], i, i+1)
	}
	return err
}

// holdBack keeps all calls to the address back for a while.
func (p *pacer) holdBack(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if until := now.Add(d); until.After(p.heldUntil) {
		p.heldUntil = until
	}
	p.setAlarm(now)
}

// dispatch gives the turns that are due.
func (p *pacer) dispatch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for {
		t := p.peek()
		if t == nil || p.nextSlot(1, now).After(now) {
			break
		}
		p.waiting[t.class] = p.waiting[t.class][1:]
		switch {
		case t.class == patient:
			p.urgentTurns = 0
		case len(p.waiting[patient]) > 0:
			p.urgentTurns++
		}
		t.given <- p.take(now)
	}
	p.setAlarm(now)
}

// peek is whose turn is next. The caller holds mu.
func (p *pacer) peek() *turn {
	first, second := p.waiting[urgent], p.waiting[patient]
	if len(second) > 0 && (len(first) == 0 || p.urgentTurns >= urgentInRow) {
		first = second
	}
	if len(first) == 0 {
		return nil
	}
	return first[0]
}

// setAlarm sets the alarm for the next turn. The caller holds mu.
func (p *pacer) setAlarm(now time.Time) {
	if p.alarm != nil {
		p.alarm.Stop()
		p.alarm = nil
	}
	if p.peek() != nil {
		p.alarm = time.AfterFunc(p.nextSlot(1, now).Sub(now), p.dispatch)
	}
}

// jittered is a pause that grows with each attempt (0 is the first), give or take a
// quarter, so that calls that failed together do not come back together.
func jittered(first time.Duration, attempt int) time.Duration {
	pause := first << min(attempt, 5)
	// #nosec G404 -- it spreads calls, it guards nothing.
	return pause - pause/4 + time.Duration(rand.Int64N(int64(pause/2)+1))
}
