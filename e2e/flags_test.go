package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// A program that is asked for help gives it and does nothing else, and one that is given an
// option that it has not says so once.
func TestHelpAndUnknownOptions(t *testing.T) {
	t.Parallel()
	plugin, err := vaulttest.PluginBinary()
	require.NoError(t, err)
	for _, row := range []struct{ name, program, help string }{
		{"the plugin", plugin, vaulttest.PluginName + " is started by Vault; by hand only -version is of use\n"},
		{"demo", goBuild(t, "", nil, "./cmd/demo"), "demo shows the engine at work"},
		{"dev", goBuild(t, "", nil, "./cmd/dev"), "Usage of "},
		{"soak-engine", goBuild(t, "", nil, "./cmd/soak-engine"), "Usage of soak-engine:\n"},
		{"bench-engine", goBuild(t, "", nil, "./cmd/bench-engine"), "Usage of bench-engine:\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for arg, want := range map[string]int{"-h": 0, "-bogus": 2} {
				out, err := vaulttest.Run(exec.CommandContext(t.Context(), row.program, arg), "")
				require.NoError(t, err)
				assert.Equal(t, want, out.Code, arg)
				assert.Empty(t, out.Stdout, arg)
				help := out.Stderr
				if want != 0 {
					var complaint string
					complaint, help, _ = strings.Cut(help, "\n")
					assert.Equal(t, "flag provided but not defined: -bogus", complaint)
				}
				assert.True(t, strings.HasPrefix(help, row.help), out.Stderr)
				assert.NotContains(t, help, "-bogus")
			}
		})
	}
}
