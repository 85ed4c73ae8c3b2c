package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A client whose config has changed may have calls in line. What they open is not kept.
func TestClientThatIsClosedKeepsNoConnections(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		reused := func() (was bool) {
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { was = info.Reused }})
			_, err := r.Login(ctx, wiretest.LoginOf(palettetest.DefaultUser))
			require.NoError(t, err)
			return was
		}
		r.LogIn(t)
		assert.True(t, reused())
		r.Close()
		assert.False(t, reused())
		assert.False(t, reused())
		time.Sleep(palettetest.DefaultLifetime)
	})
}

func TestConnectionsAreReusedOverHTTP2(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.WithTLS())
		for range 3 {
			token := r.LogIn(t)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.Palette.URL()+"/", nil)
		require.NoError(t, err)
		pool, err := r.Conn.Transport()
		require.NoError(t, err)
		pool.DialContext = palettetest.Dial
		defer pool.CloseIdleConnections()
		resp, err := (&http.Client{Transport: pool}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, 2, resp.ProtoMajor)
	})
}

func TestCallerWhoHangsUp(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		gate := r.Palette.Hold(palettetest.Login)
		defer gate.Release()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-gate.Arrived()
			cancel()
		}()
		_, err := r.Login(ctx, wiretest.LoginOf(palettetest.DefaultUser))
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, answer.Unreachable, answer.KindOf(err))
		synctest.Wait() // the stand-in has seen it too, and the gate lets nothing through
	})
}

func TestCallThatTakesTooLong(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		gate := r.Palette.Hold(palettetest.Login)
		defer gate.Release() // the held call has ended without its work
		_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
		require.NotErrorIs(t, err, context.DeadlineExceeded, "that is the caller's business")
		assert.ErrorContains(t, err, "no answer within 10s (request_timeout)")
	})
}

// The headers came, the body does not.
func TestAnswerThatStops(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"Authorization":"eyJhbGciOi`)
	}))
	defer s.Close()
	c := wiretest.NewClient(t, exchange.NewProcess(), palette.Connection{Address: s.URL, RequestTimeout: time.Minute})
	_, err := c.Refresh(t.Context(), "a-token-of-someone")
	assert.EqualError(t, err, "could not refresh the token at Palette ("+strings.TrimPrefix(s.URL, "http://")+"): the connection was closed before the answer was complete")
}

// What net/http quotes of an answer, or of a URL, is not passed on.
func TestErrorsQuoteNeitherAnswerNorURL(t *testing.T) {
	const token = "eyJhbGciOi.Leaky-payload.Leaky-signature"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, refused := l.Accept()
			if refused != nil {
				return
			}
			buf := make([]byte, 4096)
			n, _ := conn.Read(buf)
			_, _ = conn.Write(buf[:n]) // the request comes back as the answer
			_ = conn.Close()
		}
	}()
	c := wiretest.NewClient(t, exchange.NewProcess(), palette.Connection{Address: "http://" + l.Addr().String(), RequestTimeout: time.Minute})
	_, err = c.Refresh(t.Context(), token)
	require.Error(t, err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		assert.NotContains(t, e.Error(), "Leaky")
		assert.NotContains(t, fmt.Sprintf("%+v %#v", e, e), "Leaky")
	}
}

// Where a redirect leads is the other side's text too.
func TestRedirectShowsNoSecret(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Redirect: "https://Leaky-token.example.com\u202e/Leaky-token"})
		_, err := r.Refresh(t.Context(), "Leaky-token")
		assert.ErrorContains(t, err, "a redirect to [redacted].example.com,")
		assert.NotContains(t, err.Error(), "Leaky")
	})
}

// An answer is read to its bound, whatever reads it. (JSON of that length takes seconds to decode with the race detector.)
func TestAnswerOfManyMiBIsReadToItsBound(t *testing.T) {
	for bytes, text := range map[int]string{answer.MaxList: "more than 1 MiB", answer.MaxList + 1: "more than 32 MiB", answer.MaxList + 1<<20: "more than 32 MiB"} {
		t.Run(fmt.Sprint(bytes), func(t *testing.T) {
			wiretest.Bubble(t, func(t *testing.T) {
				r := wiretest.New(t)
				wire, err := r.Process.NewClient(r.Conn, "a-test/1", wiretest.Nobody{})
				require.NoError(t, err)
				defer wire.Close()
				r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Body: strings.Repeat("n", bytes), Header: http.Header{"Content-Type": {"application/json"}}})
				read := int64(0)
				_, err = wire.Do(t.Context(), exchange.Call{Op: "list", Endpoint: "list_api_keys", Method: http.MethodGet, Path: "/v1/apiKeys", Stream: func(body io.Reader) bool {
					read, _ = io.Copy(io.Discard, body)
					return false
				}})
				require.ErrorContains(t, err, text)
				assert.InDelta(t, min(bytes, answer.MaxList), read, 64<<10)
			})
		})
	}
}

// A connection that breaks within a long answer is no answer.
func TestLongAnswerThatBreaksOff(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		auth := r.Auth(t)
		r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Body: "{" + strings.Repeat(" ", 2<<20), Header: http.Header{"Content-Length": {"9999999"}}})
		_, err := r.ListAPIKeys(t.Context(), auth)
		assert.Equal(t, answer.Unreachable, answer.KindOf(err), "%v", err)
		require.NoError(t, r.Revoke(t.Context(), auth.Token, []palette.Secret{auth.Token}))
	})
}
