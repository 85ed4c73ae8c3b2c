package exchange_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// proxy answers each connection's first bytes with a text, whatever they ask for, or closes
// it where there is none, and returns its host and port.
func proxy(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4<<10))
			if answer != "" {
				_, _ = io.WriteString(conn, answer)
				_, _ = io.Copy(io.Discard, conn) // a close with bytes unread would take the answer along
			}
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// proxied is a client that knows a Palette with TLS through a proxy alone, and how often it
// has dialled.
func proxied(t *testing.T, proxyURL string) (*wiretest.Rig, *atomic.Int32) {
	t.Helper()
	r, dials := wiretest.OnSocket(t, palettetest.WithTLS()), new(atomic.Int32)
	r.Conn.ProxyURL, r.Conn.QueueTimeout = palette.Secret(proxyURL), time.Minute
	r.Dialled(t, func() { dials.Add(1) })
	return r, dials
}

func TestErrorNamesTheProxyThatIsAtFault(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	foreign := palettetest.New(t, palettetest.WithTLS())
	says := func(status int) string {
		return proxy(t, fmt.Sprintf("HTTP/1.1 %d Leaky\r\nContent-Length: 5\r\n\r\nLeaky", status))
	}
	for _, c := range []struct {
		scheme, proxy, cause string // %s is the proxy's host and port
		stage                answer.Stage
		dials                int
	}{
		{"http", says(201), "the proxy (%s) answered 201 to CONNECT", answer.Tunnel, 1},
		{"http", says(403), "the proxy (%s) answered 403 to CONNECT", answer.Tunnel, 1},
		{"http", says(407), "the proxy (%s) answered 407 to CONNECT", answer.Tunnel, 1},
		{"http", says(501), "the proxy (%s) answered 501 to CONNECT", answer.Tunnel, 1},
		{"http", says(502), "the proxy (%s) answered 502 to CONNECT", answer.Tunnel, 4},
		{"http", says(503), "the proxy (%s) answered 503 to CONNECT", answer.Tunnel, 4},
		{"http", closed.Addr().String(), "the proxy (%s): connection refused", answer.Connecting, 4},
		{"http", "proxy.invalid:3128", "the proxy (%s): name lookup failed", answer.Lookup, 4},
		{"http", proxy(t, ""), "the proxy (%s): the connection was closed", answer.Connecting, 4},
		{"https", says(200), "the proxy (%s): TLS: the other side does not speak TLS", answer.Handshake, 1},
		{"https", strings.TrimPrefix(foreign.URL(), "https://"), "the proxy (%s): TLS: the certificate is signed by an authority that is not trusted", answer.Handshake, 1},
		{"socks5", closed.Addr().String(), "the proxy (%s): connection refused", answer.Connecting, 4},
		{"socks5", proxy(t, "\x05\xff"), "the proxy (%s) did not connect: no acceptable authentication methods", answer.Tunnel, 4},
		{"socks5", proxy(t, "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"), "the proxy (%s) did not connect: unknown error connection not allowed by ruleset", answer.Tunnel, 4},
	} {
		t.Run(c.scheme+" "+c.cause, func(t *testing.T) {
			r, dials := proxied(t, c.scheme+"://Leaky-user:Leaky-password@"+c.proxy)
			_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			var e *answer.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, []any{answer.Unreachable, c.stage, c.proxy}, []any{e.Kind, e.Stage, e.Proxy})
			assert.ErrorContains(t, err, fmt.Sprintf("Palette (%s): "+c.cause, r.Conn.HostPort(), c.proxy))
			assert.NotContains(t, err.Error(), "Leaky")
			assert.EqualValues(t, c.dials, dials.Load())
			assert.Equal(t, strings.Contains(c.cause, "does not speak TLS"), e.NoTLS())
		})
	}
}

// What comes after the proxy is not its fault, nor is a caller's end.
func TestErrorNamesNoProxyThatIsNotAtFault(t *testing.T) {
	through := httptest.NewServer(http.HandlerFunc(tunnel))
	defer through.Close()
	r, _ := proxied(t, through.URL)
	token := r.LogIn(t)
	require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
	conn := r.Conn
	conn.CACert = ""
	_, err := wiretest.NewClient(t, r.Process, conn).Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
	assert.ErrorContains(t, err, "TLS: the certificate is signed by an authority")
	assert.NotContains(t, err.Error(), "proxy")

	ctx, hangUp := context.WithCancel(t.Context())
	r, _ = proxied(t, "http://"+proxy(t, "HTTP"))
	r.Dialled(t, hangUp)
	_, err = r.Refresh(ctx, "a-token")
	require.ErrorIs(t, err, context.Canceled)
	assert.NotContains(t, err.Error(), "proxy")
}

func TestErrorNamesTheProxyThatDoesNotAnswer(t *testing.T) {
	for scheme, beginning := range map[string]string{"http": "HTTP", "socks5": "\x05"} {
		at := proxy(t, beginning)
		r, dials := proxied(t, scheme+"://"+at)
		r.Conn.RequestTimeout = 200 * time.Millisecond
		r.Dialled(t, func() { dials.Add(1) })
		_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
		assert.ErrorContains(t, err, "the proxy ("+at+"): no answer within 200ms (request_timeout)")
		assert.EqualValues(t, 1, dials.Load())
	}
}

// tunnel is a proxy that does what CONNECT asks for.
func tunnel(w http.ResponseWriter, req *http.Request) {
	there, err := new(net.Dialer).DialContext(req.Context(), "tcp", req.Host)
	if err != nil {
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	defer there.Close()
	w.WriteHeader(http.StatusOK)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(there, here)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
	_ = here.Close()
	<-done
}
