package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// withPolicies is the fixture's API for a token with policies of examples/, each for this mount.
func (f *fixture) withPolicies(names ...string) *api.Client {
	f.t.Helper()
	var policies []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(examplesDir, "policies", name+".hcl"))
		require.NoError(f.t, err)
		policies = append(policies, f.mount+"-"+name)
		require.NoError(f.t, f.api.Sys().PutPolicyWithContext(f.t.Context(), f.mount+"-"+name, strings.ReplaceAll(string(text), `"palette/`, `"`+f.mount+`/`)))
	}
	created, err := f.api.Auth().Token().CreateWithContext(f.t.Context(), &api.TokenCreateRequest{Policies: policies, NoDefaultPolicy: true})
	require.NoError(f.t, err)
	client, err := f.vault.Client()
	require.NoError(f.t, err)
	client.SetToken(created.Auth.ClientToken)
	return client
}

// Palette gets a certificate of another authority, and nobody knows the rotated password. A config writer
// cannot help, with whatever capability short of sudo; whoever has sudo can.
func TestTrustTakesSudo(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t), palettetest.WithTLS())
	login := f.login()
	login["ca_cert"] = string(f.palette.CA())
	f.write("config", login)
	f.write("roles/app", map[string]any{"renewable": false})
	f.write("rotate-root", nil)
	require.NoError(t, f.palette.NewCA())
	change := map[string]any{"ca_cert": string(f.palette.CA())}

	operator := f.withPolicies("operator")
	_, err := operator.Logical().WriteWithContext(t.Context(), f.mount+"/trust/default", change)
	assert.ErrorContains(t, err, "permission denied")
	_, err = operator.Logical().WriteWithContext(t.Context(), f.mount+"/config", change)
	assert.ErrorContains(t, err, `"password" must be given again when ca_cert changes`)
	require.NoError(t, f.api.Sys().PutPolicyWithContext(t.Context(), f.mount+"-all", `path "`+f.mount+`/*" { capabilities = ["create", "read", "update", "delete", "list", "patch"] }`))
	created, err := f.api.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{f.mount + "-all"}, NoDefaultPolicy: true})
	require.NoError(t, err)
	operator.SetToken(created.Auth.ClientToken)
	_, err = operator.Logical().WriteWithContext(t.Context(), f.mount+"/trust/default", change)
	assert.ErrorContains(t, err, "permission denied", "all but sudo")
	_, err = f.api.Logical().ReadWithContext(t.Context(), f.mount+"/creds/app")
	assert.ErrorContains(t, err, "TLS")

	trusted := f.withPolicies("trust")
	_, err = trusted.Logical().WriteWithContext(t.Context(), f.mount+"/trust/default", map[string]any{"tls_skip_verify": true})
	assert.ErrorContains(t, err, `unknown field "tls_skip_verify"`)
	_, err = trusted.Logical().WriteWithContext(t.Context(), f.mount+"/trust/default", change)
	require.NoError(t, err)
	secret, err := f.creds("app")
	require.NoError(t, err)
	assert.True(t, f.palette.Alive(tokenOf(t, secret)))
}
