package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// The bench with small numbers: each row is measured, and what is no timing keeps its
// limit.
func TestBench(t *testing.T) {
	t.Parallel()
	d, out := buildProgram(t, "bench"), t.TempDir()
	takeSlots(t, 1)
	cmd := exec.CommandContext(t.Context(), d.program, "-quick", "-out", out)
	cmd.Env = d.env(nil)
	said, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	require.Zero(t, said.Code, said.Stdout+said.Stderr)

	lines := strings.Split(strings.TrimSpace(said.Stdout), "\n")
	require.Len(t, lines, 1+14, said.Stdout)
	for _, line := range lines[1:6] {
		assert.Regexp(t, `  -  `, line, "timings are not judged")
	}
	for _, line := range lines[6:] {
		assert.Regexp(t, `  PASS  `, line)
	}
	page, err := os.ReadFile(filepath.Join(out, "performance.md"))
	require.NoError(t, err)
	assert.Equal(t, 14, strings.Count(string(page), "\n- **")-3, "each row is explained")
	assert.Contains(t, string(page), "](performance.svg)")
	plot, err := os.ReadFile(filepath.Join(out, "performance.svg"))
	require.NoError(t, err)
	assert.Contains(t, string(plot), "reads a second")
	d.leavesNothing()
}

// Whose reader goes, as in `make bench | head`, has Vaults to end.
func TestBenchCleansUp(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "bench")
	takeSlots(t, 1)
	p := start(t, "", d.env(nil), d.program, "-quick")
	require.Eventually(t, func() bool {
		started, err := filepath.Glob(filepath.Join(d.tmp, "vault-*"))
		return err == nil && len(started) > 0
	}, 3*soon, often)
	assert.Equal(t, 2, p.endBy(t, syscall.SIGPIPE))
	assert.Contains(t, p.said(), "bench: interrupted; all that it had started is gone\n")
	d.leavesNothing()
}

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "bench")
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"-rows=nothing"}, `no "nothing" to measure, but load, reads, burst, revoke, unmount, memory`},
		{[]string{"-rows=load", "-out=."}, "leave out the choice of rows"},
	} {
		said, err := vaulttest.Run(exec.CommandContext(t.Context(), d.program, row.args...), "")
		require.NoError(t, err)
		assert.Equal(t, 2, said.Code)
		assert.Contains(t, said.Stderr, row.says)
	}
}
