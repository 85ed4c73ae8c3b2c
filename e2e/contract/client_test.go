package contract

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// TestClientKeepsTheContract sends the engine's own client through a proxy that checks its calls.
func TestClientKeepsTheContract(t *testing.T) {
	t.Parallel()
	standIn := palettetest.New(t, palettetest.WithUser(admin))
	recorded := newRecorder(load(t), http.DefaultTransport)
	target, err := url.Parse(standIn.URL())
	require.NoError(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: recorded,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
	})
	t.Cleanup(proxy.Close)

	process := palette.NewProcess(clockwork.NewRealClock())
	client, err := process.NewClient(palette.Connection{Address: proxy.URL, RequestTimeout: time.Minute}, "contract")
	require.NoError(t, err)
	t.Cleanup(client.Close)
	login := palette.Login{Email: admin.Email, Org: admin.Org, Password: palette.Secret(admin.Password)}
	first, err := client.Login(t.Context(), login)
	require.NoError(t, err)
	second, err := client.Refresh(t.Context(), first.Raw)
	require.NoError(t, err)
	tokens := []palette.Secret{first.Raw, second.Raw}
	require.NoError(t, client.Revoke(t.Context(), second.Raw, tokens))
	require.Error(t, client.Revoke(t.Context(), second.Raw, tokens))
	_, err = client.Refresh(t.Context(), second.Raw)
	require.Error(t, err)
	login.Password = "wrong"
	_, err = client.Login(t.Context(), login)
	require.Error(t, err)

	assert.Empty(t, recorded.broken)
	assert.Equal(t, map[string]int{"v1Authenticate": 1, "v1AuthRefresh": 1, "v1UsersAuthTokensRevoke": 1}, recorded.accepted)
	assert.Equal(t, recorded.accepted, recorded.refused)
	assert.Zero(t, standIn.CookiesSet())
}
