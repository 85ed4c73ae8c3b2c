package palettetest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestFaultInsteadOfWork(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  palettetest.Fault
		status int
		header http.Header
		check  func(t *testing.T, r reply)
	}{
		{"status", palettetest.Fault{Status: 503}, 503, nil, func(t *testing.T, r reply) { wantError(t, r, 503, "InjectedFault") }},
		{"body", palettetest.Fault{Status: 502, Body: "<html>"}, 502, nil, func(t *testing.T, r reply) { assert.Equal(t, "<html>", r.text) }},
		{"body alone", palettetest.Fault{Body: `{"a":1}`}, 200, http.Header{"Content-Type": {"application/json"}}, nil},
		{"retry after", palettetest.Fault{Status: 429, RetryAfter: "7"}, 429, http.Header{"Retry-After": {"7"}}, nil},
		{"header", palettetest.Fault{Status: 500, Header: http.Header{"x-a": {"b"}}}, 500, http.Header{"X-A": {"b"}}, nil},
		{"somebody else's page", palettetest.Fault{Foreign: true, Status: 401, Body: "<html>"}, 401, http.Header{"Content-Type": {"text/html; charset=utf-8"}}, nil},
		{"somebody else's JSON", palettetest.Fault{Foreign: true, Body: `{"message":"m"}`}, 200, http.Header{"Content-Type": {"application/json"}}, nil},
		{"somebody else's nothing", palettetest.Fault{Foreign: true, Status: 404}, 404, nil, func(t *testing.T, r reply) { assert.Empty(t, r.text) }},
		{"of any content type", palettetest.Fault{Foreign: true, Body: `{}`, Header: http.Header{"Content-Type": {"a/b"}}}, 200, http.Header{"Content-Type": {"a/b"}}, nil},
		{"garbage", palettetest.Fault{Garbage: true}, 200, nil, func(t *testing.T, r reply) { assert.Contains(t, r.text, "<html>") }},
		{"huge", palettetest.Fault{Huge: true}, 200, nil, func(t *testing.T, r reply) { assert.Greater(t, len(r.text), 1<<20) }},
		{"redirect", palettetest.Fault{Redirect: "http://127.0.0.1:1/"}, 302, http.Header{"Location": {"http://127.0.0.1:1/"}}, nil},
		{"redirect 308", palettetest.Fault{Redirect: "/x", Status: 308}, 308, http.Header{"Location": {"/x"}}, nil},
		{"no token", palettetest.Fault{NoToken: true}, 200, nil, func(t *testing.T, r reply) { assert.NotContains(t, r.decode(t), "Authorization") }},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.Inject(palettetest.Login, tt.fault)
			r := f.tryLogin(alice.Email, alice.Org, alice.Password)
			assert.Equal(t, tt.status, r.status)
			for name := range tt.header {
				assert.Equal(t, tt.header.Get(name), r.header.Get(name))
			}
			if tt.check != nil {
				tt.check(t, r)
			}
			assert.Empty(t, f.Issued())
			f.Clear(palettetest.Login)
			f.wantAlive(true, f.login(alice))
		})
	}
}

func TestFaultAtAnyEndpoint(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		token := f.login(alice)
		f.Inject(palettetest.Any, palettetest.Fault{Foreign: true, Status: 407, Times: 3})
		f.Inject(palettetest.UserInfo, palettetest.Fault{Status: 500, Times: 1})
		assert.Equal(t, 500, f.must("GET", "/v1/users/info", token, "").status, "an endpoint's own come first")
		assert.Equal(t, 407, f.must("GET", "/v1/users/info", token, "").status)
		assert.Equal(t, 407, f.revoke(token, token).status)
		assert.Equal(t, 407, f.must("GET", "/v1/nothing", "", "").status)
		assert.Equal(t, 204, f.revoke(token, token).status)
	})
}

// Whoever answers in Palette's place may do so after Palette has done its work, and by another clock.
func TestForeignAnswerAfterTheWork(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		f.SetClock(time.Hour)
		f.Inject(palettetest.Login, palettetest.Fault{Foreign: true, Status: 504, AfterWork: true, Times: 1})
		r := f.tryLogin(alice.Email, alice.Org, alice.Password)
		assert.Equal(t, 504, r.status)
		assert.Equal(t, epoch.Format(http.TimeFormat), r.header.Get("Date"))
		assert.Len(t, f.LiveTokens(), 1)
	})
}

