package enginetest

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Generated holds a file that the code writes against what the code would write now. Under `make docs`,
// which sets UPDATE_DOCS, the file is written instead.
func Generated(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	have, err := os.ReadFile(path) //nolint:gosec // a file of the repository, which the test names
	require.NoError(t, err, "run make docs")
	if string(have) == want {
		return
	}
	was, now := strings.Split(string(have), "\n"), strings.Split(want, "\n")
	at := 0
	for at < min(len(was), len(now))-1 && was[at] == now[at] {
		at++
	}
	t.Errorf("%s is stale: run make docs, and commit what it writes.\nline %d is     %s\nand must be %s", path, at+1, was[at], now[at])
}
