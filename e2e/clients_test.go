package e2e

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// script is an application of examples/ that an interpreter runs.
type script struct {
	name  string
	agent string // what its User-Agent at Palette begins with
	// command is what runs it, or what is missing, and how to install that.
	command func(t *testing.T) (command []string, missing string)
}

var scripts = []script{
	{"python", "python-requests/", pythonCommand},
	{"node", "node", nodeCommand},
}

// pythonCommand finds a Python that has hvac: the system's, where Debian puts it, or the one on the PATH.
func pythonCommand(t *testing.T) (command []string, missing string) {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import hvac").Run() == nil {
			return []string{python, absolute(t, "python/palette_app.py")}, ""
		}
	}
	return nil, "no Python here has hvac: apt-get install python3-hvac"
}

// nodeCommand runs the application on what `npm ci` has installed beside it.
func nodeCommand(t *testing.T) (command []string, missing string) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		return nil, "there is no Node.js: get 18 or newer (apt-get install nodejs npm)"
	}
	if _, err := os.Stat(absolute(t, "node/node_modules/node-vault")); err != nil {
		return nil, "node-vault is not installed: npm ci --prefix examples/node"
	}
	return []string{"node", absolute(t, "node/palette-app.js")}, ""
}

// notRun says what is missing. In CI nothing may be.
func notRun(t *testing.T, client, missing string) {
	t.Helper()
	t.Logf("NOT RUN: %s: %s", client, missing)
	require.NotEqual(t, "true", os.Getenv("CI"), "in CI nothing may be missing")
}

// runnable are the applications that can be run here.
func runnable(t *testing.T) map[*script][]string {
	t.Helper()
	commands := make(map[*script][]string)
	for i := range scripts {
		command, missing := scripts[i].command(t)
		if missing == "" {
			commands[&scripts[i]] = command
			continue
		}
		notRun(t, "examples/"+scripts[i].name, missing)
	}
	if len(commands) == 0 {
		t.Skip("nothing that this test runs is here")
	}
	return commands
}

// absolute is the path of a file of examples/.
func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(examplesDir, file))
	require.NoError(t, err)
	return path
}

// newClientsWorld is examples/setup.sh on a Vault that can be killed and started again. The roles' leases are short: a
// run of four lifetimes renews them and, at max_ttl, reads anew.
func newClientsWorld(t *testing.T) *examples { return clientsWorldOf(t, exampleLife) }

// clientsWorldOf is newClientsWorld with another life of tokens.
func clientsWorldOf(t *testing.T, life time.Duration) *examples {
	t.Helper()
	forClients(t)
	x := &examples{t: t, palette: palettetest.New(t, palettetest.WithLifetime(life))}
	x.calls = newRecorder(t, x.palette)
	x.vault = bareServer(t, vaulttest.Raft)
	watchPalette(x.vault, x.palette)
	client, err := x.vault.Client()
	require.NoError(t, err)
	x.api = client
	x.setUp(t)
	x.writeRoles(t)
	x.enableAppRole(t)
	return x
}

func (x *examples) writeRoles(t *testing.T) {
	t.Helper()
	for path, fields := range map[string]map[string]any{
		"app":       {"renewable": true, "max_ttl": "45s"},
		"app-agent": {"renewable": false},
		"app-key":   {"credential_type": "api_key", "ttl": exampleLife.String(), "max_ttl": "45s"},
	} {
		_, err := x.api.Logical().WriteWithContext(t.Context(), "palette/roles/"+path, fields)
		require.NoError(t, err)
	}
}

// appRole is the environment of a program that logs in by an AppRole of its own, which has the policies for tokens and keys.
func (x *examples) appRole(t *testing.T, ttl time.Duration) []string {
	t.Helper()
	name := "app-" + rand.Text()
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
	env  []string
	mine func(recorded) bool
}

// startScripts starts each application for a role. They call Palette ten times a second. env is made for each.
func (x *examples) startScripts(t *testing.T, role string, env func(*testing.T) []string) []*user {
	t.Helper()
	var users []*user
	for s, command := range runnable(t) {
		env := append(env(t), "PALETTE_ROLE_PATH=palette/creds/"+role, "POLL_INTERVAL=0.1")
		u := &user{program: start(t, t.TempDir(), env, command[0], command[1:]...), x: x, name: s.name + " with " + role, env: env}
		u.mine = func(c recorded) bool {
			isKey := slices.Contains(x.palette.KeySecrets(), c.token)
			return strings.HasPrefix(c.agent, s.agent) && isKey == (role == "app-key")
		}
		users = append(users, u)
		u.goesOn(t, time.Now(), soon)
	}
	return users
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
	// A Vault token of 3 lifetimes ends on the way, and its leases with it.
	env := func(t *testing.T) []string { return x.appRole(t, 3*exampleLife) }
	began := time.Now()
	users := append(x.startScripts(t, "app", env), x.startScripts(t, "app-key", env)...)
	require.NoError(t, vaulttest.Pause(t.Context(), time.Until(began.Add(2*exampleLife))))
	x.restartVault(t, 0)
	require.NoError(t, vaulttest.Pause(t.Context(), time.Until(began.Add(4*exampleLife))))
	for _, u := range users {
		u.goesOn(t, began.Add(4*exampleLife), soon)
		u.neverDead(t)
		assert.GreaterOrEqual(t, len(u.calls()), 200, u.name)
		assert.GreaterOrEqual(t, len(tokens(u.calls())), 2, "%s: max_ttl is over", u.name)
		u.ends(t)
	}
	x.over(t)
}

// restartVault kills Vault, and starts it again after a while.
func (x *examples) restartVault(t *testing.T, after time.Duration) {
	t.Helper()
	x.vault.Kill()
	x.vault.KillPlugins()
	require.NoError(t, vaulttest.Pause(t.Context(), after))
	require.NoError(t, x.vault.Restart(t.Context()))
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
