package palettetest_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		tests := []struct {
			method, path string
			status       int
			code         string
		}{
			{"GET", "/", 404, "ResourceNotFound"},
			{"GET", "/v1/nothing", 404, "ResourceNotFound"},
			{"GET", "/v1/users/info/", 404, "ResourceNotFound"},
			{"GET", "//v1/users/info", 404, "ResourceNotFound"},
			{"GET", "/v1/auth/refresh/a/b", 404, "ResourceNotFound"},
			{"GET", "/v1/auth/authenticate", 405, "MethodNotAllowed"},
			{"POST", "/v1/users/info", 405, "MethodNotAllowed"},
			{"POST", "/v1/auth/refresh/x", 405, "MethodNotAllowed"},
			{"DELETE", "/v1/apiKeys", 405, "MethodNotAllowed"},
			{"POST", "/v1/users/password/change", 405, "MethodNotAllowed"},
		}
		f := newFixture(t)
		for i, tt := range tests {
			r := f.must(tt.method, tt.path, "", "")
			wantError(t, r, tt.status, tt.code)
			assert.Equal(t, i+1, f.TotalCalls())
		}
		one, two := f.must("GET", "/", "", ""), f.must("GET", "/", "", "")
		assert.NotEqual(t, one.str(t, "ref"), two.str(t, "ref"))
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	clients, err := palettetest.NewAuthority()
	require.NoError(t, err)
	strangers, err := palettetest.NewAuthority()
	require.NoError(t, err)
	mutual, named := palettetest.WithClientCA(clients.PEM()), palettetest.WithTLS("palette.example.com")
	tests := []struct {
		name    string
		opt     palettetest.Option
		trust   bool
		sni     string
		issuer  *palettetest.Authority
		succeed bool
	}{
		{"trusted", palettetest.WithTLS(), true, "", nil, true},
		{"by a name", palettetest.WithTLS(), true, "palette.example.com", nil, true},
		{"by a wrong name", palettetest.WithTLS(), true, "wrong.example.com", nil, false},
		{"not trusted", palettetest.WithTLS(), false, "", nil, false},
		{"name alone, by address", named, true, "", nil, false},
		{"name alone, by name", named, true, "palette.example.com", nil, true},
		{"client certificate", mutual, true, "", clients, true},
		{"another authority's client certificate", mutual, true, "", strangers, false},
		{"no client certificate", mutual, true, "", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := onSocket(t, tt.opt)
			config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: tt.sni}
			if tt.trust {
				require.True(t, config.RootCAs.AppendCertsFromPEM(f.CA()))
			}
			if tt.issuer != nil {
				pair, err := tls.X509KeyPair(issue(t, tt.issuer))
				require.NoError(t, err)
				config.Certificates = []tls.Certificate{pair}
			}
			f.client = newClient(t, &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true})
			_, err := f.send("GET", "/v1/users/info", "", "")
			assert.Equal(t, tt.succeed, err == nil, "%v", err)
			assert.True(t, strings.HasPrefix(f.URL(), "https://127.0.0.1:"))
		})
	}
	assert.Nil(t, onSocket(t).CA())
}

func issue(t *testing.T, a *palettetest.Authority) (certPEM, keyPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := a.Issue("client.example.com")
	require.NoError(t, err)
	return certPEM, keyPEM
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	taken := onSocket(t)
	tests := []struct {
		name string
		opt  palettetest.Option
	}{
		{"port taken", palettetest.WithAddress(strings.TrimPrefix(taken.URL(), "http://"))},
		{"no client authority", palettetest.WithClientCA([]byte("no PEM"))},
	}
	for _, tt := range tests {
		_, err := palettetest.Start(tt.opt)
		require.Error(t, err, tt.name)
		assert.Panics(t, func() { palettetest.New(t, tt.opt) }, tt.name)
	}
}

// recorder is a TB that keeps what a test would have failed with.
type recorder struct {
	errors, logs []string
	cleanups     []func()
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Logf(f string, a ...any)   { r.logs = append(r.logs, fmt.Sprintf(f, a...)) }
func (r *recorder) Cleanup(f func())          { r.cleanups = append(r.cleanups, f) }

func TestLeftovers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opts []palettetest.Option
		use  func(f *fixture, token string)
		want []string
	}{
		{"token", nil, func(*fixture, string) {}, []string{"palettetest: left alive at Palette: 1 tokens, 0 API keys"}},
		{"token and key", nil, func(f *fixture, token string) { f.createKey(token, "k", "", time.Hour) }, []string{"palettetest: left alive at Palette: 1 tokens, 1 API keys"}},
		{"revoked", nil, func(f *fixture, token string) { f.revoke(token, token) }, nil},
		{"expired", nil, func(f *fixture, _ string) { time.Sleep(time.Hour) }, nil},
		{"allowed", []palettetest.Option{palettetest.AllowLiveTokens()}, func(*fixture, string) {}, nil},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f, tb := newFixture(t), &recorder{}
			f.Server = palettetest.New(tb, append(tt.opts, palettetest.InMemory())...)
			token := f.login(palettetest.DefaultUser)
			tt.use(f, token)
			require.Len(t, tb.cleanups, 1)
			tb.cleanups[0]()
			assert.Equal(t, tt.want, tb.errors)
			assert.NotContains(t, strings.Join(tb.logs, "\n"), token)
		})
	}
}
