package palettesecrets

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// somebodys are answers of those who stand between Vault and Palette, as they were reported.
var somebodys = map[string]palettetest.Fault{
	"a gateway's 401":        {Foreign: true, Status: 401, Body: "<html><h1>Sign in</h1></html>"},
	"a 401 with nothing":     {Foreign: true, Status: 401},
	"a 401 in JSON":          {Foreign: true, Status: 401, Body: `{"error":"unauthorized","error_description":"token expired"}`},
	"a 401 of numbers":       {Foreign: true, Status: 401, Body: `{"code":401,"message":"Unauthorized"}`},
	"a proxy's 403":          {Foreign: true, Status: 403, Body: "Access denied"},
	"an ingress's 404":       {Foreign: true, Status: 404, Body: "default backend - 404"},
	"an API gateway's 404":   {Foreign: true, Status: 404, Body: `{"message":"no Route matched with those values"}`},
	"a proxy's 407":          {Foreign: true, Status: 407, Body: "<html>"},
	"a firewall's 418":       {Foreign: true, Status: 418, Body: `"tea"`},
	"a page of 500":          {Foreign: true, Status: 500, Body: "<html>oops"},
	"a balancer's 503":       {Foreign: true, Status: 503},
	"a portal's 200":         {Foreign: true, Status: 200, Body: "<html>Welcome</html>"},
	"a portal's redirect":    {Redirect: "https://portal.example.com/login", Status: 302},
	"a 200 of another API's": {Foreign: true, Status: 200, Body: `{"status":"ok"}`},
}

// Whatever somebody in between answers to a revocation, the token lives on: the revocation is pending, and
// done within a minute once the way is mended.
func TestForeignAnswerToARevocation(t *testing.T) {
	for name, fault := range somebodys {
		bubble(t, name, func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			w.palette.Inject(palettetest.Revoke, fault)
			requireCoded(t, l.revoke(), http.StatusBadGateway, "this is not Palette's answer", "the proxy, the gateway and the address")
			assert.Equal(t, []int{1, 1}, []int{len(w.palette.LiveTokens()), w.pending()})
			w.minute()
			assert.Equal(t, []int{1, 1}, []int{len(w.palette.LiveTokens()), w.pending()}, "nobody has ended it")
			w.palette.ClearAll()
			w.minute()
			assert.Empty(t, w.palette.LiveTokens())
			assert.Zero(t, w.pending())
		})
	}
}

// A long time of it loses nothing either: Vault is told of success in the end, and the engine goes on.
func TestForeignAnswersToARevocationForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.Inject(palettetest.Revoke, somebodys["a gateway's 401"])
		require.Error(t, l.revoke())
		for range 9 {
			w.minute()
		}
		require.NoError(t, l.revoke(), "the engine has it on its list")
		assert.Len(t, w.palette.LiveTokens(), 1)
		w.palette.ClearAll()
		w.minute()
		assert.Empty(t, w.palette.LiveTokens())
		assert.Zero(t, w.pending())
	})
}

// The same of an API key, which lives longer.
func TestForeignAnswerToADeletion(t *testing.T) {
	for name, fault := range somebodys {
		bubble(t, name, func(t *testing.T) {
			w := issuing(t)
			l := w.creds("key")
			w.palette.Inject(palettetest.APIKeyDelete, fault)
			requireCoded(t, l.revoke(), http.StatusBadGateway, "this is not Palette's answer")
			w.minute()
			assert.Equal(t, []int{1, 1}, []int{len(w.palette.LiveKeys()), w.pending()})
			w.palette.ClearAll()
			w.minute()
			w.end()
		})
	}
}

// A login that somebody else answers rejects no password, accuses nobody, and is tried again.
func TestForeignAnswerToALogin(t *testing.T) {
	for name, fault := range somebodys {
		bubble(t, name, func(t *testing.T) {
			w := configured(t, palettetest.WithLockout())
			fault.Times = 1
			w.palette.Inject(palettetest.Login, fault)
			w.fault(read, "creds/app", nil, http.StatusBadGateway, "this is not Palette's answer", fmt.Sprintf("status %d", fault.Status))
			asked := w.palette.Calls(palettetest.Login)
			if fault.Status == http.StatusUnauthorized {
				w.fault(read, "creds/app", nil, http.StatusBadGateway, "this is not Palette's answer", "not asked again before 2026-03-01T12:00:05Z")
				assert.Equal(t, asked, w.palette.Calls(palettetest.Login))
				time.Sleep(5 * time.Second)
			}
			w.creds("app").mustRevoke()
			assert.NotContains(t, w.log.String(), "rejects")
		})
	}
}

