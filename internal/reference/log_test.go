package reference

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logged are the messages of the engine's log: the constants that name one, and those that a call
// names itself.
var logged = regexp.MustCompile(`(?:\bMsg\w+ *= *|Logger\(\)\.(?:Warn|Error|Info|Debug)\()"([^"]+)"`)

// docs/how-to/troubleshoot.md says what each line of the log means.
func TestDocsNameEachLineOfTheLog(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/troubleshoot.md")
	require.NoError(t, err)
	lines := 0
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		notOurs := d.IsDir() && (d.Name() == "e2e" || d.Name() == "examples" || d.Name() == "tools" || d.Name() == "bin" || d.Name() == "palettetest")
		if err != nil || notOurs {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, found := range logged.FindAllStringSubmatch(string(source), -1) {
			lines++
			assert.Contains(t, string(page), "`"+found[1]+"`", path)
		}
		return err
	}))
	assert.Greater(t, lines, 30)
}
