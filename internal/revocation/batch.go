package revocation

import (
	"context"
	"sync"

	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
)

// MaxBatch is how many tokens go into one call. Palette's document names no limit (an
// assumption).
const MaxBatch = 100

// request is the tokens of one lease on their way to their end.
type request struct {
	tokens []store.Token
	err    error
	// done is closed when err is final; nil where nobody waits.
	done chan struct{}
}

// batches gathers the requests of an account that arrive while a call is under way, for the next
// call. A single request goes out at once.
type batches struct {
	mu sync.Mutex
	// waiting holds an account while its calls are under way, with the requests that wait.
	waiting map[Account][]*request
}

// Revoke ends tokens, perhaps in one call with others. Revoke returns when they are ended, or
// when the caller has gone; the call goes on then.
func (m *Manager) Revoke(ctx context.Context, a Account, tokens []store.Token) error {
	r := &request{tokens: tokens, done: make(chan struct{})}
	if !m.join(a, r) {
		return tasks.ErrEnding
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds a request, and starts the account's calls where none is under way. False: the mount
// is ending.
func (m *Manager) join(a Account, r *request) bool {
	b := &m.batches
	b.mu.Lock()
	defer b.mu.Unlock()
	if waiting, working := b.waiting[a]; working {
		b.waiting[a] = append(waiting, r)
		return true
	}
	if !m.Tasks.StartFollowUp(func() { m.send(a) }) {
		return false
	}
	if b.waiting == nil {
		b.waiting = make(map[Account][]*request)
	}
	b.waiting[a] = []*request{r}
	return true
}

// send sends the account's requests, batch by batch, until none waits.
func (m *Manager) send(a Account) {
	for batch := m.batches.next(a); len(batch) > 0; batch = m.batches.next(a) {
		for _, r := range batch {
			r.err = tasks.ErrPanic // until the outcome is known
		}
		m.Tasks.Shield(func() { m.endAll(context.Background(), a, batch) })
		for _, r := range batch {
			close(r.done)
		}
	}
}

// next takes the next requests of an account, up to MaxBatch tokens. No request ends the
// account's calls.
func (b *batches) next(a Account) []*request {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := b.waiting[a]
	if len(waiting) == 0 {
		delete(b.waiting, a)
		return nil
	}
	n := fitting(waiting)
	b.waiting[a] = waiting[n:]
	return waiting[:n]
}

// fitting is how many of the first requests fit into one call.
func fitting(waiting []*request) int {
	tokens, n := 0, 0
	for n < len(waiting) && (n == 0 || tokens+len(waiting[n].tokens) <= MaxBatch) {
		tokens += len(waiting[n].tokens)
		n++
	}
	return n
}
