package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// The bench with small numbers: each row is measured, and what is no timing keeps its
// limit.
func TestBench(t *testing.T) {
	t.Parallel()
	program, out, tmp := filepath.Join(t.TempDir(), "bench"), t.TempDir(), t.TempDir()
	built, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "./cmd/bench").CombinedOutput()
	require.NoError(t, err, string(built))
	cmd := exec.CommandContext(t.Context(), program, "-quick", "-out", out)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	said, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	require.Zero(t, said.Code, said.Stdout+said.Stderr)

	lines := strings.Split(strings.TrimSpace(said.Stdout), "\n")
	require.Len(t, lines, 1+9, said.Stdout)
	for _, line := range lines[1:4] {
		assert.Regexp(t, `  -  `, line, "timings are not judged")
	}
	for _, line := range lines[4:] {
		assert.Regexp(t, `  PASS  `, line)
	}
	page, err := os.ReadFile(filepath.Join(out, "performance.md"))
	require.NoError(t, err)
	assert.Equal(t, 9, strings.Count(string(page), "\n- **")-3, "each row is explained")
	assert.Contains(t, string(page), "](performance.svg)")
	plot, err := os.ReadFile(filepath.Join(out, "performance.svg"))
	require.NoError(t, err)
	assert.Contains(t, string(plot), "reads a second")

	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "the bench leaves files behind")
}

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"-rows=nothing"}, `no "nothing" to measure, but load, reads, burst, revoke, unmount, memory`},
		{[]string{"-rows=load", "-out=."}, "leave out the choice of rows"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "./cmd/bench"}, row.args...)...)
		said, err := vaulttest.Run(cmd, "")
		require.NoError(t, err)
		assert.Equal(t, 1, said.Code) // go run's, whatever the program's
		assert.Contains(t, said.Stderr, row.says)
		assert.Contains(t, said.Stderr, "exit status 2")
	}
}
