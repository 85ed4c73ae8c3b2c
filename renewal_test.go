package palettesecrets

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestRenewalReturnsANewTokenOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		first := l.token()
		time.Sleep(10 * time.Minute)
		l.mustRenew()
		assert.NotEqual(t, first, l.token())
		assert.Equal(t, epoch.Add(25*time.Minute).Format(time.RFC3339), l.data["expires_at"])
		assert.Equal(t, w.palette.URL(), l.data["address"])
		assert.Equal(t, 15*time.Minute, l.secret.TTL)
		assert.Equal(t, 25*time.Minute, l.secret.MaxTTL, "from the issue: whatever the increment, not longer than the new token")
		assert.True(t, l.secret.Renewable)
		assert.Equal(t, []string{first, l.token()}, l.tokens(), "the first is alive and stays with the lease")
		assert.Equal(t, 2, w.palette.Calls(palettetest.Login), "the config's check and the issue")
		assert.Zero(t, w.palette.CookiesSet())

		time.Sleep(10 * time.Minute)
		second := l.token()
		l.mustRenew()
		assert.Equal(t, []string{second, l.token()}, l.tokens(), "the first is dead and gone")
		assert.Equal(t, 35*time.Minute, l.secret.MaxTTL)
		l.mustRevoke()
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func TestRenewalTakesTheNewTokensOwnLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.SetLifetime(30 * time.Minute)
		time.Sleep(5 * time.Minute)
		l.mustRenew()
		assert.Equal(t, 30*time.Minute, l.secret.TTL)
		assert.Equal(t, 35*time.Minute, l.secret.MaxTTL)
		l.mustRevoke()
	})
}

// Vault truncates both times to the second before it subtracts them.
func TestRenewalCountsInWholeSecondsAsVaultDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		time.Sleep(100 * time.Millisecond)
		l := w.creds("app")
		time.Sleep(10*time.Second + 800*time.Millisecond)
		l.mustRenew()
		assert.Equal(t, 10*time.Second+15*time.Minute, l.secret.MaxTTL)
		l.mustRevoke()
	})
}

func TestRenewalIsBoundByRequestRoleAndMount(t *testing.T) {
	for _, c := range []struct {
		name     string
		ask      fields
		role     fields // as it is at the renewal, five minutes after the issue
		mountMax time.Duration
		ttl, max time.Duration
	}{
		{"the request's ttl is what comes without an increment", fields{"ttl": "4m"}, nil, month, 4 * time.Minute, 20 * time.Minute},
		{"the role's ttl bounds each term", nil, fields{"ttl": "6m"}, month, 6 * time.Minute, 11 * time.Minute},
		{"the role's max_ttl counts from the issue", nil, fields{"max_ttl": "8m"}, month, 3 * time.Minute, 8 * time.Minute},
		{"the mount's maximum counts from the issue", nil, nil, 9 * time.Minute, 4 * time.Minute, 9 * time.Minute},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			l := w.creds("app", c.ask)
			w.write("roles/app", c.role)
			w.system.MaxLeaseTTLVal = c.mountMax
			time.Sleep(5 * time.Minute)
			l.mustRenew()
			assert.Equal(t, c.ttl, l.secret.TTL)
			assert.Equal(t, c.max, l.secret.MaxTTL)
			l.mustRevoke()
		})
	}
}

// A lease that is renewed every few seconds stays small, and is never without a live token.
func TestRenewalKeepsAtMostEightTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		for range 7 {
			time.Sleep(time.Second)
			l.mustRenew()
		}
		newest, calls := l.token(), w.palette.TotalCalls()
		time.Sleep(time.Minute)
		l.mustRenew()
		assert.Equal(t, newest, l.token(), "the newest once more")
		assert.Equal(t, 14*time.Minute, l.secret.TTL, "with the life that it has left")
		assert.Equal(t, 15*time.Minute+7*time.Second, l.secret.MaxTTL)
		assert.Equal(t, calls, w.palette.TotalCalls(), "without a call")

		time.Sleep(13*time.Minute + 54*time.Second) // the first two are dead
		l.mustRenew()
		assert.NotEqual(t, newest, l.token())
		assert.Len(t, l.tokens(), 7)

		start := time.Now()
		for range 600 { // two lives of a token
			time.Sleep(3 * time.Second)
			l.mustRenew()
			assert.LessOrEqual(t, len(l.tokens()), lease.MaxTokens)
			assert.True(t, w.palette.Alive(l.token()), time.Since(start))
		}
		l.mustRevoke()
	})
}

