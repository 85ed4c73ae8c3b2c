package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	examplesDir = "../examples"
	// exampleLife is a token's: the Agent reads the next one when a quarter of it is left, or less,
	// and a busy machine has these seconds to bring it.
	exampleLife = 20 * time.Second
)

// examples is a server that examples/setup.sh has set up: the engine at "palette", its
// roles and the policies. What the files of examples/ name is there.
type examples struct {
	t       *testing.T
	vault   *server
	api     *api.Client
	palette *palettetest.Server
	calls   *recorder
}

// TestExamples runs the very files of examples/. Nobody's call may be answered 401.
func TestExamples(t *testing.T) {
	t.Parallel()
	x := &examples{t: t, palette: palettetest.New(t, palettetest.WithLifetime(exampleLife))}
	x.calls = newRecorder(t, x.palette)
	x.vault = bareServer(t, vaulttest.InMemory)
	watchPalette(x.vault, x.palette)
	client, err := x.vault.Client()
	require.NoError(t, err)
	x.api = client
	x.setUp(t)
	x.setUp(t) // each command can be run again
	t.Run("all", func(t *testing.T) {
		t.Run("agent", func(t *testing.T) { t.Parallel(); x.agent(t) })
		t.Run("app", func(t *testing.T) { t.Parallel(); x.app(t) })
		t.Run("shell", func(t *testing.T) { t.Parallel(); x.shell(t) })
		t.Run("metrics", func(t *testing.T) { t.Parallel(); x.metrics(t) })
		t.Run("terraform", func(t *testing.T) { t.Parallel(); x.terraform(t) })
	})
	assert.Empty(t, x.calls.that(func(c recorded) bool { return c.status == 401 }), "nobody presents a dead token")
	require.NoError(t, client.Sys().UnmountWithContext(t.Context(), "palette"))
}

// setUp runs examples/setup.sh.
func (x *examples) setUp(t *testing.T) {
	t.Helper()
	user := palettetest.DefaultUser
	cmd := exec.CommandContext(t.Context(), filepath.Join(examplesDir, "setup.sh"))
	cmd.Env = append(x.vault.Env(), "PLUGIN="+x.vault.Plugin(), "PALETTE_ADDRESS="+x.calls.URL,
		"PALETTE_EMAIL="+user.Email, "PALETTE_PASSWORD="+user.Password, "PALETTE_ORG="+user.Org)
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stdout+out.Stderr)
	assert.Empty(t, leaksIn("its output", out.Stdout+out.Stderr, []string{user.Password}))
}

// env is the environment of a program that has a Vault token with one policy alone.
func (x *examples) env(t *testing.T, policy string, more ...string) []string {
	t.Helper()
	created, err := x.api.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{policy}, NoDefaultPolicy: true})
	require.NoError(t, err)
	// The last one of a name counts.
	return append(append(x.vault.Env(), "VAULT_TOKEN="+created.Auth.ClientToken), more...)
}

// program is one that runs beside the test.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// Write implements io.Writer.
func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(text)
}

// said is what the program has printed.
func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// start starts a program, which is killed at the test's end where it still runs. What it
// said is shown when the test fails.
func start(t *testing.T, dir string, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(t.Context(), name, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, p, p
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.said())
		}
	})
	return p
}

// end asks a program to end and returns its exit status.
func (p *program) end(t *testing.T) int {
	t.Helper()
	return p.endBy(t, syscall.SIGTERM)
}

// endBy is end by another signal.
func (p *program) endBy(t *testing.T, signal os.Signal) int {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
	require.Eventually(t, func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	}, soon, often, "the program must end")
	return p.cmd.ProcessState.ExitCode()
}

// startApp builds and starts examples/app, which calls Palette ten times a second.
func (x *examples) startApp(t *testing.T, more ...string) *program {
	t.Helper()
	binary := goBuild(t, filepath.Join(examplesDir, "app"), []string{"GOWORK=off"}, "example.com/palette-app")
	return start(t, "", x.env(t, "palette-app", append(more, "POLL_INTERVAL=100ms")...), binary)
}

// ofApp tells whether a call is examples/app's.
func ofApp(c recorded) bool {
	return c.path == "/v1/projects/alerts" && strings.HasPrefix(c.agent, "Go-http-client")
}

// app runs examples/app for three lifetimes.
func (x *examples) app(t *testing.T) {
	p := x.startApp(t)
	require.Eventually(t, func() bool {
		calls := x.calls.that(ofApp)
		return len(calls) > 0 && calls[len(calls)-1].at.Sub(calls[0].at) >= 3*exampleLife
	}, 3*exampleLife+soon, often, "it must call Palette for three lifetimes")
	calls := x.calls.that(ofApp)
	assert.Greater(t, len(calls), 100)
	for _, c := range calls {
		require.Equal(t, 200, c.status)
	}
	used := tokens(calls)
	assert.Equal(t, 1, strings.Count(p.said(), `msg="read a token"`), "one lease for all of the time")
	assert.GreaterOrEqual(t, strings.Count(p.said(), "msg=renewed"), 3)
	assert.GreaterOrEqual(t, len(used), 4, "it uses what the renewals bring")

	require.Zero(t, p.end(t))
	assert.Contains(t, p.said(), "revoked the lease")
	for _, token := range used {
		assert.False(t, x.palette.Alive(token), "its lease is revoked, and so are its tokens")
	}
	assert.Empty(t, leaksIn("what it said", p.said(), used))
}

// shell runs examples/shell/palette-alerts.sh.
func (x *examples) shell(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("examples/shell needs curl, and there is none on this machine")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(examplesDir, "shell", "palette-alerts.sh"))
	cmd.Env = x.env(t, "palette-app")
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stderr)
	assert.Contains(t, out.Stdout, "ClusterHealth")
	calls := x.calls.that(func(c recorded) bool { return strings.HasPrefix(c.agent, "curl/") })
	require.Len(t, calls, 1)
	assert.False(t, x.palette.Alive(calls[0].token), "the script revokes what it has read")
	assert.Empty(t, leaksIn("what it said", out.Stdout+out.Stderr, []string{calls[0].token}))
}

// metrics reads the mount's metrics with the policy for Prometheus, which allows nothing else.
func (x *examples) metrics(t *testing.T) {
	for path, allowed := range map[string]bool{"palette/metrics": true, "palette/config": false, "palette/creds/app": false} {
		cmd := exec.CommandContext(t.Context(), x.vault.Vault(), "read", "-format=raw", path)
		cmd.Env = x.env(t, "palette-metrics")
		out, err := vaulttest.Run(cmd, "")
		require.NoError(t, err)
		assert.Equal(t, allowed, out.Code == 0, path+": "+out.Stderr)
		assert.Equal(t, allowed, strings.Contains(out.Stdout, "vault_palette_calls_total"), path)
	}
}
