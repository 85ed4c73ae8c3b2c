package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// A gateway that answers in Palette's place ends no token: the revocation is made up for when the gateway
// is out of the way, and reads are served again.
func TestAGatewayInTheWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime), palettetest.WithLockout())
	secret := f.read()
	token := tokenOf(t, secret)
	f.palette.Inject(palettetest.Any, palettetest.Fault{Foreign: true, Status: http.StatusUnauthorized, Body: "<html><h1>Sign in</h1></html>"})
	err := f.api.Sys().RevokeWithOptionsWithContext(t.Context(), &api.RevokeOptions{LeaseID: secret.LeaseID, Sync: true})
	require.ErrorContains(t, err, "this is not Palette's answer (status 401, text/html)")
	assert.NotContains(t, err.Error(), "Sign in")
	status, answer := f.request(http.MethodGet, "creds/app", "")
	assert.Equal(t, http.StatusBadGateway, status)
	assert.Contains(t, answer, "somebody between Vault and Palette answers")
	status, answer = f.request(http.MethodGet, "check/default", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, answer, "somebody between Vault and Palette answers")
	f.palette.ClearAll()
	assert.True(t, f.palette.Alive(token))
	require.Eventually(t, func() bool { return !f.palette.Alive(token) }, 70*time.Second, often, "Vault tries again, and so does the engine each minute")
	f.read()
	assert.False(t, f.suspended())
}
