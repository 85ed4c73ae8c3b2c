package palettesecrets

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
)

// SECURITY.md names, for what it claims, the test that shows it.
func TestSecurityClaimsNameTestsThatThereAre(t *testing.T) {
	tests := enginetest.Tests(t, ".")
	text, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		assert.NotEmpty(t, tests[name[1]], name[1])
	}
}
