package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-palette/e2e/bench/bare"
	"vault-plugin-secrets-palette/e2e/bench/plain"
	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	mostRevoke      = 15 * time.Second
	mostRevokeCalls = 100
	// revokePatience is how long a revocation is watched that misses its limit.
	revokePatience = time.Minute
	// issuers is how many clients make the leases that are to be revoked.
	issuers = 32
	// perCall is how many tokens one call revokes.
	perCall = 100
)

// measureRevoke revokes many leases by prefix while logins wait.
func (b *bench) measureRevoke(ctx context.Context) ([]Row, error) {
	w, err := b.world(ctx, issuers)
	if err != nil {
		return nil, err
	}
	defer w.close()
	tokens, err := b.issue(ctx, w, b.revoked, b.revoked)
	if err != nil {
		return nil, err
	}
	plainTook := make(map[string]time.Duration)
	for _, mount := range []string{floorMount, waitMount} {
		if plainTook[mount], err = w.revokePlain(ctx, mount, b.revoked); err != nil {
			return nil, err
		}
	}
	if err = w.limit(ctx, paletteLimit); err != nil {
		return nil, err
	}
	directTook, err := w.revokeDirect(ctx, tokens.direct)
	if err != nil {
		return nil, err
	}
	if err = w.fullBuckets(ctx); err != nil {
		return nil, err
	}
	got, err := w.revokeOwn(ctx, tokens.own, b.logins)
	if err != nil {
		return nil, err
	}
	b.complain("logins while leases are revoked", got.logins.errs...)
	return []Row{{
		What:   fmt.Sprintf("%s leases revoked by prefix", count(b.revoked)),
		Figure: got.figure(), Limit: fmt.Sprintf("%s, %d calls, all logins served", seconds(mostRevoke), mostRevokeCalls),
		Floor: seconds(plainTook[floorMount]), Wait: seconds(plainTook[waitMount]),
		Direct:  fmt.Sprintf("%s, %d calls", seconds(directTook), callsFor(b.revoked)),
		Verdict: judge(got.alive == 0 && got.took <= mostRevoke && got.calls <= mostRevokeCalls && len(got.logins.errs) == 0),
		Means: "The leases are made first, then Palette's limits are set (10 calls a second, 50 at once); `sync=false`. The time is until the last of the tokens was dead at the stand-in. " +
			"The calls are those that revoke, refused ones too. Logins that begin while the revocation is under way must be served. Direct: the same tokens, 100 to a call, one call after the other.",
	}}, nil
}

// issued are live tokens at the stand-in.
type issued struct {
	own, direct []string
}

// issue makes n leases of each engine, but waits of the one that waits, and n tokens
// without a lease. The stand-in answers at once meanwhile: nothing is measured yet.
func (b *bench) issue(ctx context.Context, w *world, n, waits int) (issued, error) {
	w.palette.SetLatency(0)
	defer w.palette.SetLatency(paletteLatency)
	var tokens issued
	calls := w.calls()
	for subject, n := range map[string]int{own: n, floor: n, wait: waits, direct: n} {
		b.say("making %d leases: %s", n, subject)
		before := len(w.palette.Issued())
		if _, err := times(ctx, issuers, n, calls[subject]); err != nil {
			return issued{}, fmt.Errorf("%s: %w", subject, err)
		}
		switch made := w.palette.Issued()[before:]; subject {
		case own:
			tokens.own = made
		case direct:
			tokens.direct = made
		}
	}
	return tokens, nil
}

// revokePrefix tells Vault to revoke all leases of a mount, and returns while it does.
func (w *world) revokePrefix(ctx context.Context, mount string) error {
	err := w.api.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: mount + "/creds", Prefix: true})
	if err != nil {
		return fmt.Errorf("revoking the leases of %s: %w", mount, err)
	}
	return nil
}

// revokePlain tells how long a plain engine's leases take.
func (w *world) revokePlain(ctx context.Context, mount string, n int) (time.Duration, error) {
	began := time.Now()
	if err := w.revokePrefix(ctx, mount); err != nil {
		return 0, err
	}
	ended, err := until(ctx, revokePatience, func() (bool, error) {
		secret, err := w.api.Logical().ReadWithContext(ctx, mount+"/"+plain.RevokedPath)
		if err != nil {
			return false, fmt.Errorf("counting the revoked leases of %s: %w", mount, err)
		}
		return fmt.Sprint(secret.Data[plain.RevokedField]) == fmt.Sprint(n), nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("%s has not revoked %d leases within %s", mount, n, revokePatience)
	}
	return time.Since(began), err
}

// callsFor is how many calls so many tokens take.
func callsFor(tokens int) int { return (tokens + perCall - 1) / perCall }

// revokeDirect revokes tokens as one who has nothing else to do.
func (w *world) revokeDirect(ctx context.Context, tokens []string) (time.Duration, error) {
	began := time.Now()
	for batch := range slices.Chunk(tokens, perCall) {
		for {
			err := w.direct.Revoke(ctx, batch...)
			var refused *bare.Refused
			if errors.As(err, &refused) && refused.Status == http.StatusTooManyRequests {
				err = vaulttest.Pause(ctx, refused.RetryAfter)
			} else if err == nil {
				break
			}
			if err != nil {
				return 0, fmt.Errorf("direct: %w", err)
			}
		}
	}
	return time.Since(began), nil
}

// revoking is what became of a revocation.
type revoking struct {
	took   time.Duration
	calls  int
	alive  int
	logins burst
	asked  int
}

func (r revoking) figure() string {
	text := fmt.Sprintf("%s, %d calls", seconds(r.took), r.calls)
	if r.alive > 0 {
		text = fmt.Sprintf("%s alive after %s, %d calls", count(r.alive), seconds(r.took), r.calls)
	}
	return text + fmt.Sprintf("; %d of %d logins, the last after %s", len(r.logins.took), r.asked, seconds(r.logins.elapsed))
}

// revokeOwn revokes the engine's leases, whose tokens are given, and has logins wait
// meanwhile.
func (w *world) revokeOwn(ctx context.Context, tokens []string, logins int) (revoking, error) {
	got := revoking{asked: logins}
	before := w.palette.Calls(palettetest.Revoke)
	calls := func() int { return w.palette.Calls(palettetest.Revoke) - before }
	began := time.Now()
	if err := w.revokePrefix(ctx, ownMount); err != nil {
		return got, err
	}
	// Not before: the logins would find room for them, and not wait.
	if _, err := until(ctx, revokePatience, func() (bool, error) { return calls() > 0, nil }); err != nil {
		return got, err
	}
	served := make(chan burst, 1)
	go func() { served <- atOnce(ctx, logins, w.calls()[own]) }()
	left := tokens
	_, err := until(ctx, revokePatience, func() (bool, error) {
		left = slices.DeleteFunc(left, func(token string) bool { return !w.palette.Alive(token) })
		return len(left) == 0, nil
	})
	got.took, got.alive = time.Since(began), len(left)
	got.logins = <-served
	got.calls = calls()
	return got, err
}
