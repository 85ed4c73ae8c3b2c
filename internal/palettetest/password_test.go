package palettetest_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const fresh = "Brand-New-9-Password"

func (f *fixture) changePassword(auth, email, current, next string) reply {
	f.t.Helper()
	body, _ := json.Marshal(map[string]string{"emailId": email, "currentPassword": current, "newPassword": next})
	return f.must("PATCH", "/v1/users/password/change", auth, string(body))
}

func TestPasswordChange(t *testing.T) {
	t.Parallel()
	twin := palettetest.User{Email: "twin@example.com", Org: "example", Password: "Twins-Share-6-This"}
	twin2 := twin
	twin2.Org = "other"
	tests := []struct {
		name   string
		auth   string // whose token authenticates the call; "dead" is a dead one
		user   palettetest.User
		next   string
		status int
		code   string
	}{
		{"without authentication", "", alice, fresh, 204, ""},
		{"with the user's token", "alice", alice, fresh, 204, ""},
		{"with another user's", "admin", alice, fresh, 403, "OperationForbidden"},
		{"with a dead token", "dead", alice, fresh, 401, "Unauthorized"},
		{"wrong current one", "", palettetest.User{Email: alice.Email, Org: alice.Org, Password: "wrong"}, fresh, 400, "InvalidCurrentPassword"},
		{"no such user", "", palettetest.User{Email: "nobody@example.com", Password: "x"}, fresh, 400, "InvalidCurrentPassword"},
		{"the same", "", alice, alice.Password, 400, "PasswordReused"},
		{"nothing", "", alice, "", 400, "InvalidRequest"},
		{"13 characters", "", alice, "Aa1-567890123", 400, "PasswordPolicyViolation"},
		{"14 characters", "", alice, "Aa1-5678901234", 204, ""},
		{"14 characters of 26 bytes", "", alice, "Äa1-ßßßßßßßßßß", 204, ""},
		{"no upper case", "", alice, "aa1-5678901234", 400, "PasswordPolicyViolation"},
		{"no lower case", "", alice, "AA1-5678901234", 400, "PasswordPolicyViolation"},
		{"no digit", "", alice, "Aa--abcdefghij", 400, "PasswordPolicyViolation"},
		{"no special", "", alice, "Aa1a5678901234", 400, "PasswordPolicyViolation"},
		{"space is not special", "", alice, "Aa1 5678901234", 400, "PasswordPolicyViolation"},
		{"two orgs, one password", "", twin, fresh, 400, "AmbiguousUser"},
		{"two orgs, one password, with a token", "twin", twin, fresh, 204, ""},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, palettetest.WithUser(twin), palettetest.WithUser(twin2))
			auth := map[string]string{
				"": "", "alice": f.login(alice), "admin": f.login(admin), "dead": f.login(alice), "twin": f.login(twin),
			}
			f.EndSession(auth["dead"])
			r := f.changePassword(auth[tt.auth], tt.user.Email, tt.user.Password, tt.next)
			if tt.status != 204 {
				wantError(t, r, tt.status, tt.code)
				f.login(alice)
				f.login(twin)
				return
			}
			assert.Equal(t, 204, r.status, r.text)
			assert.Equal(t, 401, f.tryLogin(tt.user.Email, tt.user.Org, tt.user.Password).status)
			assert.Equal(t, 200, f.tryLogin(tt.user.Email, tt.user.Org, tt.next).status)
			f.login(other)
			f.login(twin2)
		})
	}
}

func TestPasswordChangeAndSessions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		opts  []palettetest.Option
		alive bool
	}{
		{"sessions go on", nil, true},
		{"sessions end", []palettetest.Option{palettetest.WithPasswordChangeEndsSessions()}, false},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, tt.opts...)
			token, unrelated := f.login(alice), f.login(other)
			key := f.createKey(token, "k", "", time.Hour)
			assert.Equal(t, 204, f.changePassword("", alice.Email, alice.Password, fresh).status)
			f.wantAlive(tt.alive, token)
			f.wantAlive(true, unrelated)
			assert.True(t, f.KeyAlive(key.secret))
		})
	}
}

func TestPasswordChangeNeedsAuth(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithPasswordChangeNeedsAuth())
		wantError(t, f.changePassword("", alice.Email, alice.Password, fresh), 401, "Unauthorized")
		assert.Equal(t, 204, f.changePassword(f.login(alice), alice.Email, alice.Password, fresh).status)
	})
}
