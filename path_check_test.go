package palettesecrets

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/check"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// check reads a check, and takes nothing but the config's and the guard's own traces for
// granted: nothing is stored.
func (w *world) check(data ...fields) fields {
	w.t.Helper()
	before := w.keys("")
	found := w.read("check/default", data...).Data
	assert.Equal(w.t, before, w.keys(""), "a check must store nothing")
	return found
}

func TestCheckLogsInAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		user := palettetest.DefaultUser
		w.palette.Inject(palettetest.UserInfo, palettetest.Fault{Header: http.Header{"Date": {epoch.Add(90 * time.Second).Format(http.TimeFormat)}}})
		w.palette.Inject(palettetest.Login, palettetest.Fault{Header: http.Header{"Date": {"not a date"}}})
		before := w.palette.TotalCalls()
		found := w.check()
		assert.Equal(t, 3, w.palette.TotalCalls()-before, "a login, a question, a revocation")
		known, _ := w.palette.User(user.Email, user.Org)
		assert.NotEmpty(t, found["tenant_uid"])
		delete(found, "tenant_uid")
		assert.Equal(t, fields{
			"ok": true, "config": "default", "address": w.palette.URL(), "method": "login", "org": user.Org, "user_uid": known.UID,
			"token_life": int64(900), "clock_offset": 90.5, "login_ms": 0.0, "user_info_ms": 0.0, "revoke_ms": 0.0, "revocation": "available",
		}, found)
	})
}

func TestCheckTellsHowLongEachCallTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		calls := []struct {
			gate  *palettetest.Gate
			took  time.Duration
			field string
			ms    float64
		}{
			{w.palette.Hold(palettetest.Login), 20_340 * time.Microsecond, "login_ms", 20.3},
			{w.palette.Hold(palettetest.UserInfo), 1_050 * time.Millisecond, "user_info_ms", 1050},
			{w.palette.Hold(palettetest.Revoke), 70 * time.Microsecond, "revoke_ms", 0.1},
		}
		done := make(chan error, 1)
		var found fields
		go func() {
			resp, err := w.handle(t.Context(), read, "check/default", nil)
			if err == nil {
				found = resp.Data
			}
			done <- err
		}()
		for _, c := range calls {
			<-c.gate.Arrived()
			time.Sleep(c.took)
			c.gate.Release()
		}
		require.NoError(t, <-done)
		for _, c := range calls {
			assert.InDelta(t, c.ms, found[c.field], 1e-9, c.field)
		}
	})
}

func TestCheckUsesWhatIsThere(t *testing.T) {
	bubble(t, "the shared session", func(t *testing.T) {
		w := sharing(t)
		w.creds("many")
		logins := w.palette.Calls(palettetest.Login)
		found := w.check()
		assert.Equal(t, []any{true, "session", "not_asked"}, []any{found["ok"], found["method"], found["revocation"]})
		assert.Equal(t, logins, w.palette.Calls(palettetest.Login))
		assert.Equal(t, "login", w.check(fields{"login": true})["method"])
		assert.Equal(t, logins+1, w.palette.Calls(palettetest.Login))
		time.Sleep(palettetest.DefaultLifetime)
		assert.Equal(t, "login", w.check()["method"], "a session that is dead is none")
	})
	bubble(t, "the API key", func(t *testing.T) {
		w, _ := keyed(t)
		found := w.read("check/k").Data
		assert.Equal(t, []any{true, "api_key", "not_asked"}, []any{found["ok"], found["method"], found["revocation"]})
		assert.NotContains(t, found, "token_life")
		w.mistake(logical.ReadOperation, "check/k", fields{"login": true}, `"login"`, "API key")
	})
}

func TestCheckTellsWhetherRevocationExists(t *testing.T) {
	for _, c := range []struct {
		want  string
		opts  []palettetest.Option
		fault *palettetest.Fault
	}{
		{"available", nil, nil},
		{"missing", []palettetest.Option{palettetest.WithoutRevoke(), palettetest.AllowLiveTokens()}, nil},
		{"failed", nil, &palettetest.Fault{Status: 500}},
	} {
		bubble(t, c.want, func(t *testing.T) {
			w := configured(t, c.opts...)
			if c.fault != nil {
				w.palette.Inject(palettetest.Revoke, *c.fault)
			}
			asked := w.palette.Calls(palettetest.Revoke)
			found := w.read("check/default").Data
			assert.Equal(t, []any{true, c.want}, []any{found["ok"], found["revocation"]})
			assert.Equal(t, 1, w.palette.Calls(palettetest.Revoke)-asked)
			assert.Equal(t, c.want == check.RevocationFailed, w.pending() == 1, "what could not be revoked is pending")
			w.palette.ClearAll()
			w.minute()
			assert.Zero(t, w.pending())
		})
	}
}

