package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// forClients skips a test that only `make clients` is to run.
func forClients(t *testing.T) {
	t.Helper()
	if os.Getenv("CLIENTS") == "" {
		t.Skip("CLIENTS is not set: `make clients` runs what needs Python, Node.js and Prometheus")
	}
}

// lacks skips a test for what this machine lacks; in CI, where all of it is installed, that is a failure.
func lacks(t *testing.T, what, install string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %s", what, install)
	}
	t.Skipf("NOT RUN: %s is missing: %s", what, install)
}

// script is an application of examples/ that an interpreter runs.
type script struct {
	name    string
	agent   string // what its User-Agent at Palette begins with
	command func(t *testing.T) []string
}

var scripts = []script{
	{"python", "python-requests/", pythonCommand},
	{"node", "node", nodeCommand},
}

// pythonCommand finds a Python that has hvac: the system's, where Debian puts it, or the one on the PATH.
func pythonCommand(t *testing.T) []string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import hvac").Run() == nil {
			return []string{python, absolute(t, "python", "palette_app.py")}
		}
	}
	lacks(t, "hvac for Python", "apt-get install python3-hvac")
	return nil
}

// nodeCommand runs the application on what `npm ci` has installed beside it.
func nodeCommand(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		lacks(t, "Node.js", "get 18 or newer from https://nodejs.org")
	}
	if _, err := os.Stat(absolute(t, "node", "node_modules", "node-vault")); err != nil {
		lacks(t, "node-vault", "run npm ci in examples/node")
	}
	return []string{"node", absolute(t, "node", "palette-app.js")}
}

// absolute is the path of a file of examples/.
func absolute(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{examplesDir}, parts...)...))
	require.NoError(t, err)
	return path
}

// newClientsWorld is examples/setup.sh on a Vault that can be killed and started again. The roles' leases are short: a
// run of four lifetimes renews them and, at max_ttl, reads anew.
func newClientsWorld(t *testing.T) *examples {
	t.Helper()
	forClients(t)
	x := &examples{t: t, palette: palettetest.New(t, palettetest.WithLifetime(exampleLife))}
	x.calls = newRecorder(t, x.palette)
	x.vault = bareServer(t, vaulttest.Raft)
	watchPalette(x.vault, x.palette)
	client, err := x.vault.Client()
	require.NoError(t, err)
	x.api = client
	x.setUp(t)
	x.writeRoles(t)
	require.NoError(t, client.Sys().EnableAuthWithOptionsWithContext(t.Context(), "approle", &api.EnableAuthOptions{Type: "approle"}))
	return x
}

func (x *examples) writeRoles(t *testing.T) {
	t.Helper()
	for path, fields := range map[string]map[string]any{
		"app":     {"renewable": true, "max_ttl": "45s"},
		"app-key": {"credential_type": "api_key", "ttl": exampleLife.String(), "max_ttl": "45s"},
	} {
		_, err := x.api.Logical().WriteWithContext(t.Context(), "palette/roles/"+path, fields)
		require.NoError(t, err)
	}
}

// appRole makes an AppRole with the policies for tokens and keys, and returns how a program logs in by it.
func (x *examples) appRole(t *testing.T, ttl time.Duration) []string {
	t.Helper()
	name := mountName(t)
	write := func(path string, fields map[string]any) map[string]any {
		secret, err := x.api.Logical().WriteWithContext(t.Context(), "auth/approle/role/"+name+path, fields)
		require.NoError(t, err)
		if secret == nil {
			return nil
		}
		return secret.Data
	}
	write("", map[string]any{"token_policies": "palette-app,palette-terraform", "token_ttl": ttl.String(), "token_no_default_policy": true})
	write("/role-id", map[string]any{"role_id": name})
	secret, _ := write("/secret-id", nil)["secret_id"].(string)
	return append(x.vault.Env(), "VAULT_TOKEN=", "VAULT_ROLE_ID="+name, "VAULT_SECRET_ID="+secret)
}

// user is a program that uses credentials of one role.
type user struct {
	*program
	x    *examples
	name string
	mine func(recorded) bool
}

