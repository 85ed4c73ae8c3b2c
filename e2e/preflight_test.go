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

// What a machine lacks is said in one line each, with the way to get it.
func TestPreflight(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../scripts/preflight.sh")
	require.NoError(t, err)
	for _, row := range []struct {
		name, programs, env string
		binIsAFile          bool
		says                []string // a text in each line
	}{
		{"all is there", "go git gcc", "CC=gcc", false, nil},
		{"no git", "go gcc", "CC=gcc", false, []string{"there is no git: install it (apt-get install git"}},
		{"no C compiler", "go git", "CC=gcc", false, []string{"there is no C compiler (gcc) for the race detector: install one (apt-get install gcc"}},
		{"another C compiler that is not there", "go git gcc", "CC=my-cc -m64", false, []string{"there is no C compiler (my-cc -m64)"}},
		{"no cgo", "go git gcc", "CGO_ENABLED=0", false, []string{"unset CGO_ENABLED"}},
		{"no Go", "git gcc", "", false, []string{"there is no Go: get 1.26 or newer from https://go.dev/dl"}},
		{"a folder that cannot be written to", "go git gcc", "CC=gcc", true, []string{"/bin, where all programs are built: work in a clone of your own"}},
		{"neither git nor a C compiler", "go", "CC=gcc", false, []string{"no git", "no C compiler"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "scripts"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "scripts/preflight.sh"), script, 0o700))
			if row.binIsAFile { // permissions would not stop root, who may run this
				require.NoError(t, os.WriteFile(filepath.Join(dir, "bin"), nil, 0o600))
			}
			path := pathOf(t, append(strings.Fields(row.programs), "bash", "dirname", "mkdir", "rm")...)
			cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts/preflight.sh"), "git", "compiler", "bin")
			cmd.Env = append(os.Environ(), "PATH="+path, row.env)
			out, err := vaulttest.Run(cmd, "")
			require.NoError(t, err)
			assert.Equal(t, len(row.says) > 0, out.Code == 1, out.Stderr)
			assert.Empty(t, out.Stdout)
			lines := strings.FieldsFunc(out.Stderr, func(r rune) bool { return r == '\n' })
			require.Len(t, lines, len(row.says), out.Stderr)
			for i, text := range row.says {
				assert.Contains(t, lines[i], text)
			}
			left, err := filepath.Glob(filepath.Join(dir, "bin", ".*"))
			require.NoError(t, err)
			assert.Empty(t, left, "what it tries leaves nothing")
		})
	}
}

// Checks run side by side. The output of each is whole, and one that fails is told twice.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../scripts/side-by-side.sh")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Makefile"), []byte(`
slow:
	@echo slow begins; sleep 1; echo slow ends
quick:
	@echo quick; echo to stderr >&2
broken:
	@echo broken; exit 3
last:
	@test -e after; echo last
after:
	@touch after
hangs:
	@sleep 600 & echo $$$$ >pid; sleep 600
`), 0o600))
	run := func(lanes ...string) (code int, said string) {
		cmd := exec.CommandContext(t.Context(), script, lanes...)
		cmd.Dir = dir
		out, failed := vaulttest.Run(cmd, "")
		require.NoError(t, failed)
		assert.Empty(t, out.Stderr)
		return out.Code, out.Stdout
	}
	code, said := run("slow after", "nice quick", "then", "last")
	assert.Zero(t, code, said)
	assert.Contains(t, said, "slow begins\nslow ends\n==> slow: passed in ")
	assert.Contains(t, said, "quick\nto stderr\n==> quick: passed in ")
	assert.Contains(t, said, "last\n==> last: passed in ")
	assert.Contains(t, said, "\n==> all 4 checks passed in ")

	code, said = run("broken quick", "slow")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "==> broken: FAILED after ")
	assert.Contains(t, said, "==> quick: passed", "the lane goes on")
	assert.Contains(t, said, "\n==> once more, since it FAILED: broken\nbroken\n")
	assert.Contains(t, said, "\n==> FAILED: broken; 2 checks passed, in ")

	p := start(t, dir, os.Environ(), script, "hangs", "slow")
	require.Eventually(t, func() bool { return strings.Contains(p.said(), "slow: passed") }, soon, often)
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	require.NoError(t, err)
	assert.Equal(t, 130, p.endBy(t, os.Interrupt))
	assert.Contains(t, p.said(), "interrupted: ending what runs")
	assert.NoDirExists(t, "/proc/"+strings.TrimSpace(string(pid)), "what it ran has ended")
}
