package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// notebook is an Observer that keeps what it is told.
type notebook struct {
	mu    sync.Mutex
	lines []string
}

func (n *notebook) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notebook) Called(endpoint string, outcome exchange.Outcome, took time.Duration) {
	n.note("%s %s %s", endpoint, outcome, took)
}

func (n *notebook) Waited(resource string, took time.Duration, got bool) {
	if took > 0 || !got {
		n.note("waited for %s %s got=%t", resource, took.Round(time.Millisecond), got)
	}
}

func (n *notebook) Queued(took time.Duration, got bool) {
	if took > 0 || !got {
		n.note("queued %s got=%t", took, got)
	}
}

func (n *notebook) Retried(endpoint string, after exchange.Outcome) {
	n.note("%s again after %s", endpoint, after)
}
func (n *notebook) Withheld() { n.note("withheld") }

// take returns what was told, and forgets it.
func (n *notebook) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}

// watched is a rig with a notebook.
func watched(t *testing.T, conn palette.Connection, opts ...palettetest.Option) (*wiretest.Rig, *notebook) {
	t.Helper()
	r, n := wiretest.New(t, opts...), new(notebook)
	conn.Address, conn.RequestTimeout, conn.QueueTimeout = r.Palette.URL(), 10*time.Second, 20*time.Second
	r.Client = wiretest.Observed(t, wiretest.NewProcess().WithoutPauses(), conn, n)
	return r, n
}

func TestObserverIsToldOfEachTry(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault palettetest.Fault
		want  []string
	}{
		{"a success", palettetest.Fault{}, []string{"user_info ok 0s"}},
		{"a refusal", palettetest.Fault{Status: 403}, []string{"user_info rejected 0s"}},
		{"a refusal that is a proxy's", palettetest.Fault{Garbage: true, Status: 407}, []string{"user_info foreign 0s"}},
		{"a 401 that is a proxy's", palettetest.Fault{Garbage: true, Status: 401}, []string{"user_info foreign 0s"}},
		{"no such path", palettetest.Fault{Status: 404}, []string{"user_info missing 0s"}},
		{"a fault", palettetest.Fault{Status: 500}, []string{"user_info unavailable 0s"}},
		{"a redirect", palettetest.Fault{Redirect: "https://example.com/"}, []string{"user_info foreign 0s"}},
		{"a passing fault", palettetest.Fault{Status: 503, Times: 1}, []string{"user_info unavailable 0s", "user_info again after unavailable", "user_info ok 0s"}},
		{"no answer", palettetest.Fault{Drop: true}, []string{"user_info unreachable 0s"}},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r, n := watched(t, palette.Connection{}, palettetest.AllowLiveTokens())
			auth := palette.Auth{Token: r.LogIn(t).Raw}
			n.take()
			if c.name != "a success" {
				r.Palette.Inject(palettetest.UserInfo, c.fault)
			}
			_, _ = r.UserInfo(t.Context(), auth)
			// Go's client repeats a GET by itself on a connection that has gone; the observer hears of one.
			assert.Equal(t, c.want, n.take())
		})
	}
}

func TestObserverIsToldOfATimeoutAndOfACallerWhoHasGone(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*wiretest.Rig, context.CancelFunc)
		want string
	}{
		{"request_timeout", func(*wiretest.Rig, context.CancelFunc) { time.Sleep(10 * time.Second) }, "user_info timeout 10s"},
		{"the caller hangs up", func(_ *wiretest.Rig, hangUp context.CancelFunc) { hangUp() }, "user_info canceled 0s"},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r, n := watched(t, palette.Connection{}, palettetest.AllowLiveTokens())
			auth := palette.Auth{Token: r.LogIn(t).Raw}
			n.take()
			gate := r.Palette.Hold(palettetest.UserInfo)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			done := make(chan error, 1)
			go func() {
				_, err := r.UserInfo(ctx, auth)
				done <- err
			}()
			<-gate.Arrived()
			c.end(r, hangUp)
			require.Error(t, <-done)
			gate.Release()
			assert.Equal(t, []string{c.want}, n.take())
		})
	}
}

func TestObserverIsToldOfWaitsAndOfLoginsThatWereWithheld(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, n := watched(t, palette.Connection{RateLimit: 1, RateBurst: 1}, palettetest.AllowLiveTokens())
		auth := palette.Auth{Token: r.LogIn(t).Raw}
		_, err := r.UserInfo(t.Context(), auth)
		require.NoError(t, err)
		n.take()
		_, err = r.UserInfo(t.Context(), auth)
		require.NoError(t, err)
		assert.Equal(t, []string{"waited for users 1.025s got=true", "user_info ok 0s"}, n.take())

		time.Sleep(time.Minute)
		wrong := wiretest.LoginOf(palettetest.DefaultUser)
		wrong.Password = "not the password"
		_, err = r.Login(t.Context(), wrong)
		require.NotNil(t, answer.Refusal(err))
		_, err = r.Login(t.Context(), wrong)
		require.NotNil(t, answer.Refusal(err))
		assert.Equal(t, []string{"login rejected 0s", "withheld"}, n.take())
	})
}

