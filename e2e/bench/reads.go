package bench

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	readsWithin = time.Minute
	mostCalls   = 2
)

// measureReads counts what many reads of a shared session and of a shared API key cost Palette.
func (b *bench) measureReads(ctx context.Context) ([]Row, error) {
	const clients = 16
	w, err := b.world(ctx, clients)
	if err != nil {
		return nil, err
	}
	defer w.close()
	rates := make(map[string]string)
	for _, subject := range []string{floor, wait, direct} {
		if _, err = during(ctx, clients, b.warmUp, w.calls()[subject]); err != nil {
			return nil, fmt.Errorf("warming up %s: %w", subject, err)
		}
		// As many in a slot as there is time for: the whole number would take wait long.
		got, failed := during(ctx, clients, b.slot, w.calls()[subject])
		if failed != nil {
			return nil, fmt.Errorf("%s: %w", subject, failed)
		}
		rates[subject] = fmt.Sprintf("%.0f reads/s", got.rate())
	}
	before := w.palette.TotalCalls()
	got, err := times(ctx, clients, b.reads, w.calls()[shared])
	if err != nil {
		return nil, err
	}
	made := w.palette.TotalCalls() - before
	gotKeys, err := times(ctx, clients, b.reads, w.calls()[sharedKey])
	if err != nil {
		return nil, err
	}
	keys := w.palette.Calls(palettetest.APIKeyCreate)
	return []Row{{
		What:   fmt.Sprintf("shared, %s reads: calls to Palette", count(b.reads)),
		Figure: fmt.Sprintf("%d in %s (%.0f reads/s)", made, seconds(got.elapsed), got.rate()),
		Limit:  fmt.Sprintf("%d within %s", mostCalls, seconds(readsWithin)),
		Floor:  rates[floor], Wait: rates[wait], Direct: rates[direct] + ", a call each",
		Verdict: judge(made <= mostCalls && got.elapsed <= readsWithin),
		Means:   "16 consumers read a role with `shared=true`. The figure is how many calls the stand-in saw meanwhile, the session's login among them.",
	}, {
		What:   fmt.Sprintf("shared key, %s reads: API keys made", count(b.reads)),
		Figure: fmt.Sprintf("%d in %s (%.0f reads/s)", keys, seconds(gotKeys.elapsed), gotKeys.rate()),
		Limit:  fmt.Sprintf("1 within %s", seconds(readsWithin)),
		Floor:  rates[floor], Wait: rates[wait], Direct: rates[direct] + ", a call each",
		Verdict: judge(keys == 1 && gotKeys.elapsed <= readsWithin),
		Means:   "The same with a role of `shared=true` and `credential_type=api_key`. The figure is how many keys the stand-in has made.",
	}}, nil
}
