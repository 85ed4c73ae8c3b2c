package e2e

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// proxyPassword is part of a proxy's URL.
const proxyPassword = "Proxy-Has-5-Secrets"

// A Palette of one's own: a private authority, and clients that must show a certificate.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	cert, key, err := authority.Issue("vault.example.com")
	require.NoError(t, err)
	v := sharedServer(t)
	v.watchText(string(key), proxyPassword)
	f := newMount(t, v, palettetest.WithTLS(), palettetest.WithClientCA(authority.PEM()))

	login := f.login()
	write := func(path string, more map[string]any) error {
		data := maps.Clone(login)
		maps.Copy(data, more)
		_, err = f.api.Logical().WriteWithContext(t.Context(), f.mount+"/"+path, data)
		return err
	}
	require.ErrorContains(t, write("config", nil), "authority that is not trusted")
	// How a TLS 1.3 server's refusal arrives depends on who is quicker: as an alert or as a
	// broken pipe.
	require.ErrorContains(t, write("config", map[string]any{"ca_cert": string(f.palette.CA())}), "Code: 502")
	require.NoError(t, write("config", map[string]any{
		"ca_cert": string(f.palette.CA()), "client_cert": string(cert), "client_key": string(key),
	}))
	f.write("roles/app", map[string]any{"renewable": false})
	secret, err := f.creds("app")
	require.NoError(t, err)
	assert.True(t, f.palette.Alive(tokenOf(t, secret)))

	require.NoError(t, write("config/proxied", map[string]any{
		"proxy_url": "http://vault:" + proxyPassword + "@proxy.example.com:3128", "verify_connection": false,
	}))
	for _, path := range []string{"config", "config/proxied"} {
		shown := f.cli("read", f.mount+"/"+path)
		assert.Equal(t, "true", tableRow(t, shown, "password_set"))
		hidden := []string{palettetest.DefaultUser.Password, proxyPassword, string(key)}
		assert.Empty(t, leaksIn("a read of "+path, shown, hidden))
	}
}
