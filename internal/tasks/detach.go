package tasks

import (
	"cmp"
	"context"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// Detach runs a call that makes something at Palette, apart from its caller's context. A call that is
// broken off may have made what nobody knows, and only its answer names that. Detach returns as soon as
// the caller has gone. A call that still waits for its turn is then not made. A call that was sent goes
// on, and late ends what it brings.
//
// Errors are the call's, ErrEnding, ErrPanic and the end of ctx.
func Detach[T any](ctx context.Context, g *Group, call func(context.Context) (T, error), late func(T)) (T, error) {
	var none T
	wait, stopWaiting := context.WithCancel(ctx)
	leaving := g.Issuing().Done()
	d := &delivery[T]{arrived: make(chan outcome[T]), kept: make(chan bool, 1), gone: make(chan struct{})}
	started := g.Start(func() {
		defer stopWaiting()
		out := outcome[T]{err: ErrPanic} // until the outcome is known
		g.Shield(func() { out.made, out.err = call(exchange.Detach(wait)) })
		if !d.hand(out) && out.err == nil {
			late(out.made)
		}
	})
	if !started {
		stopWaiting()
		return none, ErrEnding
	}
	select {
	case out := <-d.arrived:
		// Vault throws away what it returns to a caller who has gone.
		err := cmp.Or(out.err, ctx.Err())
		d.kept <- err == nil
		return out.made, err
	case <-ctx.Done():
		close(d.gone)
		stopWaiting()
		return none, ctx.Err()
	case <-leaving: // a lease of a mount whose leases have been ended would never end
		close(d.gone)
		stopWaiting()
		return none, ErrEnding
	}
}

type outcome[T any] struct {
	made T
	err  error
}

// delivery hands the outcome of a call to its caller, if the caller is still there.
type delivery[T any] struct {
	arrived chan outcome[T]
	kept    chan bool
	gone    chan struct{}
}

// hand tells whether the caller has kept the outcome.
func (d *delivery[T]) hand(out outcome[T]) bool {
	select {
	case d.arrived <- out:
		return <-d.kept
	case <-d.gone:
		return false
	}
}
