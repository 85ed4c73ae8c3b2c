// Package heap measures by how much the heap of a process grows that hosts the engine,
// without Vault, through many reads and revocations.
package heap

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options says what to measure.
type Options struct {
	// Subject is one of [Subjects].
	Subject string
	// Address is the stand-in's.
	Address string
	// Wait is how long the engine waits that only waits.
	Wait time.Duration
	// WarmUp reads come first and are not counted.
	WarmUp, Reads int
	// Clients read at a time.
	Clients int
}

// Flags makes the flags that fill the options.
func (o *Options) Flags(flags *flag.FlagSet) {
	flags.StringVar(&o.Subject, "subject", "", fmt.Sprintf("what to measure, one of %q", Subjects()))
	flags.StringVar(&o.Address, "address", "", "address of the stand-in for Palette")
	flags.DurationVar(&o.Wait, "wait", 0, "how long the engine waits that only waits")
	flags.IntVar(&o.WarmUp, "warm-up", 0, "reads before the measurement")
	flags.IntVar(&o.Reads, "reads", 0, "reads; every second one is revoked")
	flags.IntVar(&o.Clients, "clients", 1, "readers at a time")
}

// Args are the options as the flags of a command line.
func (o *Options) Args() []string {
	return []string{
		"-subject=" + o.Subject, "-address=" + o.Address, "-wait=" + o.Wait.String(),
		"-warm-up=" + strconv.Itoa(o.WarmUp), "-reads=" + strconv.Itoa(o.Reads), "-clients=" + strconv.Itoa(o.Clients),
	}
}

// Growth is what was found.
type Growth struct {
	// Before and After are the heap in use after a collection, in bytes.
	Before, After int64
	// Reads and Revoked are what happened in between.
	Reads, Revoked int
}

// Bytes is by how much the heap has grown.
func (g Growth) Bytes() int64 { return g.After - g.Before }

// subject is what is measured.
type subject interface {
	// issue reads once, and returns what revokes it.
	issue(ctx context.Context) (revoke func(ctx context.Context) error, err error)
	close()
}

var subjects = map[string]func(context.Context, Options) (subject, error){
	"creds":  newOwn,
	"floor":  newFloor,
	"wait":   newWait,
	"direct": newDirect,
}

// Subjects are the names of what can be measured.
func Subjects() []string { return slices.Sorted(maps.Keys(subjects)) }

// Measure measures in this process.
func Measure(ctx context.Context, o Options) (Growth, error) {
	build, found := subjects[o.Subject]
	if !found {
		return Growth{}, fmt.Errorf("there is no %q to measure, but %q", o.Subject, Subjects())
	}
	s, err := build(ctx, o)
	if err != nil {
		return Growth{}, err
	}
	defer s.close()
	if _, err = drive(ctx, s, o.Clients, o.WarmUp); err != nil {
		return Growth{}, fmt.Errorf("warming up: %w", err)
	}
	before := InUse()
	revoked, err := drive(ctx, s, o.Clients, o.Reads)
	if err != nil {
		return Growth{}, err
	}
	after := InUse()
	// What is alive only for this moment would have been collected by then.
	runtime.KeepAlive(s)
	return Growth{Before: before, After: after, Reads: o.Reads, Revoked: revoked}, nil
}

// drive makes so many reads, and revokes every second one.
func drive(ctx context.Context, s subject, clients, reads int) (revoked int, failed error) {
	var begun, ended atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range clients {
		group.Go(func() error {
			for {
				n := begun.Add(1)
				if n > int64(reads) {
					return nil
				}
				revoke, err := s.issue(ctx)
				if err != nil {
					return err
				}
				if n%2 == 1 {
					continue
				}
				if err := revoke(ctx); err != nil {
					return err
				}
				ended.Add(1)
			}
		})
	}
	failed = group.Wait()
	return int(ended.Load()), failed
}

// InUse is the heap in use after a collection, in bytes.
func InUse() int64 {
	runtime.GC()
	runtime.GC() // what the first one has finalized goes with the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse) // #nosec G115 -- no heap has 8 EiB
}