// A gateway asks for a sign-in for an hour. No more than four logins go out in 15 minutes. Reads are served again
// within 15 minutes of the gateway's end, an operator's write at once.
func TestForeignAnswersForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithLockout())
		w.palette.Inject(palettetest.Login, somebodys["a gateway's 401"])
		var tries []time.Time
		for range 3600 {
			before := w.palette.Calls(palettetest.Login)
			_, err := w.handle(t.Context(), read, "creds/app", nil)
			requireCoded(t, err, http.StatusBadGateway)
			if w.palette.Calls(palettetest.Login) > before {
				tries = append(tries, time.Now())
			}
			time.Sleep(time.Second)
		}
		for i := 4; i < len(tries); i++ {
			assert.GreaterOrEqual(t, tries[i].Sub(tries[i-4]), 15*time.Minute)
		}
		assert.Greater(t, len(tries), 9)
		w.palette.ClearAll()
		w.write("config", fields{"email": palettetest.DefaultUser.Email, "password": palettetest.DefaultUser.Password, "org": ""})
		w.creds("app").mustRevoke()
	})
}

// What somebody else answers to a refresh or a call with a session says nothing of the session.
func TestForeignAnswerLeavesTheSession(t *testing.T) {
	for name, fault := range somebodys {
		bubble(t, name, func(t *testing.T) {
			w := sharing(t)
			l := w.creds("many")
			first := l.token()
			time.Sleep(10 * time.Minute)
			w.palette.Inject(palettetest.Refresh, fault)
			second := w.creds("many")
			assert.Equal(t, first, second.token(), "the present one")
			assert.Contains(t, second.issue.Warnings[0], "this is not Palette's answer")
			assert.Equal(t, 1, w.logins())
			w.palette.ClearAll()
			time.Sleep(time.Minute)
			assert.NotEqual(t, first, w.creds("many").token())
			assert.Equal(t, 1, w.logins(), "the same session")

			w.palette.Inject(palettetest.Revoke, fault)
			w.remove("sessions/default")
			assert.Len(t, w.palette.LiveTokens(), 2)
			assert.Equal(t, 1, w.pending())
			w.palette.ClearAll()
			w.minute()
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

// A renewal of a lease of its own: the session is not over.
func TestForeignAnswerToARenewal(t *testing.T) {
	for name, fault := range somebodys {
		bubble(t, name, func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			w.palette.Inject(palettetest.Refresh, fault)
			requireCoded(t, l.renew(), http.StatusBadGateway, "this is not Palette's answer")
			w.palette.ClearAll()
			l.mustRenew()
			l.mustRevoke()
		})
	}
}

// A key that may have been made behind somebody's page is found and deleted.
func TestForeignAnswerToAKeysMaking(t *testing.T) {
	for name, fault := range somebodys {
		for _, made := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s, made: %t", name, made), func(t *testing.T) {
				w := issuing(t)
				fault.AfterWork, fault.Times = made, 1
				w.palette.Inject(palettetest.APIKeyCreate, fault)
				w.fault(read, "creds/key", nil, http.StatusBadGateway, "this is not Palette's answer")
				assert.Equal(t, made, len(w.palette.LiveKeys()) == 1)
				assert.Equal(t, 1, w.palette.Calls(palettetest.APIKeyCreate), "sent once")
				w.minute()
				w.minute()
				w.end()
			})
		}
	}
}

// A password change behind somebody's page: which one works is found out, and nothing is lost.
func TestForeignAnswerToAPasswordChange(t *testing.T) {
	for name, fault := range somebodys {
		for _, made := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s, made: %t", name, made), func(t *testing.T) {
				w := configured(t)
				old := w.password()
				fault.AfterWork, fault.Times = made, 1
				w.palette.Inject(palettetest.PasswordChange, fault)
				_, err := w.rotateRoot()
				if made {
					require.NoError(t, err)
				} else {
					requireCoded(t, err, http.StatusBadGateway, "this is not Palette's answer")
				}
				assert.Equal(t, made, w.password() != old)
				w.secrets = append(w.secrets, w.password())
				w.creds("app").mustRevoke()
			})
		}
	}
}
