// Command bench measures the engine on a real Vault against the stand-in for Palette and
// prints one table: `make bench`. It exits with 1 where a figure misses its limit, and
// with 2 where something could not be measured. The working directory must be in the
// module e2e, since it builds the programs that it needs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"vault-plugin-secrets-palette/e2e/bench"
	"vault-plugin-secrets-palette/e2e/playground"
)

const (
	exitMissed = 1
	exitFailed = 2
)

func main() {
	var missed bool
	err := playground.Interruptible(func(ctx context.Context) (err error) {
		missed, err = run(ctx)
		return err
	})
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitFailed)
	case missed:
		os.Exit(exitMissed)
	}
}

func run(ctx context.Context) (missed bool, err error) {
	var rows string
	options := bench.Options{Progress: os.Stderr}
	flag.StringVar(&rows, "rows", "", "what to measure, of "+strings.Join(bench.Names(), ",")+"; all where it is empty")
	flag.BoolVar(&options.Quick, "quick", false, "small numbers: shows that all works, and judges no timing")
	flag.StringVar(&options.Out, "out", "", "directory for performance.md and performance.svg; none where it is empty")
	flag.Parse()
	if rows != "" {
		options.Rows = strings.Split(rows, ",")
	}
	report, err := bench.Run(ctx, options)
	if err != nil {
		return false, err
	}
	return report.Missed(), report.Print(os.Stdout)
}
