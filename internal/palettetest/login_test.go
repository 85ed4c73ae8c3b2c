package palettetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	bob := palettetest.User{Email: "bob@example.com", Org: "example", Password: "Bob-Has-4-Secrets"}
	tests := []struct {
		name, email, org, password string
		status                     int
		code                       string
	}{
		{"right", alice.Email, alice.Org, alice.Password, 200, ""},
		{"same email, other org", other.Email, other.Org, other.Password, 200, ""},
		{"password of the other org", alice.Email, alice.Org, other.Password, 401, "InvalidCredentials"},
		{"no such email", "nobody@example.com", alice.Org, alice.Password, 401, "InvalidCredentials"},
		{"no such org", alice.Email, "nowhere", alice.Password, 401, "InvalidCredentials"},
		{"no such email, org left out", "nobody@example.com", "", alice.Password, 401, "InvalidCredentials"},
		{"org left out, user of one", bob.Email, "", bob.Password, 200, ""},
		{"org left out, user of several", alice.Email, "", alice.Password, 400, "InvalidRequest"},
		{"no password", alice.Email, alice.Org, "", 400, "InvalidRequest"},
		{"no email", "", alice.Org, alice.Password, 400, "InvalidRequest"},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, palettetest.WithUser(bob))
			r := f.tryLogin(tt.email, tt.org, tt.password)
			if tt.status != 200 {
				wantError(t, r, tt.status, tt.code)
				return
			}
			require.Equal(t, 200, r.status)
			assert.Equal(t, false, r.decode(t)["isMfa"])
			f.wantAlive(true, r.str(t, "Authorization"))
		})
	}
}

func TestLoginBody(t *testing.T) {
	t.Parallel()
	right := loginBody(alice.Email, alice.Org, alice.Password)
	tests := []struct {
		name, contentType, body string
		status                  int
	}{
		{"right", "application/json", right, 200},
		{"with a charset", "application/json; charset=utf-8", right, 200},
		{"form", "application/x-www-form-urlencoded", right, 415},
		{"no type", "", right, 415},
		{"unknown field", "application/json", `{"emailId":"a","extra":1}`, 400},
		{"wrong type", "application/json", `{"emailId":["s3cret"]}`, 400},
		{"not JSON", "application/json", `{"emailId":`, 400},
		{"two values", "application/json", right + right, 400},
		{"empty", "application/json", "", 400},
		{"1 MiB", "application/json", right + strings.Repeat(" ", 1<<20-len(right)), 200},
		{"more than 1 MiB", "application/json", right + strings.Repeat(" ", 1<<20-len(right)+1), 413},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			request := f.request("POST", "/v1/auth/authenticate?setCookie=false", tt.body)
			request.Header.Set("Content-Type", tt.contentType)
			r, err := f.roundTrip(request)
			require.NoError(t, err)
			assert.Equal(t, tt.status, r.status, r.text)
			assert.NotContains(t, r.text, "s3cret")
		})
	}
}

func TestLoginToken(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLifetime(time.Minute))
		first, second := f.login(alice), f.login(alice)
		c := parse(t, first)
		assert.Equal(t, now(), c.IssuedAt.Time().UTC())
		assert.Equal(t, time.Minute, c.Expiry.Time().Sub(c.IssuedAt.Time()))
		assert.Equal(t, alice.Email, c.Email)
		assert.NotEmpty(t, c.SessionID)
		assert.NotEqual(t, c.ID, parse(t, second).ID)
		assert.NotEqual(t, c.SessionID, parse(t, second).SessionID)
		assert.Equal(t, []string{first, second}, f.Issued())

		time.Sleep(time.Minute - time.Second)
		f.wantAlive(true, first)
		f.SetLifetime(time.Hour)
		third := f.login(alice)
		time.Sleep(time.Second)
		f.wantAlive(false, first, second)
		f.wantAlive(true, third)
	})
}

func TestTokensLiveWholeSeconds(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLifetime(10*time.Second))
		time.Sleep(900 * time.Millisecond)
		token := f.login(alice)
		time.Sleep(9 * time.Second)
		f.wantAlive(true, token)
		time.Sleep(100 * time.Millisecond)
		f.wantAlive(false, token)
	})
}

