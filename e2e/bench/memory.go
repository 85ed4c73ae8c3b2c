package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	"vault-plugin-secrets-palette/e2e/bench/heap"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const mostHeapGrowth = 20 << 20 // bytes

// measureMemory has processes of their own host the engines, without Vault.
func (b *bench) measureMemory(ctx context.Context) ([]Row, error) {
	growth := make(map[string]string)
	var mine heap.Growth
	for _, subject := range heap.Subjects() {
		b.say("memory: %d reads, %s", b.heapReads, subject)
		got, err := b.heapOf(ctx, subject)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", subject, err)
		}
		growth[subject] = fmt.Sprintf("%+.1f MiB", inMiB(got.Bytes()))
		if subject == own {
			mine = got
		}
	}
	return []Row{{
		What:   fmt.Sprintf("heap over %s reads, %s revoked", count(mine.Reads), count(mine.Revoked)),
		Figure: fmt.Sprintf("%s (%.1f MiB before)", growth[own], inMiB(mine.Before)),
		Limit:  fmt.Sprintf("< +%.0f MiB", inMiB(mostHeapGrowth)),
		Floor:  growth[floor], Wait: growth[wait], Direct: growth[direct],
		Verdict: judge(mine.Bytes() < mostHeapGrowth),
		Means: fmt.Sprintf("The engine alone in a process, with storage in memory, against a stand-in that answers at once. %d readers, each of which revokes every second lease. "+
			"The figure is the growth of the heap in use after a collection (`HeapInuse` of Go's runtime), since a warm-up of %s reads. Direct: the bare calls.", b.heapBy, count(b.heapWarmUp)),
	}}, nil
}

func inMiB(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// heapOf has a process of its own measure, against a stand-in of its own.
func (b *bench) heapOf(ctx context.Context, subject string) (heap.Growth, error) {
	standIn, err := palettetest.Start()
	if err != nil {
		return heap.Growth{}, err
	}
	defer standIn.Close()
	options := heap.Options{
		Subject: subject, Address: standIn.URL(), Wait: paletteLatency,
		WarmUp: b.heapWarmUp, Reads: b.heapReads, Clients: b.heapBy,
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.programs.heap, options.Args()...) // #nosec G204 -- built a moment ago
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return heap.Growth{}, fmt.Errorf("running bench-heap: %w\n%s", err, stderr.String())
	}
	var got heap.Growth
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		return heap.Growth{}, fmt.Errorf("reading what bench-heap found: %w", err)
	}
	return got, nil
}
