package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The subjects of a load.
const (
	own       = "creds"
	shared    = "shared"
	sharedKey = "shared key"
	floor     = "floor"
	wait      = "wait"
	direct    = "direct"
)

var (
	subjects     = []string{own, shared, sharedKey, floor, wait, direct}
	clientCounts = []int{1, 4, 16, 64}
)

// calls are what a load's subjects do.
func (w *world) calls() map[string]op {
	return map[string]op{
		own:       w.read(ownMount+"/creds/"+ownRole, "token"),
		shared:    w.read(ownMount+"/creds/"+sharedRole, "token"),
		sharedKey: w.read(ownMount+"/creds/"+keyRole, "api_key"),
		floor:     w.read(floorMount+"/creds/any", "token"),
		wait:      w.read(waitMount+"/creds/any", "token"),
		direct:    w.login,
	}
}

// load is what clients that read one time after the other have seen.
type load struct {
	// rounds are the samples of a subject with so many clients, in the order of rounds.
	rounds map[string]map[int][]sample
}

// figures of a subject, one for each round.
func (l *load) figures(subject string, clients int, of func(sample) float64) []float64 {
	var out []float64
	for _, s := range l.rounds[subject][clients] {
		out = append(out, of(s))
	}
	return out
}

// rate is the median of the rounds, in reads a second.
func (l *load) rate(subject string, clients int) float64 {
	return median(l.figures(subject, clients, sample.rate))
}

// quantile is over the reads of all rounds, in milliseconds.
func (l *load) quantile(subject string, clients int, q float64) float64 {
	var all sample
	for _, s := range l.rounds[subject][clients] {
		all.took = append(all.took, s.took...)
	}
	return all.quantile(q)
}

// compared is the median, over the rounds, of what a comparison with the other subject in
// the same round gives: what slows the machine for a while slows both.
func (l *load) compared(subject, other string, clients int, of func(sample) float64, by func(x, y float64) float64) float64 {
	mine, others := l.figures(subject, clients, of), l.figures(other, clients, of)
	for i := range mine {
		mine[i] = by(mine[i], others[i])
	}
	return median(mine)
}

// run measures all subjects in turns, round by round, each round in another order: who comes after a fast
// one pays for the leases that Vault has just stored.
func (w *world) run(ctx context.Context, slot time.Duration, rounds int, say func(string, ...any)) (*load, error) {
	l := &load{rounds: make(map[string]map[int][]sample)}
	for _, s := range subjects {
		l.rounds[s] = make(map[int][]sample)
	}
	calls := w.calls()
	for round := range rounds {
		say("load: round %d of %d", round+1, rounds)
		for _, clients := range clientCounts {
			// #nosec G404 -- an order, the same in each run.
			for _, i := range rand.New(rand.NewPCG(uint64(round), uint64(clients))).Perm(len(subjects)) {
				s := subjects[i]
				got, err := during(ctx, clients, slot, calls[s])
				if err != nil {
					return nil, fmt.Errorf("%s with %d clients: %w", s, clients, err)
				}
				l.rounds[s][clients] = append(l.rounds[s][clients], got)
			}
		}
	}
	return l, nil
}

// warmUp opens the connections, and fills the caches.
func (w *world) warmUp(ctx context.Context, clients int, d time.Duration) error {
	for subject, call := range w.calls() {
		if _, err := during(ctx, clients, d, call); err != nil {
			return fmt.Errorf("warming up %s: %w", subject, err)
		}
	}
	return nil
}

// What the load is held against.
const (
	mostOverWait  = 1.0  // ms
	leastOfOthers = 0.90 // of the other subject's rate
	mostOfTail    = 2.0  // of the other subject's p99
)

func (b *bench) measureLoad(ctx context.Context) ([]Row, error) {
	most := slices.Max(clientCounts)
	w, err := b.world(ctx, most)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err = w.warmUp(ctx, most, b.warmUp); err != nil {
		return nil, err
	}
	l, err := w.run(ctx, b.slot, b.rounds, b.say)
	if err != nil {
		return nil, err
	}
	b.load = l
	return []Row{b.medianRow(l), b.rateRow(l, own, wait), b.tailRow(l), b.rateRow(l, shared, floor), b.rateRow(l, sharedKey, floor)}, nil
}

func (b *bench) medianRow(l *load) Row {
	p50 := func(s sample) float64 { return s.quantile(0.5) }
	over := l.compared(own, wait, 1, p50, func(x, y float64) float64 { return x - y })
	ms := func(subject string) string { return fmt.Sprintf("%.1f ms", l.quantile(subject, 1, 0.5)) }
	return Row{
		What:   "creds, 1 client: p50",
		Figure: fmt.Sprintf("%s (wait %+.1f ms)", ms(own), over), Limit: fmt.Sprintf("wait + %.0f ms", mostOverWait),
		Floor: ms(floor), Wait: ms(wait), Direct: ms(direct),
		Verdict: b.judgeTiming(over <= mostOverWait),
		Means:   "One consumer reads `creds/<role>` time after time. Half of its reads took no longer than this.",
	}
}

// tailRow holds the slowest hundredth of reads against that of the engine that waits.
func (b *bench) tailRow(l *load) Row {
	const clients = 16
	p99 := func(subject string) float64 { return l.quantile(subject, clients, 0.99) }
	ms := func(subject string) string { return fmt.Sprintf("%.0f ms", p99(subject)) }
	part := p99(own) / p99(wait)
	return Row{
		What:   fmt.Sprintf("creds, %d clients: p99", clients),
		Figure: fmt.Sprintf("%s (%.2f of wait)", ms(own), part), Limit: fmt.Sprintf("≤ %.1f of wait", mostOfTail),
		Floor: ms(floor), Wait: ms(wait), Direct: ms(direct),
		Verdict: b.judgeTiming(part <= mostOfTail),
		Means:   "The slowest hundredth of the reads of the row before, over all rounds.",
	}
}

func (b *bench) rateRow(l *load, subject, other string) Row {
	const clients = 16
	part := l.compared(subject, other, clients, sample.rate, func(x, y float64) float64 { return x / y })
	rate := func(subject string) string { return fmt.Sprintf("%.0f/s", l.rate(subject, clients)) }
	means := "16 consumers read `creds/<role>` time after time: all of them together, in reads a second. Each read is a login at Palette."
	switch subject {
	case sharedKey:
		means = "The same with `credential_type=api_key` too: all reads bring the role's one API key."
	case shared:
		means = "The same with `shared=true`: no read but the first one waits for Palette. The engine's own part is small (`make microbench`: BenchmarkSharedRead) and calls nobody. The rest is Vault's, here and in floor: the request, the call of the plugin, and the lease."
	}
	return Row{
		What:   fmt.Sprintf("%s, %d clients: reads/s", subject, clients),
		Figure: fmt.Sprintf("%s (%.2f of %s)", rate(subject), part, other), Limit: fmt.Sprintf("≥ %.2f of %s", leastOfOthers, other),
		Floor: rate(floor), Wait: rate(wait), Direct: rate(direct),
		Verdict: b.judgeTiming(part >= leastOfOthers), Means: means,
	}
}
