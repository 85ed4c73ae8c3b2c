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
	// restTimeout is a request_timeout that the load does not set.
	restTimeout = 60
	// busy is the share of the limit that makes it a soak at the limit.
	busy = 0.7
	// mostConnections is three times what a second's calls need, should all go out at once.
	// Connections that calls leave behind die after 90 seconds, and so do not grow for ever.
	mostConnections = 3 * perSecond
	// idleDies is when idle connections die. The clients that no config has go at a beat.
	idleDies = 90 * time.Second
)

// vital is a figure of the plugin's process that must not grow. Under load the median of the
// last third of the time is no more than that of the third before, and of the first one where
// the soak is a long one, and a slack: ten calls that go out together open ten connections,
// with two goroutines each, and a write of the config closes them. Nor is it more than most,
// where there is one. Once all is at rest it is no more than it was before the load, and
// atRest: what each call leaves behind, if little of it, adds up.
type vital struct {
	name                string
	slack, most, atRest float64
	before              float64
	seen                []float64
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
	long := lasts > shortSoak
	began, calls := time.Now(), s.palette.TotalCalls()
	// A short one runs beside other tests, which may slow it down: it lasts until it has made the
	// calls of a soak at the limit.
	least := int(busy * perSecond * lasts.Seconds())
	s.more = func() bool {
		return time.Since(began) < lasts || !long && s.palette.TotalCalls()-calls < least
	}
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
	if long {
		assert.Greater(t, rate, busy*perSecond, "the soak is to be at the limit")
	}
	s.flat(long)
	s.asBefore(long)
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
			{name: "heap in use after a collection, MiB", slack: 1, atRest: 1},
			{name: "resident memory, MiB", slack: 4, atRest: 4},
			{name: "goroutines", slack: 40, atRest: 2},
			{name: "open files", slack: 20, atRest: 2},
			{name: "connections to Palette", slack: 15, most: mostConnections},
		},
	}
	pids := s.vault.PluginPIDs()
	require.Len(t, pids, 1)
	s.pid = pids[0]
	s.reconnect()
	for i, figure := range s.figures() {
		s.vitals[i].before = figure
	}
	return s
}

// look takes a sample of each figure.
func (s *soak) look() {
	for i, figure := range s.figures() {
		s.vitals[i].seen = append(s.vitals[i].seen, figure)
	}
}

// figures are those of the vitals, now.
func (s *soak) figures() []float64 {
	inside, err := vitals.Of(s.t.Context(), filepath.Join(s.vault.Dir, "tmp"), s.pid)
	require.NoError(s.t, err)
	plugin, err := process.NewProcess(int32(s.pid))
	require.NoError(s.t, err)
	memory, err := plugin.MemoryInfo()
	require.NoError(s.t, err)
	files, err := plugin.NumFDs()
	require.NoError(s.t, err)
	const mib = 1 << 20
	return []float64{float64(inside.Heap) / mib, float64(memory.RSS) / mib, float64(inside.Goroutines), float64(files), s.connections()}
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

// reconnect gives the config a client of its own, without connections: those of the one
// before are closed.
func (s *soak) reconnect() {
	s.t.Helper()
	s.write("config", map[string]any{"request_timeout": restTimeout, "verify_connection": false})
}

// asBefore ends all leases and the session, and waits for each figure to be what it was
// before the load.
func (s *soak) asBefore(long bool) {
	s.t.Helper()
	s.cli("lease", "revoke", "-sync", "-prefix", s.mount+"/creds")
	s.cli("delete", s.mount+"/sessions/default")
	within := idleDies + soon
	if !long { // then the connections need not die by themselves
		s.reconnect()
		within = periodic + soon
	}
	began := time.Now()
	now := s.figures()
	for !s.rested(now) && time.Since(began) < within {
		time.Sleep(10 * often)
		now = s.figures()
	}
	lines := []string{fmt.Sprintf("%-36s %8s %8s   limit", fmt.Sprintf("at rest, after %.0f s", time.Since(began).Seconds()), "before", "after")}
	for i, v := range s.vitals {
		lines = append(lines, fmt.Sprintf("%-36s %8.1f %8.1f   %.1f", v.name, v.before, now[i], v.before+v.atRest))
		assert.LessOrEqual(s.t, now[i], v.before+v.atRest, "%s: the load has left something behind", v.name)
	}
	s.t.Log(strings.Join(lines, "\n"))
}

// rested tells whether figures are those of before the load.
func (s *soak) rested(now []float64) bool {
	for i, v := range s.vitals {
		if now[i] > v.before+v.atRest {
			return false
		}
	}
	return true
}

// flat holds each figure against itself.
func (s *soak) flat(long bool) {
	s.t.Helper()
	lines := []string{fmt.Sprintf("%-36s %8s %8s %8s %8s   limit of the last third", "median of the thirds", "first", "middle", "last", "most")}
	for _, v := range s.vitals {
		n := len(v.seen) / 3
		require.Positive(s.t, n)
		first, middle, last := medianOf(v.seen[:n]), medianOf(v.seen[n:2*n]), medianOf(v.seen[2*n:])
		limit := middle + v.slack
		if long {
			limit = min(first, middle) + v.slack
		}
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