func TestErrorTellsHowFarACallCame(t *testing.T) {
	trusting := func(r *wiretest.Rig) palette.Connection {
		return palette.Connection{Address: r.Palette.URL(), CACert: string(r.Palette.CA())}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		conn func(*wiretest.Rig) palette.Connection
		opts []palettetest.Option
		want answer.Stage
	}{
		{"no such host", func(*wiretest.Rig) palette.Connection { return palette.Connection{Address: "https://palette.invalid"} }, nil, answer.Lookup},
		{"no such port", func(*wiretest.Rig) palette.Connection {
			return palette.Connection{Address: "https://" + closed.Addr().String()}
		}, nil, answer.Connecting},
		{"a foreign certificate", func(r *wiretest.Rig) palette.Connection { return palette.Connection{Address: r.Palette.URL()} }, []palettetest.Option{palettetest.WithTLS()}, answer.Handshake},
		{"no TLS there", func(r *wiretest.Rig) palette.Connection {
			return palette.Connection{Address: "https" + r.Palette.URL()[len("http"):]}
		}, nil, answer.Handshake},
		{"it wants a client certificate", trusting, []palettetest.Option{palettetest.WithClientCA(authority.PEM())}, answer.Handshake},
		{"the connection is dropped", trusting, []palettetest.Option{palettetest.WithTLS()}, answer.Sent},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := wiretest.OnSocket(t, c.opts...)
			r.Palette.Down(true)
			conn := c.conn(r)
			conn.RequestTimeout = 10 * time.Second
			_, err := wiretest.NewClient(t, exchange.NewProcess().WithoutPauses(), conn).Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			var e *answer.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, answer.Unreachable, e.Kind)
			assert.Equal(t, c.want, e.Stage, e.Error())
		})
	}
}

func TestTraceTellsOfTheLastTry(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.AllowLiveTokens())
		for _, c := range []struct {
			name, date string
			want       exchange.Trace
		}{
			{"ahead", wiretest.Epoch.Add(90 * time.Second).Format(http.TimeFormat), exchange.Trace{Offset: 90*time.Second + time.Second/2, HasOffset: true}},
			{"behind", wiretest.Epoch.Add(-time.Hour).Format(http.TimeFormat), exchange.Trace{Offset: time.Second/2 - time.Hour, HasOffset: true}},
			{"no date", "yesterday", exchange.Trace{}},
		} {
			r.Palette.Inject(palettetest.Login, palettetest.Fault{Header: http.Header{"Date": {c.date}}, Times: 1})
			trace := exchange.Trace{Took: time.Hour}
			_, err := r.Login(exchange.WithTrace(t.Context(), &trace), wiretest.LoginOf(palettetest.DefaultUser))
			require.NoError(t, err)
			assert.Equal(t, c.want, trace, c.name)
		}
		r.Palette.Down(true)
		trace := exchange.Trace{HasOffset: true}
		_, err := r.Login(exchange.WithTrace(t.Context(), &trace), wiretest.LoginOf(palettetest.DefaultUser))
		require.Error(t, err)
		assert.Equal(t, exchange.Trace{}, trace, "of an answer that did not come")
	})
}

func TestEndpointsAreAllNamed(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, n := watched(t, palette.Connection{}, palettetest.AllowLiveTokens(), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(palettetest.Console))
		token := r.LogIn(t)
		auth := palette.Auth{Token: token.Raw}
		_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.Console))
		require.NoError(t, err)
		_, err = r.Refresh(t.Context(), token.Raw)
		require.NoError(t, err)
		_, err = r.UserInfo(t.Context(), auth)
		require.NoError(t, err)
		key := palette.NewAPIKey{Name: "a-key", Expiry: time.Now().Add(time.Hour)}
		uid, _, err := r.CreateAPIKey(t.Context(), auth, key)
		require.NoError(t, err)
		_, err = r.ListAPIKeys(t.Context(), auth)
		require.NoError(t, errors.Join(err, r.UpdateAPIKey(t.Context(), auth, uid, key), r.DeleteAPIKey(t.Context(), auth, uid)))
		u := palettetest.DefaultUser
		require.NoError(t, r.ChangePassword(t.Context(), auth, palette.PasswordChange{Email: u.Email, Current: palette.Secret(u.Password), New: "Another-Horse-8-Battery"}))
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		var told []string
		for _, line := range n.take() {
			var endpoint, outcome string
			_, err := fmt.Sscan(line, &endpoint, &outcome)
			require.NoError(t, err)
			assert.Equal(t, "ok", outcome, line)
			told = append(told, endpoint)
		}
		slices.Sort(told)
		assert.Equal(t, slices.Sorted(slices.Values(answer.Endpoints)), told)
	})
}
