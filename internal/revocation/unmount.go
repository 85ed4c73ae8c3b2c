package revocation

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// flush retries the pending revocations while a mount ends. Leases come one at a time then, and a
// call for each would take longer than anybody waits.
type flush struct {
	mu sync.Mutex
	// running: a run is under way. more: a revocation became pending since the run began.
	running, more bool
}

// Flush retries the pending revocations in a background task, in a single flight. What becomes
// pending meanwhile is taken by the next round.
func (m *Manager) Flush(s logical.Storage) {
	f := &m.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	f.more = true
	if f.running {
		return
	}
	f.running = m.Tasks.StartFollowUp(func() {
		for f.next() {
			if err := m.Retry(context.Background(), s); err != nil {
				m.Logger().Warn(MsgRetryFailed, "error", err)
			}
		}
	})
}

// next tells whether there is another round.
func (f *flush) next() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running, f.more = f.more, false
	return f.running
}

// LimitedPause is how long the end of a mount waits where the rate limit holds a run back.
const LimitedPause = 250 * time.Millisecond

// Clean ends what a removed mount still has to revoke, as far as ctx allows.
func (m *Manager) Clean(ctx context.Context, s logical.Storage, removed bool) {
	if removed {
		m.retryUntil(ctx, s)
	}
}

// retryUntil retries the pending revocations as long as the rate limit alone stands in the way,
// until ctx ends.
func (m *Manager) retryUntil(ctx context.Context, s logical.Storage) {
	for {
		m.limited.Store(false)
		if err := m.Retry(ctx, s); err != nil {
			m.Logger().Warn(MsgRetryFailed, "error", err)
		}
		if !m.limited.Load() {
			return
		}
		pause := time.NewTimer(LimitedPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// Report is the last part of a mount's end: it logs what a removed mount leaves alive at Palette.
type Report struct{ *Manager }

// Clean logs what is left.
func (r Report) Clean(ctx context.Context, s logical.Storage, removed bool) {
	if !removed {
		return
	}
	found, err := r.loadAll(context.WithoutCancel(ctx), s)
	if err != nil {
		r.Logger().Warn("not all pending revocations are known", "error", err)
	}
	tokens := 0
	for _, entries := range found.tokens {
		for _, e := range entries {
			tokens += len(e.tokens)
		}
	}
	if tokens+len(found.keys) > 0 {
		r.Logger().Warn(MsgUnmountLeaves, "tokens", tokens, "api_keys", len(found.keys))
	}
}
