package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gopsnet "github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/e2e/vitals"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// shortSoak is enough to see what each call leaves behind a goroutine or a connection.
	shortSoak = 30 * time.Second
	// soakSamples is how often the plugin is looked at.
	soakSamples = 120
	// soakLife makes sessions need refreshes, and outlives the leases that clients keep.
	soakLife = 5 * time.Minute
	// busy is the share of the limit that makes it a soak at the limit.
	busy = 0.7
	// mostConnections is three times what a second's calls need, should all go out at once.
	// Connections that calls leave behind die after 90 seconds, and so do not grow for ever.
	mostConnections = 3 * perSecond
)

// vital is a figure of the plugin's process that must not grow: the median of the last
// third of the time is no more than that of the third before, and a slack: ten calls that
// go out together open ten connections, with two goroutines each, and a write of the config
// closes them. Nor is it more than most, where there is one.
type vital struct {
	name        string
	slack, most float64
	seen        []float64
}

// soak is a mount under load, and the process that serves it.
type soak struct {
	*stress
	pid    int
	vitals []*vital
}

// The engine works at Palette's limit for ten minutes (SOAK says for how long), and the
// plugin's process is at the end what it was before.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := shortSoak
	if named := os.Getenv("SOAK"); named != "" {
		var err error
		lasts, err = time.ParseDuration(named)
		require.NoError(t, err)
	}
	s := newSoak(t)
	began, calls := time.Now(), s.palette.TotalCalls()
	s.more = func() bool { return time.Since(began) < lasts }
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run()
	}()
	defer func() { <-done }() // where a look fails, too
	for beat := time.NewTicker(lasts / soakSamples); ; {
		select {
		case <-beat.C:
			s.look()
			continue
		case <-done:
			beat.Stop()
		}
		break
	}
	rate := float64(s.palette.TotalCalls()-calls) / time.Since(began).Seconds()
	t.Logf("%s at %.1f calls a second, %d of which met the limit: %s", lasts, rate, s.palette.Rejected429(), s.sum())
	assert.Greater(t, rate, busy*perSecond, "the soak is to be at the limit")
	s.flat()
	assert.Equal(t, []int{s.pid}, s.vault.PluginPIDs(), "the process is the one that began")
	assert.Equal(t, "0", s.vault.irrevocable(t))
}

// newSoak mounts the engine in a program that tells how it is.
func newSoak(t *testing.T) *soak {
	t.Helper()
	palette := palettetest.New(t, palettetest.WithLifetime(soakLife), palettetest.WithRateLimit(perSecond), palettetest.WithLockout())
	s := &soak{
		stress: newStress(t, vaulttest.Options{Plugin: goBuild(t, "", nil, "./cmd/soak-engine")}, palette, perSecond),
		vitals: []*vital{
			{name: "heap in use after a collection, MiB", slack: 1},
			{name: "resident memory, MiB", slack: 4},
			{name: "goroutines", slack: 40},
			{name: "open files", slack: 20},
			{name: "connections to Palette", slack: 15, most: mostConnections},
		},
	}
	pids := s.vault.PluginPIDs()
	require.Len(t, pids, 1)
	s.pid = pids[0]
	return s
}

// look takes a sample of each figure.
func (s *soak) look() {
	inside, err := vitals.Of(s.t.Context(), filepath.Join(s.vault.Dir, "tmp"), s.pid)
	require.NoError(s.t, err)
	plugin, err := process.NewProcess(int32(s.pid))
	require.NoError(s.t, err)
	memory, err := plugin.MemoryInfo()
	require.NoError(s.t, err)
	files, err := plugin.NumFDs()
	require.NoError(s.t, err)
	const mib = 1 << 20
	for i, figure := range []float64{
		float64(inside.Heap) / mib, float64(memory.RSS) / mib, float64(inside.Goroutines), float64(files), s.connections(),
	} {
		s.vitals[i].seen = append(s.vitals[i].seen, figure)
	}
}

// connections counts those that the plugin has to Palette.
func (s *soak) connections() (n float64) {
	address, err := url.Parse(s.palette.URL())
	require.NoError(s.t, err)
	all, err := gopsnet.ConnectionsPid("tcp", int32(s.pid))
	require.NoError(s.t, err)
	for _, c := range all {
		if c.Status == "ESTABLISHED" && strconv.Itoa(int(c.Raddr.Port)) == address.Port() {
			n++
		}
	}
	return n
}

// flat holds each figure against itself.
func (s *soak) flat() {
	s.t.Helper()
	lines := []string{fmt.Sprintf("%-36s %8s %8s %8s %8s   limit of the last third", "median of the thirds", "first", "middle", "last", "most")}
	for _, v := range s.vitals {
		n := len(v.seen) / 3
		require.Positive(s.t, n)
		first, middle, last := medianOf(v.seen[:n]), medianOf(v.seen[n:2*n]), medianOf(v.seen[2*n:])
		limit := middle + v.slack
		if v.most > 0 {
			limit = min(limit, v.most)
		}
		lines = append(lines, fmt.Sprintf("%-36s %8.1f %8.1f %8.1f %8.1f   %.1f", v.name, first, middle, last, slices.Max(v.seen), limit))
		assert.LessOrEqual(s.t, last, limit, v.name)
	}
	s.t.Logf("%d samples\n%s", len(s.vitals[0].seen), strings.Join(lines, "\n"))
}

func medianOf(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}
