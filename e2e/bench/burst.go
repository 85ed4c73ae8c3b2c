package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-palette/e2e/bench/bare"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	mostSharedBurst = 2 * time.Second
	mostOwnBurst    = 48 * time.Second
	mostSmallBurst  = 1500 * time.Millisecond
	mostBeside      = 300 * time.Millisecond
	// atFullBuckets is how many consumers find room in full buckets.
	atFullBuckets = 45
	// besides is how many leases are revoked while logins wait, one after the other.
	besides = 5
)

// measureBurst has many consumers start at once, while Palette keeps to its limits.
func (b *bench) measureBurst(ctx context.Context) ([]Row, error) {
	w, err := b.world(ctx, b.consumers)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err = w.limit(ctx, paletteLimit); err != nil {
		return nil, err
	}
	seen, err := b.bursts(ctx, w, b.consumers, floor, wait, direct, shared, own)
	if err != nil {
		return nil, err
	}
	few := min(atFullBuckets, b.consumers)
	small, err := b.bursts(ctx, w, few, floor, wait, direct, own)
	if err != nil {
		return nil, err
	}
	beside, err := b.measureBeside(ctx, w)
	if err != nil {
		return nil, err
	}
	const full = "The same by fewer consumers, with a login for each: full buckets have room for all of them."
	rows := make([]Row, 0, 4)
	for _, r := range []struct {
		subject string
		clients int
		seen    map[string]burst
		limit   time.Duration
		means   string
	}{
		{shared, b.consumers, seen, mostSharedBurst, "Consumers without a connection yet read a role with `shared=true` at the same moment, each one time. Palette's limits count: 10 calls a second of each resource, and 50 at once. The figure is when the last one was served."},
		{own, few, small, mostSmallBurst, full},
		{own, b.consumers, seen, mostOwnBurst, fmt.Sprintf("The same by all consumers: they take %.0f s at least.", max(0, float64(b.consumers-palettetest.BurstFactor*paletteLimit)/paletteLimit))},
	} {
		row, err := burstRow(r.subject, r.clients, r.seen, r.limit, r.means)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return append(rows, beside), nil
}

// bursts has so many consumers read at once, by each subject, on full buckets.
func (b *bench) bursts(ctx context.Context, w *world, consumers int, subjects ...string) (map[string]burst, error) {
	calls := w.calls()
	seen := make(map[string]burst)
	for _, subject := range subjects {
		b.say("burst: %d clients at once, %s", consumers, subject)
		for _, pool := range w.pools {
			pool.CloseIdleConnections() // consumers that start have no connection yet
		}
		seen[subject] = atOnce(ctx, consumers, calls[subject])
		if subject != floor && subject != wait {
			// The calls of one are not to take the room of the next.
			if err := w.fullBuckets(ctx); err != nil {
				return nil, err
			}
		}
		if subject != direct { // whose errors are a figure
			b.complain(subject, seen[subject].errs...)
		}
	}
	return seen, ctx.Err()
}

func burstRow(subject string, clients int, seen map[string]burst, limit time.Duration, means string) (Row, error) {
	refused, err := refusals(seen[direct].errs)
	got := seen[subject]
	return Row{
		What:   fmt.Sprintf("%s, %d clients at once: all served", subject, clients),
		Figure: burstFigure(got), Limit: seconds(limit) + ", no error",
		Floor: burstFigure(seen[floor]), Wait: burstFigure(seen[wait]),
		Direct:  fmt.Sprintf("%d of %d refused (429)", refused, clients),
		Verdict: judge(len(got.errs) == 0 && got.elapsed <= limit), Means: means,
	}, err
}

// measureBeside revokes leases while many logins wait for their turn.
func (b *bench) measureBeside(ctx context.Context, w *world) (Row, error) {
	b.say("burst: revocations beside %d queued logins", b.queued)
	leases := make([]*api.Secret, besides)
	for i := range leases {
		secret, err := w.api.Logical().ReadWithContext(ctx, ownMount+"/creds/"+ownRole)
		if err != nil {
			return Row{}, fmt.Errorf("making a lease: %w", err)
		}
		leases[i] = secret
	}
	if err := w.fullBuckets(ctx); err != nil {
		return Row{}, err
	}
	room := palettetest.BurstFactor * paletteLimit
	before := w.palette.Calls(palettetest.Login)
	served := make(chan burst, 1)
	go func() { served <- atOnce(ctx, room+b.queued, w.calls()[own]) }()
	if _, err := until(ctx, revokePatience, func() (bool, error) { return w.palette.Calls(palettetest.Login)-before >= room-5, nil }); err != nil {
		return Row{}, err
	}
	var took []time.Duration
	for _, l := range leases {
		began := time.Now()
		if err := w.api.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: l.LeaseID, Sync: true}); err != nil {
			return Row{}, fmt.Errorf("revoking a lease: %w", err)
		}
		took = append(took, time.Since(began))
	}
	got := <-served
	b.complain("logins beside revocations", got.errs...)
	slowest := sample{took: took}.quantile(1)
	return Row{
		What:   fmt.Sprintf("a revocation beside %d queued logins", b.queued),
		Figure: fmt.Sprintf("%.2f s, the slowest of %d", slowest/1000, besides), Limit: seconds(mostBeside) + ", all logins served",
		Floor: "-", Wait: "-", Direct: "-",
		Verdict: judge(slowest/1000 <= mostBeside.Seconds() && len(got.errs) == 0),
		Means:   "So many logins more than fit into a full bucket begin at once. While they wait, leases are revoked (`sync=true`), one after the other: revocations have a bucket of their own.",
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
