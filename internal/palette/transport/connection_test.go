package transport

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/secret"
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
		{"", Connection{CACert: string(authority.PEM()), ClientCert: string(cert), ClientKey: secret.Text(key)}},
		{"", Connection{ProxyURL: "http://u:p@127.0.0.1:3128"}},
		{"", Connection{ProxyURL: "socks5://127.0.0.1:1080"}},
		{"ca_cert", Connection{CACert: "x"}},
		{"client_key", Connection{ClientCert: string(cert)}},
		{"client_cert", Connection{ClientKey: secret.Text(key)}},
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
		_, err = c.conn.Transport()
		assert.Error(t, err)
	}
	assert.Error(t, Connection{Address: "x"}.Validate())
}

func TestProxyURLIsShownWithoutItsPassword(t *testing.T) {
	for given, want := range map[secret.Text]string{
		"": "", "http://127.0.0.1:3128": "http://127.0.0.1:3128", "http://u:Leaky@127.0.0.1:3128": "http://u:xxxxx@127.0.0.1:3128", "Leaky": secret.Redacted,
	} {
		assert.Equal(t, want, Connection{ProxyURL: given}.RedactedProxyURL())
	}
}

func TestHostInMessagesHasItsPort(t *testing.T) {
	for address, want := range map[string]string{
		"https://palette.example.com": "palette.example.com:443", "http://localhost": "localhost:80",
		"https://palette.example.com:8443": "palette.example.com:8443", "https://%zz": "an address that cannot be read",
	} {
		assert.Equal(t, want, Connection{Address: address}.HostPort())
	}
}

func TestBurstIsFiveTimesTheLimitUnlessSet(t *testing.T) {
	for _, c := range []struct{ limit, burst, want int }{
		{10, 0, 50}, {1, 0, 5}, {0, 0, 0}, {10, 1, 1}, {10, 99, 99}, {2000, 0, 10000}, {9999, 0, 10000}, {1999, 0, 9995},
	} {
		assert.Equal(t, c.want, Connection{RateLimit: c.limit, RateBurst: c.burst}.Burst(), "%+v", c)
	}
}

func TestQueueTimeoutHasADefault(t *testing.T) {
	assert.Equal(t, DefaultQueueTimeout, Connection{}.QueueFor())
	assert.Equal(t, time.Second, Connection{QueueTimeout: time.Second}.QueueFor())
}

func TestHeaderTakesPrintableASCII(t *testing.T) {
	for text, want := range map[string]bool{"": true, "a-Key/1+=~": true, "a b": false, "a\n": false, "\x7f": false, "é": false} {
		assert.Equal(t, want, FitsHeader(text), text)
	}
}

func TestProxyThatGivesNoConnection(t *testing.T) {
	pool, err := Connection{Address: DefaultAddress}.Transport()
	require.NoError(t, err)
	for _, status := range []int{201, 403, 502} {
		var refused *ConnectError
		require.ErrorAs(t, pool.OnProxyConnectResponse(t.Context(), nil, nil, &http.Response{StatusCode: status}), &refused)
		assert.EqualError(t, refused, fmt.Sprintf("answered %d to CONNECT", status))
	}
	assert.NoError(t, pool.OnProxyConnectResponse(t.Context(), nil, nil, &http.Response{StatusCode: 200}))
}
