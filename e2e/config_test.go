package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// TestConfigsAndRoles writes, reads, lists and deletes as an operator does.
func TestConfigsAndRoles(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t))
	user := palettetest.DefaultUser
	config := []string{"address=" + f.palette.URL(), "email=" + user.Email, "org=" + user.Org, "password=-"}
	for _, path := range []string{"config", "config/ci-1.2"} {
		out, err := f.vault.CLI(t.Context(), user.Password, append([]string{"write", f.mount + "/" + path}, config...)...)
		require.NoError(t, err)
		require.Zero(t, out.Code, out.Stderr)
	}
	assert.Empty(t, f.palette.LiveTokens(), "what a check brings is revoked")
	assert.Equal(t, []string{"ci-1.2", "default"}, names(f.cli("list", f.mount+"/config")))
	assert.Equal(t, f.cli("read", f.mount+"/config"), f.cli("read", f.mount+"/config/default"))
	f.cli("write", f.mount+"/config/ci-1.2", "request_timeout=20s") // and keeps the rest
	shown := f.cli("read", f.mount+"/config/ci-1.2")
	assert.Equal(t, "20", tableRow(t, shown, "request_timeout"))
	assert.Equal(t, user.Email, tableRow(t, shown, "email"))

	const warning = "a renewal returns a new token"
	assert.Contains(t, f.cli("write", f.mount+"/roles/app", "config_name=ci-1.2", "ttl=5m"), warning)
	assert.NotContains(t, f.cli("write", f.mount+"/roles/agent", "renewable=false"), warning)
	assert.NotContains(t, f.cli("read", f.mount+"/roles/app"), warning)
	assert.Equal(t, []string{"agent", "app"}, names(f.cli("list", f.mount+"/roles")))
	f.read()

	f.cli("delete", f.mount+"/roles/agent")
	f.cli("delete", f.mount+"/config")
	assert.Equal(t, []string{"app"}, names(f.cli("list", f.mount+"/roles")))
	assert.Equal(t, []string{"ci-1.2"}, names(f.cli("list", f.mount+"/config")))
	f.read()
}

// names are those in a list that the vault CLI prints.
func names(list string) []string { return strings.Fields(list)[2:] } // "Keys" and a rule come first
