package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"vault-plugin-secrets-palette/e2e/bench/bare"
)

const (
	mostSharedBurst = 2 * time.Second
	mostOwnBurst    = 55 * time.Second
)

// measureBurst has many consumers start at once, while Palette takes ten calls a second.
func (b *bench) measureBurst(ctx context.Context) ([]Row, error) {
	w, err := b.world(ctx, b.consumers)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err = w.limit(ctx, paletteLimit); err != nil {
		return nil, err
	}
	calls := w.calls()
	seen := make(map[string]burst)
	for _, subject := range []string{floor, wait, direct, shared, own} {
		b.say("burst: %d clients at once, %s", b.consumers, subject)
		for _, pool := range w.pools {
			pool.CloseIdleConnections() // consumers that start have no connection yet
		}
		seen[subject] = atOnce(ctx, b.consumers, calls[subject])
		if subject == direct || subject == shared {
			// The calls of one are not to take the room of the next.
			if err = w.freshSecond(ctx); err != nil {
				return nil, err
			}
		}
		if subject != direct { // whose errors are a figure
			b.complain(subject, seen[subject].errs...)
		}
	}
	if err = ctx.Err(); err != nil {
		return nil, err
	}
	refused, err := refusals(seen[direct].errs)
	if err != nil {
		return nil, err
	}
	row := func(subject string, limit time.Duration, means string) Row {
		got := seen[subject]
		return Row{
			What:   fmt.Sprintf("%s, %d clients at once: all served", subject, b.consumers),
			Figure: burstFigure(got), Limit: seconds(limit) + ", no error",
			Floor: burstFigure(seen[floor]), Wait: burstFigure(seen[wait]),
			Direct:  fmt.Sprintf("%d of %d refused (429)", refused, b.consumers),
			Verdict: judge(len(got.errs) == 0 && got.elapsed <= limit), Means: means,
		}
	}
	return []Row{
		row(shared, mostSharedBurst, "Consumers without a connection yet read a role with `shared=true` at the same moment, each one time, with the limit of 10 calls a second. The figure is when the last one was served."),
		row(own, mostOwnBurst, fmt.Sprintf("The same with a login for each: they take %.0f s at least.", float64(b.consumers-1)/paletteLimit)),
	}, nil
}

// burstFigure is when the last one was served, and what errors the others saw.
func burstFigure(got burst) string {
	if len(got.errs) == 0 {
		return seconds(got.elapsed)
	}
	return fmt.Sprintf("%s, %d errors", seconds(got.elapsed), len(got.errs))
}

// refusals counts the 429s. Any other error is one of the bench.
func refusals(errs []error) (int, error) {
	for _, err := range errs {
		var refused *bare.Refused
		if !errors.As(err, &refused) || refused.Status != http.StatusTooManyRequests {
			return 0, fmt.Errorf("direct: %w", err)
		}
	}
	return len(errs), nil
}