// proxySecret is part of a proxy's URL.
const proxySecret = "Proxy-Has-5-Secrets"

// The ways to spoil a world.
func inject(e palettetest.Endpoint, f palettetest.Fault) func(*world) {
	return func(w *world) { w.palette.Inject(e, f) }
}

func leads(address string, more ...fields) func(*world) {
	return func(w *world) {
		w.write("config", w.login(append(more, fields{"address": address, "verify_connection": false})...))
	}
}

func proxied(scheme, host string) func(*world) {
	return leads("https://palette.example.com", fields{"proxy_url": scheme + "://vault:" + proxySecret + "@" + host})
}

func private(trusted bool, opts ...palettetest.Option) func(*world) {
	return func(w *world) {
		p, more := palettetest.New(w.t, opts...), fields{}
		if trusted {
			more["ca_cert"] = string(p.CA())
		}
		leads(p.URL(), more)(w)
	}
}

// checkRow is a way to spoil a world, and what a check then says.
type checkRow struct {
	name                string
	spoil               func(*world)
	step, error, advice string
}

// fails holds a check of a spoilt world against the row.
func (c checkRow) fails(w *world) {
	c.spoil(w)
	w.secrets = append(w.secrets, proxySecret)
	found := w.check()
	w.noSecret("a check", fmt.Sprint(found))
	assert.Equal(w.t, []any{false, c.step}, []any{found["ok"], found["step"]}, found)
	assert.Contains(w.t, found["error"], c.error)
	assert.Contains(w.t, found["advice"], c.advice)
	w.wait()
}

func TestCheckTellsWhatTheNetworkLacksAndWhatToDo(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	asking := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	t.Cleanup(asking.Close)
	nobody, proxy, foreign := closed.Addr().String(), asking.Listener.Addr().String(), strings.TrimPrefix(palettetest.New(t, palettetest.WithTLS()).URL(), "https://")
	for _, c := range []checkRow{
		{"no such host", leads("https://palette.invalid"), "name lookup", "name lookup failed", "resolve"},
		{"nobody listens", leads("http://" + nobody), "connection", "refused", "firewall"},
		{"it speaks no TLS", func(w *world) { leads(strings.Replace(w.palette.URL(), "http:", "https:", 1))(w) }, "TLS", "does not speak TLS", "the port in address"},
		{"its authority is not trusted", private(false, palettetest.WithTLS()), "TLS", "an authority that is not trusted", "check ca_cert"},
		{"its name is another", private(true, palettetest.WithTLS("palette.example.com")), "TLS", "for another name than 127.0.0.1", "tls_server_name"},
		{"it wants a client certificate", private(true, palettetest.WithClientCA(authority.PEM())), "TLS", "certificate", "client_cert"},
		{"the proxy says no", proxied("http", proxy), "connection", "answered 407 to CONNECT", "check user and password in proxy_url (or HTTPS_PROXY in Vault's environment), and that the proxy lets Vault's server through to this host"},
		{"no proxy listens", proxied("http", nobody), "connection", "the proxy (" + nobody + "): connection refused", "check host and port in proxy_url (or HTTPS_PROXY in Vault's environment)"},
		{"no such proxy", proxied("http", "proxy.invalid:3128"), "name lookup", "the proxy (proxy.invalid:3128): name lookup failed", "check host and port in proxy_url (or HTTPS_PROXY in Vault's environment)"},
		{"the proxy speaks no TLS", proxied("https", proxy), "TLS", "the proxy (" + proxy + "): TLS: the other side does not speak TLS", "check scheme and port in proxy_url"},
		{"the proxy's authority is not trusted", proxied("https", foreign), "TLS", "the proxy (" + foreign + "): TLS: the certificate is signed", "count for an https:// proxy too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // a call that found nobody is sent again after a pause
			c.fails(onSockets(t).configured())
		})
	}
}

