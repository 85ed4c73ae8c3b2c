package bench

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/stat"
)

// sample is what a number of calls took.
type sample struct {
	took    []time.Duration
	elapsed time.Duration
}

// rate is in calls a second.
func (s sample) rate() float64 { return float64(len(s.took)) / s.elapsed.Seconds() }

// quantile is in milliseconds.
func (s sample) quantile(q float64) float64 {
	ms := make([]float64, len(s.took))
	for i, d := range s.took {
		ms[i] = d.Seconds() * 1000
	}
	slices.Sort(ms)
	return stat.Quantile(q, stat.Empirical, ms, nil)
}

// median of figures, which it sorts.
func median(figures []float64) float64 {
	slices.Sort(figures)
	return stat.Quantile(0.5, stat.Empirical, figures, nil)
}

// during has clients that call one time after the other, for as long as d.
func during(ctx context.Context, clients int, d time.Duration, call op) (sample, error) {
	deadline := time.Now().Add(d)
	return together(ctx, clients, call, func() bool { return time.Now().Before(deadline) })
}

// times has clients make n calls between them.
func times(ctx context.Context, clients, n int, call op) (sample, error) {
	var mu sync.Mutex
	return together(ctx, clients, call, func() bool {
		mu.Lock()
		defer mu.Unlock()
		n--
		return n >= 0
	})
}

// together has clients call for as long as more says so. The first error ends it.
func together(ctx context.Context, clients int, call op, more func() bool) (sample, error) {
	began := time.Now()
	took := make([][]time.Duration, clients)
	group, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		group.Go(func() error {
			for more() {
				sent := time.Now()
				if err := call(ctx); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(sent))
			}
			return nil
		})
	}
	err := group.Wait()
	return sample{took: slices.Concat(took...), elapsed: time.Since(began)}, err
}

// burst is what became of calls that began at the same moment.
type burst struct {
	sample // of those that were served
	errs   []error
}

// atOnce makes n calls that begin at the same moment.
func atOnce(ctx context.Context, n int, call op) burst {
	var (
		b    burst
		mu   sync.Mutex
		wait sync.WaitGroup
	)
	start := make(chan struct{})
	var began time.Time
	for range n {
		wait.Go(func() {
			<-start
			err := call(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				b.errs = append(b.errs, err)
				return
			}
			b.took = append(b.took, time.Since(began))
		})
	}
	began = time.Now()
	close(start)
	wait.Wait()
	b.elapsed = time.Since(began)
	return b
}
