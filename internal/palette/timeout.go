package palette

import (
	"context"
	"time"

	"github.com/jonboulle/clockwork"
)

// WithTimeout is context.WithTimeout by an injected clock, so that a test need not wait.
// (clockwork has one too, but the Err of its fake blocks until the context is done.) The
// context has no deadline; its cause is context.DeadlineExceeded when the time is up.
func WithTimeout(parent context.Context, clock clockwork.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	timer := clock.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		timer.Stop()
		cancel(context.Canceled)
	}
}
