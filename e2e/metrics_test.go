package e2e

import (
	"io"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMetricsByCLIAndAsPrometheusReadsThem(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.read()
	const issued = `vault_palette_leases_total{operation="issued",type="token"} 1`
	assert.Contains(t, f.cli("read", "-format=raw", f.mount+"/metrics"), issued)

	policy := `path "` + f.mount + `/metrics" { capabilities = ["read"] }`
	require.NoError(t, f.api.Sys().PutPolicyWithContext(t.Context(), f.mount+"-metrics", policy))
	for _, c := range []struct {
		policies []string
		status   int
	}{
		{[]string{f.mount + "-metrics"}, http.StatusOK},
		{nil, http.StatusForbidden},
	} {
		secret, err := f.api.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: append(c.policies, "default"), NoParent: true})
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.vault.Address+"/v1/"+f.mount+"/metrics", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+secret.Auth.ClientToken) // as Prometheus does
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, c.status, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		if c.status != http.StatusOK {
			continue
		}
		assert.Equal(t, "text/plain; version=0.0.4; charset=utf-8", resp.Header.Get("Content-Type"))
		assert.Contains(t, string(body), issued)
		assert.Contains(t, string(body), `vault_palette_calls_total{endpoint="login",outcome="ok"}`)
	}
}