func TestCheckTellsTheStepThatFailsAndWhatToDo(t *testing.T) {
	for _, c := range []checkRow{
		{"it drops connections", func(w *world) { w.palette.Down(true) }, "login", "closed", "request_timeout"},
		{"the password is wrong", func(w *world) {
			w.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Another-1")
		}, "login", "rejects the login", "right email, org and password"},
		{"a second factor", inject(palettetest.Login, palettetest.Fault{MFA: true}), "login", "second factor", "MFA"},
		{"Palette is out of order", inject(palettetest.Login, palettetest.Fault{Status: 500}), "login", "500", "wait"},
		{"the limit is reached", inject(palettetest.Login, palettetest.Fault{Status: 429, RetryAfter: "600"}), "login", "limit", "rate_limit"},
		{"another server", inject(palettetest.Login, palettetest.Fault{Garbage: true}), "login", "text/html", "somebody between Vault and Palette answers"},
		{"no such path", inject(palettetest.Login, palettetest.Fault{Status: 404, Body: "not found"}), "login", "404", "somebody between Vault and Palette answers"},
		{"a gateway", inject(palettetest.Login, palettetest.Fault{Foreign: true, Status: 401, Body: "<html>"}), "login", "status 401, text/html", "look at the proxy"},
		{"the token does not work", inject(palettetest.UserInfo, palettetest.Fault{Status: 401}), "token", "401", "try again"},
		{"the user may not ask", inject(palettetest.UserInfo, palettetest.Fault{Status: 403}), "token", "403", "permission"},
		{"the answer names nobody", inject(palettetest.UserInfo, palettetest.Fault{Body: "{}"}), "token", "JSON of another form", "somebody between Vault and Palette answers"},
	} {
		bubble(t, c.name, func(t *testing.T) { c.fails(configured(t)) })
	}
}

func TestCheckIsCountedByTheLoginProtection(t *testing.T) {
	for _, c := range []struct {
		failed   int // one a minute: the check first, then writes with other passwords
		withheld time.Duration
		advice   string
	}{
		{1, 15 * time.Second, "write config/default with the right email, org and password; one more login is kept for that"},
		{3, 15 * time.Minute, "one more login is kept for that"},
		{4, 15 * time.Minute, "4 logins have failed: even a write is not tried before 2026-03-01T12:15:00Z. Write config/default with the right email, org and password then (verify_connection=false stores it now)"},
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := configured(t)
			const right = "Another-Horse-8-Battery"
			w.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, right)
			w.check()
			for i := 1; i < c.failed; i++ {
				time.Sleep(time.Minute)
				w.mistake(update, "config", fields{"password": fmt.Sprintf("Wrong-Horse-%d-Battery", i)}, "rejects the login")
			}
			asked := w.palette.Calls(palettetest.Login)
			found := w.check()
			assert.Equal(t, asked, w.palette.Calls(palettetest.Login), "the next one is not let go out")
			assert.Equal(t, []any{false, "login"}, []any{found["ok"], found["step"]})
			assert.Equal(t, epoch.Add(c.withheld).Format(time.RFC3339), found["withheld_until"])
			assert.Contains(t, found["advice"], c.advice)
			assert.Equal(t, found, w.read("check").Data, "check is check/default")
			if c.failed == 4 {
				time.Sleep(time.Until(epoch.Add(c.withheld - time.Second)))
				w.mistake(update, "config", fields{"password": right}, "not asked again before 2026-03-01T12:15:00Z")
				time.Sleep(time.Second)
			}
			w.write("config", fields{"password": right})
			assert.Equal(t, true, w.check()["ok"])
		})
	}
}

func TestCheckOfADeadSessionSaysHowToEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.palette.EndSession(w.creds("many").token())
		found := w.check()
		assert.Equal(t, []any{false, "session", "token"}, []any{found["ok"], found["method"], found["step"]})
		assert.Contains(t, found["advice"], "delete sessions/default")
	})
}

func TestCheckAnswersForWhatIsNotPalettes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.mistake(logical.ReadOperation, "check/nobody", nil, `no config "nobody"`, "config/nobody")
		w.mistake(logical.ReadOperation, "check/default", fields{"login": "perhaps"}, `"login"`, "boolean")
		w.uncache()
		w.storage.failOn("get", "config/")
		_, err := w.handle(t.Context(), logical.ReadOperation, "check/default", nil)
		require.ErrorIs(t, err, errDisk)
		w.storage.heal()
		callBack := w.ended()
		w.fault(logical.ReadOperation, "check/default", nil, http.StatusServiceUnavailable, "sealed, reloaded or removed")
		callBack()
	})
}

func TestCheckWhoseCallerHangsUpLeavesNothing(t *testing.T) {
	for _, e := range []palettetest.Endpoint{palettetest.Login, palettetest.UserInfo, palettetest.Revoke} {
		bubble(t, string(e), func(t *testing.T) {
			w := configured(t)
			gate := w.palette.Hold(e)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			done := make(chan error, 1)
			go func() {
				_, err := w.handle(ctx, logical.ReadOperation, "check/default", nil)
				done <- err
			}()
			<-gate.Arrived()
			hangUp()
			require.Error(t, <-done)
			gate.Release()
			w.wait() // the stand-in looks for live tokens
		})
	}
}
