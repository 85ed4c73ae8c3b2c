package palettesecrets

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestCredsReturnATokenUnderALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/app", fields{"project_uid": "5f0e1d"})
		l := w.creds("app")
		assert.True(t, w.palette.Alive(l.token()))
		assert.Equal(t, fields{
			"token": l.token(), "token_id": answer.TokenID(palette.Secret(l.token())), "address": w.palette.URL(), "org": "example", "project_uid": "5f0e1d",
			"expires_at": epoch.Add(15 * time.Minute).Format(time.RFC3339),
		}, l.data)
		assert.Equal(t, 15*time.Minute, l.secret.TTL)
		assert.True(t, l.secret.Renewable)
		assert.Zero(t, w.palette.CookiesSet())
		l.mustRevoke()

		w.write("roles/app", fields{"project_uid": ""})
		l = w.creds("app")
		assert.NotContains(t, l.data, "project_uid")
		l.mustRevoke()
	})
}

func TestCredsByWriteTakeTheSameFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		resp, err := w.handle(t.Context(), logical.UpdateOperation, "creds/app", fields{"ttl": "60s", "renewable": "false"})
		require.NoError(t, err)
		require.False(t, resp.IsError())
		assert.Equal(t, time.Minute, resp.Secret.TTL)
		assert.False(t, resp.Secret.Renewable)
		(&heldLease{w: w, secret: resp.Secret, data: resp.Data}).mustRevoke()
	})
}

// The lease lasts as long as the token says, cut by the request, the role and the mount.
func TestCredsLeaseIsTheShortestOfItsLimits(t *testing.T) {
	const life = 15 * time.Minute
	for _, c := range []struct {
		name           string
		role, ask      fields
		mountDefault   time.Duration
		mountMax       time.Duration
		ttl, max       time.Duration
		warningMention string
	}{
		{"the token", nil, nil, month, month, life, life, ""},
		{"the request", nil, fields{"ttl": "2m"}, month, month, 2 * time.Minute, life, ""},
		{"a request as long", nil, fields{"ttl": "15m"}, month, month, life, life, ""},
		{"a request too long", nil, fields{"ttl": "1h"}, month, month, life, life, "the token's life"},
		{"the role's ttl", fields{"ttl": "5m"}, nil, month, month, 5 * time.Minute, 5 * time.Minute, ""},
		{"a request beyond the role's ttl", fields{"ttl": "5m"}, fields{"ttl": 600}, month, month, 5 * time.Minute, 5 * time.Minute, "the role's ttl"},
		{"a role's ttl beyond the token", fields{"ttl": "1h"}, nil, month, month, life, life, ""},
		{"the role's max_ttl", fields{"max_ttl": "4m"}, nil, month, month, 4 * time.Minute, 4 * time.Minute, ""},
		{"the mount's default", nil, nil, 3 * time.Minute, month, 3 * time.Minute, 3 * time.Minute, ""},
		{"the role's ttl over the mount's default", fields{"ttl": "5m"}, nil, 3 * time.Minute, month, 5 * time.Minute, 5 * time.Minute, ""},
		{"the mount's maximum", fields{"ttl": "5m"}, nil, time.Minute, time.Minute, time.Minute, time.Minute, ""},
		{"a request beyond the mount's maximum", nil, fields{"ttl": "5m"}, month, time.Minute, time.Minute, time.Minute, "max_lease_ttl"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			w.write("roles/app", c.role)
			w.system.DefaultLeaseTTLVal, w.system.MaxLeaseTTLVal = c.mountDefault, c.mountMax
			l := w.creds("app", c.ask)
			assert.Equal(t, c.ttl, l.secret.TTL)
			assert.Equal(t, c.max, l.secret.MaxTTL)
			warnings := strings.Join(l.issue.Warnings, "\n")
			assert.Equal(t, c.warningMention != "", warnings != "", warnings)
			assert.Contains(t, warnings, c.warningMention)
			l.mustRevoke()
		})
	}
}

func TestCredsRenewable(t *testing.T) {
	for _, c := range []struct {
		role      bool
		ask       any
		renewable bool
		warns     bool
	}{
		{true, nil, true, false},
		{true, "true", true, false},
		{true, "false", false, false},
		{false, nil, false, false},
		{false, "false", false, false},
		{false, "true", false, true},
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := configured(t)
			w.write("roles/app", fields{"renewable": c.role})
			ask := fields{}
			if c.ask != nil {
				ask["renewable"] = c.ask
			}
			l := w.creds("app", ask)
			assert.Equal(t, c.renewable, l.secret.Renewable, "%+v", c)
			assert.Equal(t, c.warns, len(l.issue.Warnings) > 0, "%+v", c)
			l.mustRevoke()
		})
	}
}

func TestCredsRefuseBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("config/gone", w.login())
		w.write("roles/orphan", fields{"config_name": "gone"})
		w.remove("config/gone")
		calls := w.palette.TotalCalls()
		for _, c := range []struct {
			path  string
			data  fields
			texts []string
		}{
			{"creds/nobody", nil, []string{`no role "nobody"`, "write roles/nobody"}},
			{"creds/orphan", nil, []string{`role "orphan" names config "gone"`}},
			{"creds/app", fields{"ttl": "500ms"}, []string{`"ttl" is "500ms"`}},
			{"creds/app", fields{"ttl": "0"}, []string{`"ttl" is 0`, "at least a second"}},
			{"creds/app", fields{"ttl": "-1"}, []string{`"ttl" is "-1"`}},
			{"creds/app", fields{"ttl": []string{"1m", "2m"}}, []string{`"ttl" must be given once`}},
			{"creds/app", fields{"ttl": "abc"}, []string{`"ttl" is "abc"`, "duration"}},
			{"creds/app", fields{"tll": "1m"}, []string{`unknown field "tll"; did you mean "ttl"?`, "renewable, ttl"}},
			{"creds/app", fields{"renewable": "never"}, []string{`"renewable" is "never"`}},
		} {
			w.mistake(read, c.path, c.data, c.texts...)
			w.mistake(update, c.path, c.data, c.texts...)
		}
		assert.Equal(t, calls, w.palette.TotalCalls(), "Palette is not asked")
	})
}

// What a read gets when Palette fails: 400 for what the user can mend, 502 and 503 for
// the rest, never 403.
func TestCredsWhenPaletteFails(t *testing.T) {
	const reject, bad, busy = http.StatusBadRequest, http.StatusBadGateway, http.StatusServiceUnavailable
	for _, c := range []struct {
		name   string
		fault  palettetest.Fault
		status int
		texts  []string
	}{
		{"401", palettetest.Fault{Status: 401}, reject, []string{"rejects the login", `config "default"`, `"vault@example.com"`, "message", "code", "ref", "write config/default again"}},
		{"401 of a gateway", palettetest.Fault{Status: 401, Foreign: true, Body: "-"}, bad, []string{"not Palette's answer", "status 401", "text/plain"}},
		{"401 with nothing in it", palettetest.Fault{Status: 401, Foreign: true}, bad, []string{"not Palette's answer", "nothing in it"}},
		{"403", palettetest.Fault{Status: 403}, reject, []string{"rejects the login"}},
		{"404 of Palette's", palettetest.Fault{Status: 404}, reject, []string{"rejects the login"}},
		{"404 of another server's", palettetest.Fault{Status: 404, Garbage: true}, bad, []string{"status 404", "text/html", "somebody between Vault and Palette answers"}},
		{"403 of a proxy", palettetest.Fault{Status: 403, Garbage: true}, bad, []string{"403", "not Palette's"}},
		{"second factor", palettetest.Fault{MFA: true}, reject, []string{"second factor", `"vault@example.com"`}},
		{"408", palettetest.Fault{Status: 408}, bad, []string{"408"}},
		{"429", palettetest.Fault{Status: 429}, busy, []string{"429"}},
		{"500", palettetest.Fault{Status: 500}, bad, []string{"500"}},
		{"503", palettetest.Fault{Status: 503, Garbage: true}, bad, []string{"503"}},
		{"dropped", palettetest.Fault{Drop: true}, bad, []string{"closed before the answer"}},
		{"no JSON", palettetest.Fault{Garbage: true}, bad, []string{"status 200", "text/html"}},
		{"JSON of another form", palettetest.Fault{Body: `{"Authorization":["Leaky-1"]}`}, bad, []string{"another form"}},
		{"empty", palettetest.Fault{Foreign: true}, bad, []string{"nothing in it"}},
		{"no token", palettetest.Fault{NoToken: true}, bad, []string{"JSON of another form"}},
		{"huge", palettetest.Fault{Huge: true}, bad, []string{"more than 1 MiB"}},
		{"dead on arrival", palettetest.Fault{Expired: true}, bad, []string{"dead on arrival"}},
		{"a token with a line break", palettetest.Fault{Token: "Leaky-1\nX: y"}, bad, []string{"characters that no token has"}},
		{"a token that is too long", palettetest.Fault{Token: strings.Repeat("Leaky-1", 4000)}, bad, []string{"longer than 16 KiB"}},
		{"redirect", palettetest.Fault{Redirect: "https://elsewhere.example.com/Leaky-1"}, bad, []string{"302", "redirect to elsewhere.example.com", "not followed"}},
		{"redirect nowhere", palettetest.Fault{Redirect: "http://%zz/Leaky-1"}, bad, nil},
		{"a password sent back", palettetest.Fault{Status: 400, Body: `{"code":"X","message":"bad password ` + palettetest.DefaultUser.Password + ` for you","ref":"r"}`}, reject, []string{"bad password [redacted] for you"}},
		{"a token sent back", palettetest.Fault{Status: 400, Body: `{"code":"X","message":"not eyJhbGciOiJIUzI1NiJ9.eyJMZWFreS0xIjoxfQ.c2ln","ref":"r"}`}, reject, []string{"not [redacted]"}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, palettetest.AllowLiveTokens()) // tokens that never reach the engine
			w.secrets = append(w.secrets, "Leaky-1", "eyJMZWFreS0xIjoxfQ")
			w.write("config", w.login())
			w.write("roles/app", fields{"renewable": true})
			w.palette.Inject(palettetest.Login, c.fault)
			if c.status == reject {
				w.mistake(read, "creds/app", nil, c.texts...)
				return
			}
			w.fault(read, "creds/app", nil, c.status, append(c.texts, strings.TrimPrefix(w.palette.URL(), "http://"))...)
		})
	}
}

func TestCredsWhenPaletteCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.Close()
		w.b.clients.DropAll() // else a kept connection says that it was closed
		w.fault(read, "creds/app", nil, http.StatusBadGateway, "connection refused")
		w.write("config", w.login(fields{"address": "https://palette.invalid", "verify_connection": false, "proxy_url": "http://127.0.0.1:1"}))
		w.fault(read, "creds/app", nil, http.StatusBadGateway, "palette.invalid:443", "the proxy (127.0.0.1:1): connection refused")
	})
}

func TestCredsWhenPaletteIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("config", fields{"request_timeout": "10s"})
		gate := w.palette.Hold(palettetest.Login)
		defer w.palette.Close() // the held call ends without its work
		go func() {
			<-gate.Arrived()
			time.Sleep(10 * time.Second)
		}()
		w.fault(read, "creds/app", nil, http.StatusBadGateway, "no answer within 10s", "request_timeout")
	})
}

// A token that says nothing of its life gets Palette's default, one of an unusual form
// what it says.
func TestCredsReadTheLifeOffTheToken(t *testing.T) {
	for _, c := range []struct {
		token string
		ttl   time.Duration
	}{
		{"no-jwt-at-all", 15 * time.Minute},
		{jwtWith(`{"sub":"x"}`), 15 * time.Minute},
		{jwtWith(`{"iat":1000,"exp":1600}`), 10 * time.Minute}, // whatever the clocks say
		{jwtWith(`{"exp":` + unix(epoch.Add(7*time.Minute)) + `}`), 7 * time.Minute},
		{jwtWith(`{"iat":"x","exp":"y"}`), 15 * time.Minute},
		{jwtWith(`{"iat":1000,"exp":4e18}`), month}, // a life without an end: the mount's limit
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := newWorld(t, palettetest.AllowLiveTokens())
			w.write("config", w.login())
			w.write("roles/app", fields{"renewable": true})
			w.palette.Inject(palettetest.Login, palettetest.Fault{Token: c.token, Times: 1})
			assert.Equal(t, c.ttl, w.creds("app").secret.TTL, c.token)
		})
	}
}

func TestCredsStorageFaultsAreErrors(t *testing.T) {
	for _, prefix := range []string{store.RolePrefix, store.ConfigPrefix} {
		bubble(t, fmt.Sprint(prefix), func(t *testing.T) {
			w := configured(t)
			w.uncache()
			w.storage.failOn("get", prefix)
			_, err := w.handle(t.Context(), read, "creds/app", nil)
			assert.ErrorIs(t, err, errDisk, prefix)
		})
	}
}

// expires_at counts from before the login was sent: a lease that runs out by itself finds
// its token dead and costs no call.
func TestCredsExpiryCountsFromBeforeTheLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		go func() {
			<-gate.Arrived()
			time.Sleep(3 * time.Second)
			gate.Release()
		}()
		l := w.creds("app")
		assert.Equal(t, epoch.Add(15*time.Minute).Format(time.RFC3339), l.data["expires_at"])
		assert.Equal(t, 15*time.Minute, l.secret.TTL)
		time.Sleep(15 * time.Minute)
		revocations := w.palette.Calls(palettetest.Revoke)
		l.mustRevoke()
		assert.Equal(t, revocations, w.palette.Calls(palettetest.Revoke))
	})
}
