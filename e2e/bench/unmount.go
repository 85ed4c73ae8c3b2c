package bench

import (
	"context"
	"fmt"
	"time"
)

const (
	mostUnmount = 30 * time.Second
	// waitShare of the leases are made of the engine that waits: each of them takes its
	// 20 ms, and all of them longer than Vault's client waits.
	waitShare = 5
)

// measureUnmount unmounts the engine with many leases alive.
func (b *bench) measureUnmount(ctx context.Context) ([]Row, error) {
	w, err := b.world(ctx, issuers)
	if err != nil {
		return nil, err
	}
	defer w.close()
	tokens, err := b.issue(ctx, w, b.unmounted, b.unmounted/waitShare)
	if err != nil {
		return nil, err
	}
	plainTook := make(map[string]time.Duration)
	for _, mount := range []string{floorMount, waitMount} {
		b.say("unmounting %s", mount)
		began := time.Now()
		if err = w.api.Sys().UnmountWithContext(ctx, mount); err != nil {
			return nil, fmt.Errorf("unmounting %s: %w", mount, err)
		}
		plainTook[mount] = time.Since(began)
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
	began := time.Now()
	failed := w.api.Sys().UnmountWithContext(ctx, ownMount)
	took := time.Since(began)
	if err = ctx.Err(); err != nil {
		return nil, err
	}
	alive := len(w.palette.LiveTokens())
	figure := fmt.Sprintf("%s, %d tokens alive", seconds(took), alive)
	if failed != nil {
		figure += ", failed"
		b.complain("unmount", failed)
	}
	return []Row{{
		What:   fmt.Sprintf("unmount with %s leases", count(b.unmounted)),
		Figure: figure, Limit: seconds(mostUnmount) + ", none alive",
		Floor:   seconds(plainTook[floorMount]),
		Wait:    fmt.Sprintf("%s for %s", seconds(plainTook[waitMount]), count(b.unmounted/waitShare)),
		Direct:  fmt.Sprintf("%s, %d calls", seconds(directTook), callsFor(b.unmounted)),
		Verdict: judge(failed == nil && took <= mostUnmount && alive == 0),
		Means:   "The leases are made first, then Palette's limits are set. The time is until Vault answers that the mount is gone. Vault revokes the leases one after the other. Direct: their tokens, 100 to a call, one call after the other.",
	}}, nil
}
