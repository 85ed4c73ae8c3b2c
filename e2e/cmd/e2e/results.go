package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// longest is how many of the tests that took longest are named at the end.
const longest = 5

// results are those of the tests, as they come.
type results struct {
	out     io.Writer
	verbose bool
	tests   map[string]*test // the top-level ones, by name
	order   []*test
	below   int // how many tests below the top-level ones have passed
}

// test is a top-level test with all below it.
type test struct {
	name    string
	outcome string // pass, fail or skip; nothing while it runs
	began   time.Time
	seconds float64 // with those below it, which go's own figure leaves out where they run in parallel
	lines   []line
	failed  []string // the tests that failed, in that order: those below come before it
}

// line is one of a test's output.
type line struct{ test, text string }

func newResults(out io.Writer, verbose bool) *results {
	return &results{out: out, verbose: verbose, tests: make(map[string]*test)}
}

// take takes an event, and prints what it makes complete.
func (r *results) take(e event) {
	if e.Test == "" {
		if e.Action == "output" && e.Output != "PASS\n" && e.Output != "FAIL\n" {
			fmt.Fprint(r.out, e.Output)
		}
		return
	}
	top, _, _ := strings.Cut(e.Test, "/")
	t := r.tests[top]
	if t == nil {
		t = &test{name: top}
		r.tests[top] = t
		r.order = append(r.order, t)
	}
	switch e.Action {
	case "run", "cont":
		if e.Test == top {
			t.began = time.Now()
		}
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") { // RUN, PAUSE, CONT and NAME
			t.lines = append(t.lines, line{e.Test, e.Output})
		}
	case "fail", "pass", "skip":
		if e.Action == "fail" {
			t.failed = append(t.failed, e.Test)
		}
		if e.Action == "skip" && !r.verbose {
			fmt.Fprintf(r.out, "skipped: %s: %s\n", e.Test, t.reason(e.Test))
		}
		if e.Action == "pass" && e.Test != top {
			r.below++
		}
		if e.Test == top {
			t.outcome, t.seconds = e.Action, time.Since(t.began).Seconds()
			r.ended(t)
		}
	}
}

// ended prints a test that has ended, where there is something to say.
func (r *results) ended(t *test) {
	if t.outcome == "fail" {
		fmt.Fprintf(r.out, "\n%s\n", strings.Join(t.report(), "\n"))
		fmt.Fprintf(r.out, "\nall that it said:\n")
	}
	if t.outcome == "fail" || r.verbose {
		for _, l := range t.lines {
			fmt.Fprint(r.out, l.text)
		}
	}
	t.lines = nil
}

// reason is why a test was skipped.
func (t *test) reason(name string) string {
	for _, l := range t.lines {
		if l.test == name && !strings.HasPrefix(strings.TrimSpace(l.text), "--- SKIP") {
			return strings.TrimSpace(l.text)
		}
	}
	return "without a reason"
}

// sum prints how it went. Tests that have not ended then were broken off, by a panic or a
// signal, and are reported as failed.
func (r *results) sum(took time.Duration) {
	counts := make(map[string]int)
	var failed []string
	for _, t := range r.order {
		if t.outcome == "" {
			if t.broken() {
				t.outcome, t.failed = "fail", []string{t.name}
				r.ended(t)
			} else {
				t.outcome = "broken off"
			}
		}
		counts[t.outcome]++
		if t.outcome == "fail" {
			failed = append(failed, t.name)
		}
	}
	if n := counts["broken off"]; n > 0 {
		fmt.Fprintf(r.out, "%d tests were broken off\n", n)
	}
	slices.SortFunc(r.order, func(a, b *test) int { return cmp.Compare(b.seconds, a.seconds) })
	var slow []string
	for _, t := range r.order[:min(longest, len(r.order))] {
		slow = append(slow, fmt.Sprintf("%s %.0f s", t.name, t.seconds))
	}
	if len(slow) > 1 {
		fmt.Fprintf(r.out, "the longest: %s\n", strings.Join(slow, ", "))
	}
	if len(r.order) == 0 {
		fmt.Fprintln(r.out, "no end-to-end test has this name")
	}
	if len(failed) > 0 {
		fmt.Fprintf(r.out, "FAILED: %s\n", strings.Join(failed, ", "))
	}
	fmt.Fprintf(r.out, "%d tests with %d subtests passed, %d failed, %d skipped, in %.0f s\n",
		counts["pass"], r.below, counts["fail"], counts["skip"], took.Seconds())
}
