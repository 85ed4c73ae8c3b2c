package palette

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestAddressIsBroughtIntoOneForm(t *testing.T) {
	for given, want := range map[string]string{
		"https://Palette.Example.COM/":     "https://palette.example.com",
		"https://palette.example.com:8443": "https://palette.example.com:8443",
		"http://127.0.0.1:80":              "http://127.0.0.1:80",
		"http://LocalHost":                 "http://localhost",
		"http://[::1]:8080":                "http://[::1]:8080",
	} {
		got, err := ParseAddress(given)
		require.NoError(t, err, given)
		assert.Equal(t, want, got)
	}
}

func TestAddressThatCannotWork(t *testing.T) {
	for _, given := range []string{
		"", "palette.example.com", "https://", "https://:443", "https://%zz", "http://palette.example.com", "http://128.0.0.1",
		"http://127.0.0.1.example.com", "ftp://palette.example.com", "https://u@palette.example.com", "https://palette.example.com/v1",
		"https://palette.example.com?a", "https://palette.example.com#a",
	} {
		_, err := ParseAddress(given)
		var mistake *FieldError
		require.ErrorAs(t, err, &mistake, given)
		assert.Equal(t, "address", mistake.Field)
	}
}

func TestConnectionIsValidated(t *testing.T) {
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	cert, key, err := authority.Issue("client.example.com")
	require.NoError(t, err)
	for _, c := range []struct {
		field string // "" for none
		conn  Connection
	}{
		{"", Connection{}},
		{"", Connection{CACert: string(authority.PEM()), ClientCert: string(cert), ClientKey: Secret(key)}},
		{"", Connection{ProxyURL: "http://u:p@127.0.0.1:3128"}},
		{"", Connection{ProxyURL: "socks5://127.0.0.1:1080"}},
		{"ca_cert", Connection{CACert: "x"}},
		{"client_key", Connection{ClientCert: string(cert)}},
		{"client_cert", Connection{ClientKey: Secret(key)}},
		{"client_cert", Connection{ClientCert: string(cert), ClientKey: "x"}},
		{"proxy_url", Connection{ProxyURL: "127.0.0.1"}},
		{"proxy_url", Connection{ProxyURL: "http://u:xxxxx@127.0.0.1:3128"}},
		{"proxy_url", Connection{ProxyURL: "ldap://127.0.0.1"}},
	} {
		c.conn.Address = DefaultAddress
		err := c.conn.Validate()
		if c.field == "" {
			require.NoError(t, err)
			continue
		}
		var mistake *FieldError
		require.ErrorAs(t, err, &mistake)
		assert.Equal(t, c.field, mistake.Field)
		assert.Contains(t, mistake.Error(), c.field)
		_, err = NewProcess().NewClient(c.conn, "", nil)
		assert.Error(t, err)
	}
	assert.Error(t, Connection{Address: "x"}.Validate())
}

func TestProxyURLIsShownWithoutItsPassword(t *testing.T) {
	for given, want := range map[Secret]string{
		"": "", "http://127.0.0.1:3128": "http://127.0.0.1:3128", "http://u:Leaky@127.0.0.1:3128": "http://u:xxxxx@127.0.0.1:3128", "Leaky": redacted,
	} {
		assert.Equal(t, want, Connection{ProxyURL: given}.RedactedProxyURL())
	}
}

func TestHostInMessagesHasItsPort(t *testing.T) {
	for address, want := range map[string]string{
		"https://palette.example.com": "palette.example.com:443", "http://localhost": "localhost:80",
		"https://palette.example.com:8443": "palette.example.com:8443", "https://%zz": "an address that cannot be read",
	} {
		assert.Equal(t, want, Connection{Address: address}.hostPort())
	}
}