// startScript starts an application. It calls Palette ten times a second.
func (x *examples) startScript(t *testing.T, s script, role string, env []string) *user {
	t.Helper()
	command := s.command(t)
	env = append(env, "PALETTE_ROLE_PATH=palette/creds/"+role, "POLL_INTERVAL=0.1")
	p := start(t, t.TempDir(), env, command[0], command[1:]...)
	return &user{p, x, s.name + " with " + role, func(c recorded) bool {
		isKey := slices.Contains(x.palette.KeySecrets(), c.token)
		return strings.HasPrefix(c.agent, s.agent) && isKey == (role == "app-key")
	}}
}

// calls are those that it has made at Palette.
func (u *user) calls() []recorded { return u.x.calls.that(u.mine) }

// goesOn waits until a call has succeeded that was sent after a moment.
func (u *user) goesOn(t *testing.T, after time.Time, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		calls := u.calls()
		return len(calls) > 0 && calls[len(calls)-1].at.After(after) && calls[len(calls)-1].status == 200
	}, within, often, "%s must call Palette", u.name)
}

// neverDead checks that each call was made with a live credential.
func (u *user) neverDead(t *testing.T) {
	t.Helper()
	for _, c := range u.calls() {
		require.Equal(t, 200, c.status, u.name)
	}
}

// says waits for a text in what the program prints.
func (u *user) says(t *testing.T, text string, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(u.said(), text) }, within, often, "%s must say %q", u.name, text)
}

// ends ends the program. Its credentials are then dead, its leases revoked.
func (u *user) ends(t *testing.T) {
	t.Helper()
	used := tokens(u.calls())
	require.Zero(t, u.end(t), u.name)
	assert.Contains(t, u.said(), "revoked a lease", u.name)
	for _, credential := range used {
		assert.False(t, u.x.palette.Alive(credential) || u.x.palette.KeyAlive(credential), "%s: what it has used is dead", u.name)
	}
	assert.Empty(t, leaksIn("what it said", u.said(), used))
	t.Logf("%s: %d calls with %d credentials", u.name, len(u.calls()), len(used))
}

// over checks that no lease and no credential is left, and unmounts.
func (x *examples) over(t *testing.T) {
	t.Helper()
	for _, role := range []string{"app", "app-key"} {
		leases, err := x.api.Logical().ListWithContext(t.Context(), "sys/leases/lookup/palette/creds/"+role)
		require.NoError(t, err)
		assert.Nil(t, leases, "no lease of %s is left", role)
	}
	assert.Empty(t, x.palette.Keys())
	require.NoError(t, x.api.Sys().UnmountWithContext(t.Context(), "palette"))
}

// TestClientsForFourLifetimes has Vault killed and started again in the middle.
func TestClientsForFourLifetimes(t *testing.T) {
	t.Parallel()
	x := newClientsWorld(t)
	began := time.Now()
	t.Run("all", func(t *testing.T) {
		for _, s := range scripts {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				// A Vault token of 3 lifetimes ends on the way, and its leases with it.
				env := x.appRole(t, 3*exampleLife)
				users := []*user{x.startScript(t, s, "app", env), x.startScript(t, s, "app-key", env)}
				for _, u := range users {
					u.goesOn(t, began.Add(4*exampleLife), 4*exampleLife+soon)
					u.neverDead(t)
					assert.GreaterOrEqual(t, len(u.calls()), 200, u.name)
					u.ends(t)
				}
				assert.GreaterOrEqual(t, len(tokens(users[0].calls())), 4, "a token for each lifetime")
				assert.GreaterOrEqual(t, len(tokens(users[1].calls())), 2, "a key that is renewed stays the same until max_ttl")
			})
		}
		t.Run("Vault", func(t *testing.T) {
			t.Parallel()
			require.NoError(t, vaulttest.Pause(t.Context(), time.Until(began.Add(2*exampleLife))))
			x.vault.Kill()
			x.vault.KillPlugins()
			require.NoError(t, x.vault.Restart(t.Context()))
		})
	})
	x.over(t)
}

// TestExamplesAreShort: an example is read before it is used.
func TestExamplesAreShort(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"python/palette_app.py", "node/palette-app.js"} {
		text, err := os.ReadFile(filepath.Join(examplesDir, file))
		require.NoError(t, err)
		lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
		assert.LessOrEqual(t, len(lines), 60, "%s: lines that are not blank", file)
	}
}
