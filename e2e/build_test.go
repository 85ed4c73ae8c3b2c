package e2e

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// pluginPackage is the plugin's, in its module.
const pluginPackage = "./cmd/" + vaulttest.PluginName

// goBuild builds a package of the module in dir, and returns the program.
func goBuild(t *testing.T, dir string, env []string, pkg string, args ...string) (program string) {
	t.Helper()
	program, said, err := tryGoBuild(t, dir, env, pkg, args...)
	require.NoError(t, err, said)
	return program
}

// tryGoBuild is goBuild that may fail, of which it returns what was said.
func tryGoBuild(t *testing.T, dir string, env []string, pkg string, args ...string) (program, said string, err error) {
	t.Helper()
	program = filepath.Join(t.TempDir(), path.Base(pkg))
	args = slices.Concat([]string{"build", "-buildvcs=false", "-o", program}, args, []string{pkg})
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return program, string(out), err
}

// buildPlugin builds a version of the plugin from its source; older ones have no
// scripts/build.sh.
func buildPlugin(t *testing.T, source, version string) (program string) {
	t.Helper()
	began := time.Now()
	program = goBuild(t, source, []string{"CGO_ENABLED=0"}, pluginPackage, "-trimpath", "-ldflags", "-X main.version="+version)
	t.Logf("built %s in %.1f s", version, time.Since(began).Seconds())
	return program
}

// raceBuild builds the plugin with the race detector, which needs a C compiler.
func raceBuild(t *testing.T) (program string) {
	t.Helper()
	// By the plugin's own module.
	program, said, err := tryGoBuild(t, "..", []string{"CGO_ENABLED=1"}, pluginPackage, "-race")
	if strings.Contains(said, "C compiler") || strings.Contains(said, "-race is not supported") {
		t.Skipf("the race detector cannot be had on this machine: %s", said)
	}
	require.NoError(t, err, said)
	built, err := buildinfo.ReadFile(program)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(built.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" }))
	return program
}