func TestSetCookie(t *testing.T) {
	t.Parallel()
	const refreshed = "refreshed"
	tests := []struct {
		name, method, path string
		status             int
		cookie             bool
	}{
		{"login, default", "POST", "/v1/auth/authenticate", 200, true},
		{"login, true", "POST", "/v1/auth/authenticate?setCookie=true", 200, true},
		{"login, false", "POST", "/v1/auth/authenticate?setCookie=false", 200, false},
		{"login, neither", "POST", "/v1/auth/authenticate?setCookie=maybe", 400, false},
		{"refresh, default", "GET", refreshed, 200, true},
		{"refresh, false", "GET", refreshed + "?setCookie=false", 200, false},
		{"refresh, neither", "GET", refreshed + "?setCookie=", 400, false},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			path := strings.Replace(tt.path, refreshed, "/v1/auth/refresh/"+f.login(alice), 1)
			body := ""
			if tt.method == "POST" {
				body = loginBody(alice.Email, alice.Org, alice.Password)
			}
			r := f.must(tt.method, path, "", body)
			require.Equal(t, tt.status, r.status)
			assert.Equal(t, tt.cookie, f.CookiesSet() > 0)
			if tt.cookie {
				assert.Contains(t, r.header.Get("Set-Cookie"), "Authorization="+r.str(t, "Authorization")+";")
			} else {
				assert.Empty(t, r.header.Get("Set-Cookie"))
			}
		})
	}
}

func TestMFAUser(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		carol := palettetest.User{Email: "carol@example.com", Org: "example", Password: "Carol-Has-5-Secrets", MFA: true}
		f := newFixture(t, palettetest.WithUser(carol))
		r := f.tryLogin(carol.Email, carol.Org, carol.Password)
		assert.Equal(t, 200, r.status)
		assert.Equal(t, true, r.decode(t)["isMfa"])
		f.wantAlive(false, r.str(t, "Authorization"))
		assert.Equal(t, 401, f.tryRefresh(r.str(t, "Authorization")).status)
	})
}

func TestLockout(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLockout())
		wrong := func(n int) {
			for range n {
				wantError(t, f.tryLogin(alice.Email, alice.Org, "wrong"), 401, "InvalidCredentials")
			}
		}
		right := func() reply { return f.tryLogin(alice.Email, alice.Org, alice.Password) }

		wrong(4)
		assert.Equal(t, 200, right().status, "four failures suspend nobody")
		wrong(4)
		time.Sleep(palettetest.LockoutTime)
		wrong(4)
		assert.False(t, f.Suspended(alice.Email, alice.Org), "failures are forgotten after 15 minutes, and at a login")
		wrong(1)
		assert.True(t, f.Suspended(alice.Email, alice.Org))
		wantError(t, right(), 403, "AccountSuspended")
		assert.Equal(t, 200, f.tryLogin(other.Email, other.Org, other.Password).status, "the other org's account is another")
		time.Sleep(palettetest.LockoutTime - time.Second)
		assert.Equal(t, 403, right().status)
		time.Sleep(time.Second)
		assert.Equal(t, 200, right().status)
		assert.Equal(t, 13, f.FailedLogins())
	})
}

func TestNoLockoutByDefault(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		for range 10 {
			f.tryLogin(alice.Email, alice.Org, "wrong")
		}
		f.wantAlive(true, f.login(alice))
	})
}

func TestSetPasswordAndAddUser(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		token := f.login(alice)
		f.SetPassword(alice.Email, alice.Org, "changed")
		assert.Equal(t, 401, f.tryLogin(alice.Email, alice.Org, alice.Password).status)
		assert.Equal(t, 200, f.tryLogin(alice.Email, alice.Org, "changed").status)
		f.wantAlive(true, token)
		assert.Panics(t, func() { f.SetPassword("nobody@example.com", alice.Org, "x") })

		f.AddUser(palettetest.User{Email: "dora@example.com", Org: "example", Password: "x"})
		f.AddUser(palettetest.User{Email: "dora@example.com", Org: "example", Password: "y"})
		assert.Equal(t, 200, f.tryLogin("dora@example.com", "example", "y").status)
		dora, found := f.User("dora@example.com", "example")
		assert.True(t, found)
		assert.NotEmpty(t, dora.UID)
		_, found = f.User("nobody@example.com", "example")
		assert.False(t, found)
	})
}
