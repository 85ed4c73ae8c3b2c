package e2e

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// pluginPackage is the plugin's, in its module.
const pluginPackage = "./cmd/" + vaulttest.PluginName

// goBuild builds a package of the module in dir, once a run, and returns the program. Who wants
// to change or remove the program makes a copy.
func goBuild(t *testing.T, dir string, env []string, pkg string, args ...string) (program string) {
	t.Helper()
	program, said, err := tryGoBuild(dir, env, pkg, args...)
	require.NoError(t, err, said)
	return program
}

// built is what became of a build.
type built struct {
	program, said string
	err           error
}

// builds are those of this run. They come one after the other, each with all processors.
var builds struct {
	mu   sync.Mutex
	dir  string
	done map[string]built
}

// tryGoBuild is goBuild that may fail, of which it returns what was said.
func tryGoBuild(dir string, env []string, pkg string, args ...string) (program, said string, err error) {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	key := fmt.Sprint(dir, env, pkg, args)
	b, found := builds.done[key]
	if !found {
		b = buildOnce(dir, env, pkg, args)
		if builds.done == nil {
			builds.done = make(map[string]built)
		}
		builds.done[key] = b
	}
	return b.program, b.said, b.err
}

func buildOnce(dir string, env []string, pkg string, args []string) (b built) {
	if builds.dir == "" {
		if builds.dir, b.err = os.MkdirTemp("", "vault-e2e-builds-"); b.err != nil {
			return b
		}
	}
	b.program = filepath.Join(builds.dir, strconv.Itoa(len(builds.done)), path.Base(pkg))
	cmd := exec.Command("go", slices.Concat([]string{"build", "-buildvcs=false", "-o", b.program}, args, []string{pkg})...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	b.said, b.err = string(out), err
	return b
}

// removeBuilds removes what was built, at the end of the run. Nothing can be built afterwards.
func removeBuilds() {
	builds.mu.Lock()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir)
	}
}

// copyOf is a copy of a program that was built, for a test that moves or changes it.
func copyOf(t *testing.T, program string) string {
	t.Helper()
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	program = filepath.Join(t.TempDir(), filepath.Base(program))
	require.NoError(t, os.WriteFile(program, content, 0o700))
	return program
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
	program, said, err := tryGoBuild("..", []string{"CGO_ENABLED=1"}, pluginPackage, "-race")
	if strings.Contains(said, "C compiler") || strings.Contains(said, "-race is not supported") {
		t.Skipf("the race detector cannot be had on this machine: %s", said)
	}
	require.NoError(t, err, said)
	info, err := buildinfo.ReadFile(program)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" }))
	return program
}
