package enginetest

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)

// Tests are the tests of the repository whose root is given: the files that have one of a name.
func Tests(t *testing.T, root string) map[string][]string {
	t.Helper()
	tests := make(map[string][]string)
	files := os.DirFS(root)
	require.NoError(t, fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "dist"}, path):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(files, path)
		for _, found := range testFunc.FindAllSubmatch(text, -1) {
			tests[string(found[1])] = append(tests[string(found[1])], path)
		}
		return err
	}))
	return tests
}
