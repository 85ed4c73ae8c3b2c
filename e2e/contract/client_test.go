package contract

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// TestClientKeepsTheContract sends the engine's own client through a proxy that checks its calls.
func TestClientKeepsTheContract(t *testing.T) {
	t.Parallel()
	standIn := palettetest.New(t, palettetest.WithUser(admin), palettetest.WithUser(palettetest.Console))
	recorded := newRecorder(load(t), http.DefaultTransport)
	target, err := url.Parse(standIn.URL())
	require.NoError(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: recorded,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
	})
	t.Cleanup(proxy.Close)

	process := exchange.NewProcess()
	client, err := palette.NewClient(process, palette.Connection{Address: proxy.URL, RequestTimeout: time.Minute}, "contract", wiretest.Nobody{})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	login := palette.Login{Email: admin.Email, Org: admin.Org, Password: palette.Secret(admin.Password)}
	first, err := client.Login(t.Context(), login)
	require.NoError(t, err)
	second, err := client.Refresh(t.Context(), first.Raw)
	require.NoError(t, err)
	login.Password = callWithAuth(t, client, palette.Auth{Token: second.Raw}, login)
	tokens := []palette.Secret{first.Raw, second.Raw}
	require.NoError(t, client.Revoke(t.Context(), second.Raw, tokens))
	require.Error(t, client.Revoke(t.Context(), second.Raw, tokens))
	_, err = client.Refresh(t.Context(), second.Raw)
	require.Error(t, err)
	refuseWithAuth(t, client, palette.Auth{Token: second.Raw}, login)
	login.Password = "wrong"
	_, err = client.Login(t.Context(), login)
	require.Error(t, err)
	console := palette.Login{Username: palettetest.Console.Username, Password: palette.Secret(palettetest.Console.Password)}
	system, err := client.Login(t.Context(), console)
	require.NoError(t, err)
	require.NoError(t, client.Revoke(t.Context(), system.Raw, []palette.Secret{system.Raw}))
	require.Error(t, client.Revoke(t.Context(), system.Raw, []palette.Secret{system.Raw}))
	console.Password = "wrong"
	_, err = client.Login(t.Context(), console)
	require.Error(t, err)

	assert.Empty(t, recorded.broken)
	assert.Equal(t, map[string]int{
		"v1Authenticate": 1, "systemLogin": 1, "v1AuthRefresh": 1, "v1UsersAuthTokensRevoke": 2, "v1UsersInfoGet": 1, "V1UsersPasswordChange": 1,
		"v1ApiKeysCreate": 1, "v1ApiKeysUidUpdate": 1, "v1ApiKeysList": 1, "v1ApiKeysUidDelete": 1,
	}, recorded.accepted)
	assert.Equal(t, recorded.accepted, recorded.refused)
	assert.Zero(t, standIn.CookiesSet())
}

// callWithAuth makes each call that takes an Auth once, and returns the password that is right afterwards.
func callWithAuth(t *testing.T, client *palette.Client, auth palette.Auth, login palette.Login) palette.Secret {
	t.Helper()
	expiry := time.Now().Add(time.Hour)
	info, err := client.UserInfo(t.Context(), auth)
	require.NoError(t, err)
	uid, key, err := client.CreateAPIKey(t.Context(), auth, palette.NewAPIKey{Name: "a", Description: "b", UserUID: info.UserUID, Expiry: expiry})
	require.NoError(t, err)
	require.NoError(t, client.UpdateAPIKey(t.Context(), palette.Auth{APIKey: key}, uid, palette.NewAPIKey{Name: "a", Description: "d", Expiry: expiry}))
	keys, err := client.ListAPIKeys(t.Context(), palette.Auth{APIKey: key})
	require.NoError(t, err)
	assert.Len(t, keys, 1)
	require.NoError(t, client.DeleteAPIKey(t.Context(), auth, uid))
	const next = "Another-Horse-8-Battery"
	require.NoError(t, client.ChangePassword(t.Context(), auth, palette.PasswordChange{Email: login.Email, Current: login.Password, New: next}))
	return next
}

// refuseWithAuth makes the same calls with credentials that are dead.
func refuseWithAuth(t *testing.T, client *palette.Client, auth palette.Auth, login palette.Login) {
	t.Helper()
	expiry := time.Now().Add(time.Hour)
	_, err := client.UserInfo(t.Context(), auth)
	require.Error(t, err)
	_, _, err = client.CreateAPIKey(t.Context(), auth, palette.NewAPIKey{Name: "a", Expiry: expiry})
	require.Error(t, err)
	require.Error(t, client.UpdateAPIKey(t.Context(), auth, "u", palette.NewAPIKey{Name: "a", Expiry: expiry}))
	_, err = client.ListAPIKeys(t.Context(), auth)
	require.Error(t, err)
	require.Error(t, client.DeleteAPIKey(t.Context(), auth, "u"))
	require.Error(t, client.ChangePassword(t.Context(), auth, palette.PasswordChange{Email: login.Email, Current: login.Password, New: "x"}))
}
