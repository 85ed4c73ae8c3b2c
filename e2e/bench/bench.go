// Package bench measures the engine on a real Vault against the stand-in for Palette, and
// holds the figures against what they must be: `make bench`.
//
// Timings depend on the machine. So each is held against engines that do nothing
// ("floor") or only wait as long as the stand-in does ("wait"), and stands beside the
// direct call to the stand-in, all measured in the same run, in turns.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options says what to measure.
type Options struct {
	// Rows are names of [Names]; none is all.
	Rows []string
	// Quick takes small numbers: it shows that all works, but timings are not judged.
	Quick bool
	// Out is the directory for performance.md and performance.svg; none where it is empty.
	// It goes with all rows alone.
	Out string
	// Progress is told what is being done.
	Progress io.Writer
}

// sizes are the numbers behind the rows.
type sizes struct {
	slot, warmUp                  time.Duration
	rounds                        int
	reads, consumers, queued      int
	revoked, logins, unmounted    int
	heapWarmUp, heapReads, heapBy int
}

var (
	fullSizes = sizes{
		slot: time.Second, warmUp: time.Second, rounds: 7,
		reads: 10_000, consumers: 500, queued: 120, revoked: 5_000, logins: 20, unmounted: 2_000,
		heapWarmUp: 2_000, heapReads: 100_000, heapBy: 64,
	}
	quickSizes = sizes{
		slot: 60 * time.Millisecond, warmUp: 50 * time.Millisecond, rounds: 1,
		reads: 200, consumers: 15, queued: 10, revoked: 250, logins: 5, unmounted: 40,
		heapWarmUp: 100, heapReads: 1_000, heapBy: 16,
	}
)

// bench is a run.
type bench struct {
	Options
	sizes
	programs *programs
	load     *load
	vault    string // its version
}

// part measures one or more rows of the table.
type part struct {
	name    string
	measure func(*bench, context.Context) ([]Row, error)
}

var parts = []part{
	{"load", (*bench).measureLoad},
	{"reads", (*bench).measureReads},
	{"burst", (*bench).measureBurst},
	{"revoke", (*bench).measureRevoke},
	{"unmount", (*bench).measureUnmount},
	{"memory", (*bench).measureMemory},
}

// Names are the parts that can be measured by themselves.
func Names() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}

// Run measures. An error means that something could not be measured, and not that a
// figure missed its limit, which the [Report] tells.
func Run(ctx context.Context, opts Options) (*Report, error) {
	for _, name := range opts.Rows {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("there is no %q to measure, but %s", name, strings.Join(Names(), ", "))
		}
	}
	if len(opts.Rows) > 0 && opts.Out != "" {
		return nil, fmt.Errorf("what is written to %s holds all rows: leave out the choice of rows, or the directory", opts.Out)
	}
	b := &bench{Options: opts, sizes: fullSizes}
	if opts.Quick {
		b.sizes = quickSizes
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the programs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // in the system's directory for what may be left
	if b.programs, err = build(ctx, dir); err != nil {
		return nil, err
	}
	report := &Report{Quick: opts.Quick}
	for _, p := range parts {
		if len(opts.Rows) > 0 && !slices.Contains(opts.Rows, p.name) {
			continue
		}
		began := time.Now()
		rows, err := p.measure(b, ctx)
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", p.name, err)
		}
		b.say("%s: %.0f s", p.name, time.Since(began).Seconds())
		report.Rows = append(report.Rows, rows...)
	}
	report.Vault = b.vault
	if opts.Out == "" {
		return report, nil
	}
	return report, b.write(report)
}

func (b *bench) say(format string, args ...any) {
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, format+"\n", args...)
	}
}

// complain shows the first of some errors: they are figures, and too long for the table.
func (b *bench) complain(what string, errs ...error) {
	if len(errs) > 0 {
		b.say("%s: %d errors, the first: %v", what, len(errs), errs[0])
	}
}

// world starts a new world: leases of earlier rows slow nothing down.
func (b *bench) world(ctx context.Context, clients int) (*world, error) {
	w, err := newWorld(ctx, b.programs, clients)
	if err != nil {
		return nil, err
	}
	health, err := w.api.Sys().HealthWithContext(ctx)
	if err != nil {
		w.close()
		return nil, fmt.Errorf("asking for Vault's version: %w", err)
	}
	b.vault = health.Version
	return w, nil
}

// programs are those that run beside the bench.
type programs struct {
	engine, heap string
}

// build builds the programs. It needs the working directory to be in the module e2e.
func build(ctx context.Context, dir string) (*programs, error) {
	const commands = "vault-plugin-secrets-palette/e2e/cmd/"
	p := &programs{engine: filepath.Join(dir, "bench-engine"), heap: filepath.Join(dir, "bench-heap")}
	// #nosec G204 -- the arguments are constants
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", dir, commands+"bench-engine", commands+"bench-heap")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the programs (in the module e2e?): %w\n%s", err, out)
	}
	return p, nil
}
