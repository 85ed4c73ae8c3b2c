package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// The loop of `make dev`: try, change, reload, and what a build that fails leaves.
func TestDev(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "dev")
	palette := palettetest.New(t) // which fails the test when a token is alive at its end
	plugin, changed, pidFile := buildPlugin(t, "..", "v0.0.1"), buildPlugin(t, "..", "v0.0.2"), filepath.Join(t.TempDir(), "pid")
	build := fmt.Sprintf("echo building; mv %s %s", changed, plugin) // of which the second one fails

	p := start(t, "", append(d.env(palette), "PLUGIN_BIN="+plugin), d.program, "-build", build, "-pid", pidFile)
	says := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(p.said(), text) }, 3*soon, often, "it must say %q", text)
	}
	says("Ctrl-C: end all")
	assert.Contains(t, p.said(), "Vault with the plugin v0.0.1;")
	config := api.DefaultConfig()
	found := regexp.MustCompile(`export VAULT_ADDR=(\S+) VAULT_TOKEN=(\S+)\n`).FindStringSubmatch(p.said())
	require.NotNil(t, found)
	config.Address = found[1]
	client, err := api.NewClient(config)
	require.NoError(t, err)
	client.SetToken(found[2])
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
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	says("reloaded; the plugin is v0.0.2")
	read("app", "token")

	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	says("the build failed (exit status 1); the old plugin goes on")
	read("app", "token")

	require.Zero(t, p.endBy(t, os.Interrupt))
	assert.Contains(t, p.said(), "nothing is left running")
	assert.Empty(t, leaksIn("its output", p.said(), append(palette.Issued(), palette.Passwords()...)))
	assert.Empty(t, palette.LiveTokens())
	assert.NoFileExists(t, pidFile)
	d.leavesNothing()
}