func TestFaultsOnTokens(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		inject := func(fault palettetest.Fault) reply {
			f.Inject(palettetest.Login, fault)
			return f.tryLogin(alice.Email, alice.Org, alice.Password)
		}
		r := inject(palettetest.Fault{MFA: true})
		assert.Equal(t, true, r.decode(t)["isMfa"])
		f.wantAlive(false, r.str(t, "Authorization"))

		r = inject(palettetest.Fault{Expired: true})
		c := parse(t, r.str(t, "Authorization"))
		assert.Equal(t, c.IssuedAt, c.Expiry)
		f.wantAlive(false, r.str(t, "Authorization"))

		assert.Equal(t, "opaque", inject(palettetest.Fault{Token: "opaque"}).str(t, "Authorization"))
		f.wantAlive(true, "opaque")
		made := signedBySomeoneElse(t, now().Add(time.Minute))
		assert.Equal(t, made, inject(palettetest.Fault{Token: made}).str(t, "Authorization"))
		f.wantAlive(true, made)
		time.Sleep(time.Minute)
		f.wantAlive(false, made)
		f.wantAlive(true, "opaque")
		time.Sleep(palettetest.DefaultLifetime)
		f.wantAlive(false, "opaque")
		noExpiry := signedBySomeoneElse(t, time.Time{})
		inject(palettetest.Fault{Token: noExpiry})
		f.wantAlive(true, noExpiry)
	})
}

func signedBySomeoneElse(t *testing.T, expires time.Time) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: make([]byte, 32)}, nil)
	require.NoError(t, err)
	claims := jwt.Claims{}
	if !expires.IsZero() {
		claims.Expiry = jwt.NewNumericDate(expires)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return text
}

func TestDrop(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		drops := func() {
			t.Helper()
			_, err := f.send("POST", "/v1/auth/authenticate", "", loginBody(alice.Email, alice.Org, alice.Password))
			require.Error(t, err)
		}
		f.Inject(palettetest.Login, palettetest.Fault{Drop: true, Times: 1})
		drops()
		assert.Empty(t, f.Issued(), "dropped before the work")
		f.Inject(palettetest.Login, palettetest.Fault{DropAfter: true, Times: 1})
		drops()
		assert.Len(t, f.LiveTokens(), 1, "dropped after the work")
		f.Down(true)
		drops()
		assert.Len(t, f.Issued(), 1)
		f.Down(false)
		f.login(alice)
		assert.Equal(t, 4, f.Calls(palettetest.Login))
	})
}

func TestFaultOrder(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		statuses := func(n int) (got []int) {
			for range n {
				got = append(got, f.must("GET", "/v1/projects/alerts", "", "").status)
			}
			return got
		}
		f.Inject(palettetest.Alerts, palettetest.Fault{Status: 500, Times: 2})
		f.Inject(palettetest.Alerts, palettetest.Fault{Status: 502, Times: 1})
		assert.Equal(t, []int{500, 500, 502, 401}, statuses(4))
		f.Inject(palettetest.Alerts, palettetest.Fault{Status: 503})
		assert.Equal(t, []int{503, 503}, statuses(2))
		f.Inject(palettetest.Alerts, palettetest.Fault{Status: 504})
		assert.Equal(t, []int{504}, statuses(1), "replaces the one without end")
		f.Inject(palettetest.Login, palettetest.Fault{Status: 500})
		f.ClearAll()
		assert.Equal(t, []int{401}, statuses(1))
		f.login(alice)
	})
}

func TestDelayAndLatency(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLatency(20*time.Millisecond))
		done := f.background(func() { f.login(alice) })
		time.Sleep(20*time.Millisecond - time.Nanosecond)
		synctest.Wait()
		assert.Empty(t, f.Issued())
		time.Sleep(time.Nanosecond)
		<-done
		assert.Len(t, f.Issued(), 1)

		f.SetLatency(0)
		f.Inject(palettetest.Login, palettetest.Fault{Delay: time.Minute, Status: 503})
		start := now()
		assert.Equal(t, 503, f.tryLogin(alice.Email, alice.Org, alice.Password).status)
		assert.Equal(t, time.Minute, now().Sub(start))
	})
}

// background runs work in a goroutine; the channel is closed at its end.
func (f *fixture) background(work func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	return done
}
