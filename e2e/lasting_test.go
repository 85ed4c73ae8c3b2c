package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// lastingLife lets a server start anew while a session is fresh, which it is for a third of its
// life, and the session's next refresh be awaited.
const lastingLife = 60 * time.Second

// readAgain is a read after something has happened to the server or its plugin. The
// request that starts the plugin anew may fail.
func (f *fixture) readAgain() string {
	f.t.Helper()
	var token string
	require.Eventually(f.t, func() bool {
		secret, err := f.creds("app")
		if err != nil {
			f.t.Logf("reading: %v", err)
			return false
		}
		token = tokenOf(f.t, secret)
		return true
	}, soon, often)
	return token
}

// Nothing that is open is lost by what may happen to a server. Leases and the shared session go on, pending
// revocations are retried, and an interrupted rotation is recovered.
func TestWhatIsOpenOutlives(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	o := open(newMount(t, v, palettetest.WithLifetime(palettetest.DefaultLifetime)), apiKeys)
	for _, row := range []struct {
		name string
		do   func()
	}{
		{"a reload of the plugin", func() { o.cli("plugin", "reload", "-plugin="+vaulttest.PluginName) }},
		{"a reload of the mount", func() { // which the CLI of some versions asks for at a path that there is not
			_, err := o.api.Logical().WriteWithContext(t.Context(), "sys/plugins/reload/backend", map[string]any{"mounts": o.mount})
			require.NoError(t, err)
		}},
		{"a killed plugin", func() { require.Positive(t, v.KillPlugins()) }},
		{"a seal", func() {
			o.cli("operator", "seal")
			require.NoError(t, v.Unseal(t.Context()))
		}},
		{"a killed server", func() {
			v.Kill()
			require.NoError(t, v.Restart(t.Context()))
		}},
	} {
		row.do()
		o.goesOn(row.name)
	}
	o.ends()
	o.cli("secrets", "disable", o.mount)
	o.nothingBut() // the mount's end is the session's
}

// A new process refreshes a session that the old one has logged in for.
func TestASharedSessionIsRefreshedByTheNextProcess(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	f := newShared(t, v, lastingLife)
	first := tokenOf(t, f.read())
	v.Kill()
	require.NoError(t, v.Restart(t.Context()))
	assert.Equal(t, first, f.readAgain())
	require.Eventually(t, func() bool { return f.readAgain() != first }, lastingLife, often)
	assert.Equal(t, 1, f.palette.Calls(palettetest.Refresh))
	assert.Equal(t, 2, f.palette.Calls(palettetest.Login), "the config's check and the first read")
}

// Before Vault seals, or reloads a mount, it lets the requests that are under way come to
// their end: reads that wait for their turn get their tokens. A server whose seal cuts requests off
// gives these reads an error, and the engine ends the tokens that come for them.
func TestReadsUnderWayAreServedBefore(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	for _, row := range []struct {
		name    string
		end     func(f *fixture)
		cutsOff bool
	}{
		{"a reload", func(f *fixture) { f.cli("plugin", "reload", "-plugin="+vaulttest.PluginName) }, false},
		{"a seal", func(f *fixture) {
			f.cli("operator", "seal")
			require.NoError(t, v.Unseal(t.Context()))
		}, v.Product().SealCutsOff()},
	} {
		t.Run(row.name, func(t *testing.T) {
			const reads, perSecond = 10, 2
			f := newMount(t, v, palettetest.WithLifetime(palettetest.DefaultLifetime))
			f.pace("", map[string]any{"rate_limit": perSecond})
			answers := make(chan []served)
			go func() { answers <- burst(t, reads, "app", f) }()
			arrived := func() (n int) {
				for line := range strings.Lines(v.Audit()) {
					if strings.Contains(line, `"type":"request"`) && strings.Contains(line, `"path":"`+f.mount+`/creds/app"`) {
						n++
					}
				}
				return n
			}
			require.Eventually(t, func() bool { return arrived() == reads }, soon, often)
			require.Less(t, f.palette.Calls(palettetest.Login), reads, "some wait")
			row.end(f)
			if all := <-answers; row.cutsOff {
				assert.True(t, slices.ContainsFunc(all, func(s served) bool { return s.err != nil }), "some are cut off")
			} else {
				assert.Len(t, allTokens(t, all), reads)
			}
			f.readAgain()
		})
	}
}
