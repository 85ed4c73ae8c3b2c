package simulation

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// repeats is how often a failing seed is lived again, to tell how often it fails.
	repeats = 20
	// mostTries bounds how often a smaller plan is lived until it counts as one that holds.
	mostTries = 6
	// shrinkFor bounds the search for a smaller plan.
	shrinkFor = 90 * time.Second
)

// tellFailure reports a seed that has broken an invariant, makes its plan smaller, and says how often it fails.
func tellFailure(t *testing.T, p *plan, out outcome) {
	t.Helper()
	if os.Getenv("BRIEF") != "" { // for the job of the planted faults
		t.Errorf("seed %d breaks %s", p.seed, out.breach)
		return
	}
	fails := 0
	for range repeats {
		if again := live(t, p, p.steps); again.breach.like(out.breach) {
			fails++
		}
	}
	small, smallest := shrink(t, p, out, triesFor(fails))
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d breaks %s\n\nIt fails in %d of %d repeats. To repeat it: make simulate SEED=%d\n", p.seed, out.breach, fails, repeats, p.seed)
	fmt.Fprintf(&b, "\nThe world: %s\n\nThe story of %d steps, of %d:\n%s\n", p, len(small), len(p.steps), smallest.story)
	if os.Getenv("WHOLE") != "" {
		fmt.Fprintf(&b, "\nThe whole story:\n%s\n", out.story)
	}
	t.Error(b.String())
}

// triesFor is how often a plan must be lived to break in nineteen of twenty cases, where the seed fails so often.
func triesFor(fails int) int {
	if fails == repeats {
		return 1
	}
	holds := 1 - max(float64(fails), 1)/repeats
	return min(int(math.Ceil(math.Log(0.05)/math.Log(holds))), mostTries)
}

// shrink leaves steps out while some repeat still breaks the same invariant.
func shrink(t *testing.T, p *plan, out outcome, tries int) ([]step, outcome) {
	t.Helper()
	began := time.Now()
	steps := p.steps
	breaks := func(smaller []step) bool {
		for range tries {
			if again := live(t, p, smaller); again.breach.like(out.breach) {
				out = again
				return true
			}
		}
		return false
	}
	for size := max(len(steps)/2, 1); ; size /= 2 {
		for at := 0; at < len(steps); {
			if time.Since(began) > shrinkFor {
				return steps, out
			}
			smaller := slices.Concat(steps[:at], steps[min(at+size, len(steps)):])
			if breaks(smaller) {
				steps = smaller
				continue
			}
			at += size
		}
		if size == 1 {
			return steps, out
		}
	}
}
