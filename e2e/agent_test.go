package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// agent runs a Vault Agent on examples/agent for four lifetimes of a token, and tries what is in its
// file at Palette all along.
func (x *examples) agent(t *testing.T) {
	logins := x.palette.Calls(palettetest.Login)
	p, file := x.startAgent(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*exampleLife)
	defer cancel()
	var held []string
	tries := 0
	for ticker := time.NewTicker(often); ctx.Err() == nil; tries++ {
		token := tokenIn(file)
		require.NotEmpty(t, token, "the file is never without a token")
		if len(held) == 0 || held[len(held)-1] != token {
			held = append(held, token)
		}
		status, err := callPalette(t.Context(), x.calls.URL, token)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "the file never holds a dead token")
		select {
		case <-ctx.Done():
			ticker.Stop()
		case <-ticker.C:
		}
	}
	t.Logf("%d different tokens in %d looks", len(held), tries)
	assert.Greater(t, tries, 100)
	assert.GreaterOrEqual(t, len(held), 5, "one for each lifetime, and the first")
	assert.GreaterOrEqual(t, x.palette.Calls(palettetest.Login)-logins, len(held))
	for _, token := range held[:len(held)-3] {
		assert.False(t, x.palette.Alive(token))
	}
	require.Zero(t, p.end(t))
	assert.Empty(t, leaksIn("what the Agent said", p.said(), held))
}

// startAgent starts an Agent on examples/agent, and returns the file that it has filled.
func (x *examples) startAgent(t *testing.T, more ...string) (*program, string) {
	t.Helper()
	dir := x.agentDir(t)
	env := append(append(x.vault.Env(), "VAULT_TOKEN="), more...) // it logs in by itself
	p := start(t, dir, env, x.vault.Vault(), "agent", "-config=agent.hcl")
	file := filepath.Join(dir, "palette.env")
	require.Eventually(t, func() bool { return tokenIn(file) != "" }, soon, often, "the Agent must fill its file")
	return p, file
}

// agentDir is a directory as examples/agent/agent.hcl wants it.
func (x *examples) agentDir(t *testing.T) string {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	put := func(name string, content []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	for _, name := range []string{"agent.hcl", "palette.env.ctmpl"} {
		content, err := os.ReadFile(filepath.Join(examplesDir, "agent", name))
		require.NoError(t, err)
		put(name, []byte(x.vault.Product().AgentConfig(string(content))))
	}
	x.enableAppRole(t)
	_, err := x.api.Logical().WriteWithContext(ctx, "auth/approle/role/agent", map[string]any{"token_policies": "palette-agent"})
	require.NoError(t, err)
	role, err := x.api.Logical().ReadWithContext(ctx, "auth/approle/role/agent/role-id")
	require.NoError(t, err)
	put("role-id", []byte(role.Data["role_id"].(string)))
	secret, err := x.api.Logical().WriteWithContext(ctx, "auth/approle/role/agent/secret-id", nil)
	require.NoError(t, err)
	put("secret-id", []byte(secret.Data["secret_id"].(string)))
	return dir
}

// enableAppRole enables the auth method that the programs log in by, unless it is.
func (x *examples) enableAppRole(t *testing.T) {
	t.Helper()
	methods, err := x.api.Sys().ListAuthWithContext(t.Context())
	require.NoError(t, err)
	if methods["approle/"] == nil {
		require.NoError(t, x.api.Sys().EnableAuthWithOptionsWithContext(t.Context(), "approle", &api.EnableAuthOptions{Type: "approle"}))
	}
}

// tokenIn reads the token out of the file that the Agent fills.
func tokenIn(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if token, found := strings.CutPrefix(line, "PALETTE_TOKEN="); found {
			return strings.TrimSpace(token)
		}
	}
	return ""
}
