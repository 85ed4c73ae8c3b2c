package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Generated holds a file that the code writes against what the code would write now. Under `make docs`,
// which sets UPDATE_DOCS, the file is written instead.
func Generated(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err, "run make docs")
	assert.Equal(t, want, string(have), "%s is stale: run make docs, and commit what it writes", path)
}