// A refusal is a coded error with status 400, and the lease stays as it was.
func TestRenewalIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world, l *heldLease)
		texts   []string
		asked   bool // Palette is
	}{
		{"role gone", func(w *world, _ *heldLease) { w.remove("roles/app") }, []string{`role "app"`, "does not exist any more"}, false},
		{"config gone", func(w *world, _ *heldLease) { w.remove("config") }, []string{`config "default" of role "app" does not exist any more`}, false},
		{"another email", func(w *world, _ *heldLease) {
			w.palette.AddUser(palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1"})
			w.write("config", fields{"email": "b@example.com", "password": "Another-Password-1"})
		}, []string{"another address, org, email or username"}, false},
		{"another org", func(w *world, _ *heldLease) {
			w.write("config", w.login(fields{"org": "other", "verify_connection": false}))
		}, []string{"another address, org, email or username"}, false},
		{"another address", func(w *world, _ *heldLease) {
			w.write("config", w.login(fields{"address": "https://palette.example.com", "verify_connection": false}))
		}, []string{"another address, org, email or username"}, false},
		{"a role of another config", func(w *world, _ *heldLease) {
			w.write("config/b", w.login(fields{"org": "other", "verify_connection": false}))
			w.write("roles/app", fields{"config_name": "b"})
		}, []string{`config "b" of role "app"`, "another address, org, email or username"}, false},
		{"session over", func(w *world, l *heldLease) { w.palette.EndSession(l.token()) }, []string{"the session, which is over", "message", "code", "ref", "read creds/app again"}, true},
		{"token dead", func(w *world, _ *heldLease) { time.Sleep(15 * time.Minute) }, []string{"token is dead", "read creds/app again"}, false},
		{"the role's max_ttl is over", func(w *world, _ *heldLease) {
			w.write("roles/app", fields{"max_ttl": "2m"})
			time.Sleep(2 * time.Minute)
		}, []string{"as long as the role's max_ttl allows"}, false},
		{"the mount's maximum is over", func(w *world, _ *heldLease) {
			w.system.MaxLeaseTTLVal = time.Minute
			time.Sleep(time.Minute)
		}, []string{"max_lease_ttl allows"}, false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			before := l.tokens()
			c.prepare(w, l)
			refreshes := w.palette.Calls(palettetest.Refresh)
			requireCoded(t, l.renew(), http.StatusBadRequest, c.texts...)
			assert.Equal(t, before, l.tokens())
			assert.Equal(t, c.asked, w.palette.Calls(palettetest.Refresh) > refreshes)
			l.mustRevoke()
		})
	}
}

// Vault would refuse it as well, and store its token nowhere.
func TestRenewalThatEndsAfterTheLeasesLimitIsRefused(t *testing.T) {
	for _, takes := range []time.Duration{4*time.Second + time.Millisecond, 5 * time.Second, 10 * time.Second} {
		bubble(t, fmt.Sprint(takes), func(t *testing.T) {
			w := configured(t)
			w.write("roles/app", fields{"max_ttl": "10m"})
			l := w.creds("app")
			before := l.tokens()
			time.Sleep(10*time.Minute - 5*time.Second)
			w.slow(palettetest.Refresh, takes)
			requireCoded(t, l.renew(), http.StatusBadRequest, "as long as the role's max_ttl allows", "read creds/app again")
			w.wait()
			assert.Equal(t, before, w.palette.LiveTokens(), "the new token is revoked")
			assert.Equal(t, before, l.tokens())
			l.mustRevoke()
		})
	}
}

func TestRenewalAfterASessionTimeoutIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithSessionTimeout(10*time.Minute))
		l := w.creds("app")
		time.Sleep(11 * time.Minute)
		requireCoded(t, l.renew(), http.StatusBadRequest, "which is over")
		l.mustRevoke()
	})
}

func TestRenewalWhenPaletteFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault palettetest.Fault
		code  int
		text  string
	}{
		{"503", palettetest.Fault{Status: 503}, http.StatusBadGateway, "503"},
		{"429", palettetest.Fault{Status: 429, RetryAfter: "3"}, http.StatusServiceUnavailable, "429"},
		{"404 of another server's", palettetest.Fault{Status: 404, Garbage: true}, http.StatusBadGateway, "404"},
		{"dropped", palettetest.Fault{Drop: true}, http.StatusBadGateway, "closed before the answer"},
		{"a page", palettetest.Fault{Garbage: true}, http.StatusBadGateway, "status 200, text/html"},
		{"a gateway", palettetest.Fault{Foreign: true, Status: 401, Body: "<html>"}, http.StatusBadGateway, "not Palette's answer"},
		{"redirect with the token", palettetest.Fault{Redirect: "http://127.0.0.1:1/%zz"}, http.StatusBadGateway, ""},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			w.palette.Inject(palettetest.Refresh, c.fault)
			requireCoded(t, l.renew(), c.code, c.text)
			w.palette.ClearAll()
			time.Sleep(3 * time.Second) // as long as the 429 asks to hold back
			l.mustRenew()               // the lease stayed as it was
			l.mustRevoke()
		})
	}
}

func TestRenewalAfterThePasswordChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.SetPassword("vault@example.com", "example", "Another-Password-1")
		w.write("config", fields{"password": "Another-Password-1"})
		l.mustRenew()
		l.mustRevoke()
	})
}

func TestRenewalStorageFaultsAreErrors(t *testing.T) {
	for _, prefix := range []string{store.RolePrefix, store.ConfigPrefix} {
		bubble(t, fmt.Sprint(prefix), func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			w.uncache()
			w.storage.failOn("get", prefix)
			require.ErrorIs(t, l.renew(), errDisk)
			w.storage.heal()
			l.mustRevoke()
		})
	}
}

func TestLeaseThatCannotBeReadIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, secret := range []*logical.Secret{
			{InternalData: fields{"secret_type": secretTypeToken}},
			{InternalData: fields{"secret_type": secretTypeToken, "id": 3}},
		} {
			for _, request := range []*logical.Request{logical.RenewRequest("creds/app", secret, nil), logical.RevokeRequest("creds/app", secret, nil)} {
				request.Storage = w.storage
				_, err := w.b.HandleRequest(t.Context(), request)
				assert.ErrorContains(t, err, "internal data cannot be read")
			}
		}
		_, err := lease.From(nil)
		assert.Error(t, err)
	})
}
