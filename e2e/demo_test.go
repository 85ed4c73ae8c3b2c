package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// builtProgram is a program of cmd/ that runs a Vault, such as that behind `make demo`, with a
// directory that all of its files are in.
type builtProgram struct {
	t            *testing.T
	program, tmp string
}

func buildProgram(t *testing.T, name string) *builtProgram {
	t.Helper()
	//nolint:usetesting // a short path: the plugin's socket is in it, and sockets' paths are limited
	tmp, err := os.MkdirTemp("", name+"-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(tmp)) })
	return &builtProgram{t: t, program: goBuild(t, "", nil, "./cmd/"+name), tmp: tmp}
}

// env names a Palette, or none where it is nil.
func (d *builtProgram) env(palette *palettetest.Server) []string {
	env := append(os.Environ(), "TMPDIR="+d.tmp)
	for _, name := range []string{"ADDRESS", "EMAIL", "ORG", "PASSWORD"} {
		env = append(env, "PALETTE_"+name+"=")
	}
	if palette == nil {
		return env
	}
	user := palettetest.DefaultUser
	return append(env, "PALETTE_ADDRESS="+palette.URL(), "PALETTE_EMAIL="+user.Email, "PALETTE_ORG="+user.Org, "PALETTE_PASSWORD="+user.Password)
}

// leavesNothing checks that the program has ended what it started: its files are gone, and
// no process has one of them open as its program or on its command line.
func (d *builtProgram) leavesNothing() {
	d.t.Helper()
	left, err := os.ReadDir(d.tmp)
	require.NoError(d.t, err)
	assert.Empty(d.t, left)
	processes, err := process.Processes()
	require.NoError(d.t, err)
	for _, p := range processes {
		exe, _ := p.Exe()
		line, _ := p.Cmdline()
		assert.NotContains(d.t, exe+" "+line, d.tmp+"/", "a process is left behind")
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "demo")
	takeSlots(t, 1)
	for _, row := range []struct {
		name    string
		palette *palettetest.Server
		says    string
	}{
		{"with the stand-in", nil, "the stand-in for Palette at http://127.0.0.1:"},
		{"with a Palette by name", palettetest.New(t), "a real Palette at http://127.0.0.1:"},
	} {
		t.Run(row.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), d.program)
			cmd.Env = d.env(row.palette)
			out, err := vaulttest.Run(cmd, "")
			require.NoError(t, err)
			require.Zero(t, out.Code, out.Stdout+out.Stderr)
			assert.Contains(t, out.Stdout, row.says)
			assert.Contains(t, out.Stdout, "It all worked")
			assert.Contains(t, out.Stdout, "token              eyJhbGci…\n")
			assert.NotRegexp(t, `eyJ[\w-]{6}`, out.Stdout, "tokens are cut short")
			assert.NotContains(t, out.Stdout, palettetest.DefaultUser.Password)
			if row.palette != nil {
				assert.Len(t, row.palette.Issued(), 3, "the config's check, the read and the renewal")
			}
			d.leavesNothing()
		})
	}
}

func TestDemoWantsAllOfAPaletteOrNone(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "demo")
	cmd := exec.CommandContext(t.Context(), d.program)
	cmd.Env = append(d.env(nil), "PALETTE_ADDRESS=https://palette.example.com", "PALETTE_ORG=example")
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	assert.Equal(t, 1, out.Code)
	assert.Contains(t, out.Stderr, "not PALETTE_EMAIL, PALETTE_PASSWORD")
	assert.Empty(t, out.Stdout)
	d.leavesNothing()
}

// Interrupted with a token alive, and when Palette fails, the demo cleans up as well.
func TestDemoCleansUp(t *testing.T) {
	t.Parallel()
	d := buildProgram(t, "demo")
	takeSlots(t, 1)
	palette := palettetest.New(t) // which fails the test when a token is alive at its end
	t.Run("interrupted", func(t *testing.T) {
		gate := palette.Hold(palettetest.UserInfo)
		defer gate.Release()
		p := start(t, "", d.env(palette), d.program)
		<-gate.Arrived()
		require.Len(t, palette.LiveTokens(), 1)
		assert.Equal(t, 1, p.end(t))
		assert.Contains(t, p.said(), "interrupted")
		assert.NotContains(t, p.said(), "It all worked")
		assert.Empty(t, palette.LiveTokens())
		d.leavesNothing()
	})
	t.Run("failed", func(t *testing.T) {
		palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 500})
		cmd := exec.CommandContext(t.Context(), d.program)
		cmd.Env = d.env(palette)
		out, err := vaulttest.Run(cmd, "")
		require.NoError(t, err)
		assert.Equal(t, 1, out.Code)
		assert.True(t, strings.HasPrefix(out.Stderr, "demo: Renew the lease"), out.Stderr)
		assert.Empty(t, palette.LiveTokens())
		d.leavesNothing()
	})
}
