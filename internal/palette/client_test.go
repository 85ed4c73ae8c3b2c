package palette

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bubble runs a test by fake time, from epoch on.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(epoch))
		test(t)
	})
}

// inBubble is a subtest in a bubble of its own.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { bubble(t, test) })
}

// rig is a client and the stand-in that it talks to.
type rig struct {
	*Client
	palette *palettetest.Server
}

// newRig is for bubbles: its stand-in listens in memory.
func newRig(t *testing.T, opts ...palettetest.Option) *rig {
	t.Helper()
	return rigOf(t, NewProcess().WithoutPauses().WithDial(palettetest.Dial), append([]palettetest.Option{palettetest.InMemory()}, opts...)...)
}

// onSocket is a rig for tests that are about sockets, TLS and proxies.
func onSocket(t *testing.T, opts ...palettetest.Option) *rig {
	t.Helper()
	return rigOf(t, NewProcess().WithoutPauses(), opts...)
}

func rigOf(t *testing.T, process *Process, opts ...palettetest.Option) *rig {
	t.Helper()
	p := palettetest.New(t, opts...)
	c := newClient(t, process, Connection{Address: p.URL(), CACert: string(p.CA()), RequestTimeout: 10 * time.Second, QueueTimeout: time.Second})
	return &rig{c, p}
}

// newProcess is a process whose clients pause, for bubbles.
func newProcess() *Process { return NewProcess().WithDial(palettetest.Dial) }

func newClient(t testing.TB, process *Process, conn Connection) *Client {
	t.Helper()
	return observed(t, process, conn, nil)
}

func observed(t testing.TB, process *Process, conn Connection, observer Observer) *Client {
	t.Helper()
	c, err := process.NewClient(conn, "a-test/1", observer)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (r *rig) login(t *testing.T) Token {
	t.Helper()
	token, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
	require.NoError(t, err)
	return token
}

func loginOf(u palettetest.User) Login {
	return Login{Email: u.Email, Org: u.Org, Username: u.Username, Password: Secret(u.Password)}
}

func TestLoginRefreshRevoke(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		first := r.login(t)
		assert.Equal(t, 15*time.Minute, first.Life)
		assert.WithinDuration(t, epoch.Add(15*time.Minute), first.ExpiresAt, 0)
		time.Sleep(time.Minute)
		second, err := r.Refresh(t.Context(), first.Raw)
		require.NoError(t, err)
		assert.WithinDuration(t, epoch.Add(16*time.Minute), second.ExpiresAt, 0)
		require.NoError(t, r.Revoke(t.Context(), second.Raw, []Secret{first.Raw, second.Raw}))
		assert.Empty(t, r.palette.LiveTokens())
		assert.Zero(t, r.palette.CookiesSet())

		_, err = r.Refresh(t.Context(), first.Raw)
		assert.Equal(t, Rejected, KindOf(err))
		err = r.Revoke(t.Context(), first.Raw, []Secret{first.Raw})
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, http.StatusUnauthorized, e.Status)
		assert.NotEmpty(t, e.Message)
		assert.NotEmpty(t, e.Code)
		assert.NotEmpty(t, e.Ref)
	})
}

// A client whose config has changed may have calls in line. What they open is not kept.
func TestClientThatIsClosedKeepsNoConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		reused := func() (was bool) {
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { was = info.Reused }})
			_, err := r.Login(ctx, loginOf(palettetest.DefaultUser))
			require.NoError(t, err)
			return was
		}
		r.login(t)
		assert.True(t, reused())
		r.Close()
		assert.False(t, reused())
		assert.False(t, reused())
		time.Sleep(palettetest.DefaultLifetime)
	})
}

func TestConnectionsAreReusedOverHTTP2(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.WithTLS())
		for range 3 {
			token := r.login(t)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.palette.URL()+"/", nil)
		require.NoError(t, err)
		resp, err := (&http.Client{Transport: r.transport}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, 2, resp.ProtoMajor)
	})
}

func TestMFAIsAnErrorWithItsToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.palette.Inject(palettetest.Login, palettetest.Fault{MFA: true})
		_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
		var mfa *MFAError
		require.ErrorAs(t, err, &mfa)
		assert.NotEmpty(t, mfa.Token)
		assert.NotContains(t, err.Error(), mfa.Token.Reveal())
		assert.Contains(t, err.Error(), "second factor")
		assert.Zero(t, KindOf(err))
	})
}

func TestRetryAfterInBothForms(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"3": 3 * time.Second,
		epoch.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		epoch.Add(-time.Minute).Format(http.TimeFormat): 0,
		"-1":   0,
		"soon": 0,
		"":     0,
	} {
		assert.Equal(t, want, retryAfter(header, epoch), header)
	}
}

func TestCallerWhoHangsUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		gate := r.palette.Hold(palettetest.Login)
		defer gate.Release()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-gate.Arrived()
			cancel()
		}()
		_, err := r.Login(ctx, loginOf(palettetest.DefaultUser))
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, Unreachable, KindOf(err))
		synctest.Wait() // the stand-in has seen it too, and the gate lets nothing through
	})
}

func TestCallThatTakesTooLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		gate := r.palette.Hold(palettetest.Login)
		defer gate.Release() // the held call has ended without its work
		_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
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
	c := newClient(t, NewProcess(), Connection{Address: s.URL, RequestTimeout: time.Minute})
	_, err := c.Refresh(t.Context(), "a-token-of-someone")
	assert.EqualError(t, err, "could not refresh the token at Palette ("+c.host+"): the connection was closed before the answer was complete")
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
	c := newClient(t, NewProcess(), Connection{Address: "http://" + l.Addr().String(), RequestTimeout: time.Minute})
	_, err = c.Refresh(t.Context(), token)
	require.Error(t, err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		assert.NotContains(t, e.Error(), "Leaky")
		assert.NotContains(t, fmt.Sprintf("%+v %#v", e, e), "Leaky")
	}
}

func TestSecretsPrintAsNothing(t *testing.T) {
	s := struct{ Password Secret }{"Leaky"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.NotContains(t, fmt.Sprintf(verb, s), "Leaky")
		assert.NotContains(t, fmt.Sprintf(verb, s.Password), "Leaky")
	}
	assert.Empty(t, Secret("").String())
	text, err := json.Marshal(s)
	require.NoError(t, err)
	assert.JSONEq(t, `{"Password":"Leaky"}`, string(text), "that is how it reaches Palette and the storage")
}

func TestTextsOfPaletteAreCleaned(t *testing.T) {
	secrets := []Secret{"", "pass word/1", "tok", `a"b&c`, `a"b&c-longer`, "line\tbreak"}
	for given, want := range map[string]string{
		"bad pass word/1!":         "bad [redacted]!",
		"/auth/pass%20word%2F1":    "/auth/[redacted]",
		"?p=pass+word%2F1":         "?p=[redacted]",
		`{"p":"a\"b\u0026c"}`:      `{"p":"[redacted]"}`,
		`p="a\"b&c"`:               `p="[redacted]"`,
		`a"b&c-longer`:             "[redacted]",
		"eyJhbGciOiJI.eyJz.c2ln":   "[redacted]",
		"half eyJhbGci":            "half [redacted]",
		"a\nb\x7fc\x00":            "a b c",
		"a\u0085\u202eb\u2028c":    "a  b c",
		"pass\nword/1":             "[redacted]",
		"line\x1bbreak line break": "[redacted] [redacted]",
		strings.Repeat("é", 200):   strings.Repeat("é", 150) + "…",
		"":                         "",
	} {
		assert.Equal(t, want, clean(given, secrets))
	}
}

// Where a redirect leads is the other side's text too.
func TestRedirectShowsNoSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.palette.Inject(palettetest.Refresh, palettetest.Fault{Redirect: "https://Leaky-token.example.com\u202e/Leaky-token"})
		_, err := r.Refresh(t.Context(), "Leaky-token")
		assert.ErrorContains(t, err, "a redirect to [redacted].example.com,")
		assert.NotContains(t, err.Error(), "Leaky")
	})
}

func TestErrorSaysWhatIsKnown(t *testing.T) {
	e := &Error{Op: "log in", Host: "palette.example.com:443"}
	assert.EqualError(t, e, "could not log in at Palette (palette.example.com:443)")
	e.Status, e.Message, e.Code, e.Ref, e.Cause = 400, "no", "X", "r-1", "because"
	assert.EqualError(t, e, `could not log in at Palette (palette.example.com:443): it answered 400: because (Palette's message "no", code "X", ref "r-1")`)
}

type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// Each cause in safe words; one that is not known by its type alone.
func TestCauses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{context.Canceled, "the caller hung up"},
		{context.DeadlineExceeded, "no answer in time"},
		{&net.DNSError{Err: "no such host", Name: "palette.example.com"}, "name lookup failed: no such host"},
		{x509.UnknownAuthorityError{}, "is ca_cert the right one?"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "palette.example.com"}, "another name than palette.example.com"},
		{x509.CertificateInvalidError{Reason: x509.Expired}, "TLS: x509: certificate has expired"},
		{&tls.CertificateVerificationError{Err: errors.New("Leaky")}, "could not be verified"},
		{tls.RecordHeaderError{Msg: "Leaky"}, "does not speak TLS"},
		{tls.AlertError(42), "TLS: tls: bad certificate"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, "refused the handshake: tls: certificate required"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "dial: connection refused"},
		{&net.OpError{Op: "read", Err: timeout{errors.New("Leaky")}}, "no answer in time"},
		{&net.OpError{Op: "proxyconnect", Err: errors.New("Leaky")}, "the exchange failed (*errors.errorString)"},
		{&net.OpError{Op: "accept", Err: errors.New("Leaky")}, "accept failed"},
		{io.ErrUnexpectedEOF, "closed before the answer was complete"},
		{syscall.ECONNRESET, "connection reset by peer"},
		{errors.New(http2NotEstablished), "client certificate"},
		{errors.New("Leaky"), "the exchange failed (*errors.errorString)"},
	} {
		got := cause(fmt.Errorf("Leaky: %w", c.err))
		assert.Contains(t, got, c.want)
		assert.NotContains(t, got, "Leaky")
	}
}
