package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// pathOf is a PATH of some programs alone.
func pathOf(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		program, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(program, filepath.Join(dir, name)))
	}
	return dir
}

// The loop of `make dev`: try, change, reload, and what a build that fails leaves.
func TestDev(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "dev")
	takeSlots(t, 1)
	palette := palettetest.New(t) // which fails the test when a token is alive at its end
	plugin, changed := copyOf(t, buildPlugin(t, "..", "v0.0.1")), copyOf(t, buildPlugin(t, "..", "v0.0.2"))
	pidFile := filepath.Join(t.TempDir(), "pid")
	build := fmt.Sprintf("echo building; mv %s %s || { echo broken; exit 1; }", changed, plugin) // of which the second one fails

	p := start(t, "", append(d.env(palette), "PLUGIN_BIN="+plugin, "PATH="+pathOf(t, "sh", "mv")), d.program, "-build", build, "-pid", pidFile)
	says := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(p.said(), text) }, 3*soon, often, "it must say %q", text)
	}
	says("Ctrl-C: end all")
	assert.Contains(t, p.said(), "Vault with the plugin v0.0.1;")
	config := api.DefaultConfig()
	found := regexp.MustCompile(`export PATH=(\S+):\$PATH\nexport VAULT_ADDR=(\S+) VAULT_TOKEN=(\S+)\n`).FindStringSubmatch(p.said())
	require.NotNil(t, found)
	assert.FileExists(t, filepath.Join(found[1], "vault"), "there is none on the PATH")
	config.Address = found[2]
	client, err := api.NewClient(config)
	require.NoError(t, err)
	client.SetToken(found[3])
	read := func(role, field string) {
		t.Helper()
		secret, failed := client.Logical().ReadWithContext(t.Context(), "palette/creds/"+role)
		require.NoError(t, failed)
		require.NotEmpty(t, secret.Data[field])
	}
	read("app", "token")
	read("app-key", "api_key")

	pid, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(p.cmd.Process.Pid), strings.TrimSpace(string(pid)))
	reload := func(code int, says string) {
		t.Helper()
		out, failed := vaulttest.Run(exec.CommandContext(t.Context(), d.program, "-reload", "-pid", pidFile), "")
		require.NoError(t, failed)
		assert.Equal(t, code, out.Code)
		assert.Contains(t, out.Stdout+out.Stderr, says)
	}
	reload(0, "building\n# reloaded; the plugin is v0.0.2\n")
	says("reloaded; the plugin is v0.0.2")
	read("app", "token")

	reload(1, "broken\n# the build failed (exit status 1); the old plugin goes on\ndev: the plugin was not reloaded\n")
	says("the build failed (exit status 1); the old plugin goes on")
	read("app", "token")

	require.Zero(t, p.endBy(t, os.Interrupt))
	assert.Contains(t, p.said(), "nothing is left running")
	assert.Empty(t, leaksIn("its output", p.said(), append(palette.Issued(), palette.Passwords()...)))
	assert.Empty(t, palette.LiveTokens())
	left, err := os.ReadDir(filepath.Dir(pidFile))
	require.NoError(t, err)
	assert.Empty(t, left)
	reload(1, "there is no make dev running here")
	d.leavesNothing()
}
