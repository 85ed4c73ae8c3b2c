package palette

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

// SECURITY.md names a test for each claim. One that is renamed or deleted would leave the
// claim without its proof.
func TestTheThreatModelNamesTestsThatExist(t *testing.T) {
	document, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	declared := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declaration.FindAllStringSubmatch(string(text), -1) {
			declared[found[1]] = true
		}
		return err
	}))
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(string(document), -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		assert.True(t, declared[name[1]], "there is no %s", name[1])
	}
}
