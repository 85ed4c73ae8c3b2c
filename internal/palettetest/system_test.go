package palettetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// root is a system administrator.
var root = palettetest.User{Username: "root", Password: "Root-Has-6-Secrets", UID: "uid-root"}

const rightSystemLogin = `{"username":"root","password":"Root-Has-6-Secrets"}`

func TestSystemLogin(t *testing.T) {
	t.Parallel()
	locked := palettetest.User{Username: "locked", Password: "Locked-Has-7-Secrets", Passkey: true}
	reset := palettetest.User{Username: "reset", Password: "Reset-Has-8-Secrets", PasswordReset: true}
	tests := []struct {
		name, query, body string
		status            int
		answer            string // of a success: what is beside the token
	}{
		{"right", "", rightSystemLogin, 200, `,"IsPasswordReset":false}`},
		{"password reset", "", `{"username":"reset","password":"Reset-Has-8-Secrets"}`, 200, `,"IsPasswordReset":true}`},
		{"wrong password", "", `{"username":"root","password":"wrong"}`, 401, ""},
		{"no such name", "", `{"username":"nobody","password":"Root-Has-6-Secrets"}`, 401, ""},
		{"another case", "", `{"username":"Root","password":"Root-Has-6-Secrets"}`, 401, ""},
		{"a passkey", "", `{"username":"locked","password":"Locked-Has-7-Secrets"}`, 401, ""},
		{"a tenant's user", "", `{"username":"alice@example.com","password":"Alice-Has-1-Secret"}`, 401, ""},
		{"a tenant's form", "", `{"emailId":"root","password":"Root-Has-6-Secrets"}`, 400, ""},
		{"no name", "", `{"password":"Root-Has-6-Secrets"}`, 400, ""},
		{"no password", "", `{"username":"root"}`, 400, ""},
		{"a query", "?setCookie=false", rightSystemLogin, 400, ""},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, palettetest.WithUser(root), palettetest.WithUser(locked), palettetest.WithUser(reset))
			r := f.must("POST", "/v1/auth/syslogin"+tt.query, "", tt.body)
			require.Equal(t, tt.status, r.status, r.text)
			if tt.status == 200 {
				assert.Equal(t, `{"Authorization":"`+r.str(t, "Authorization")+`"`+tt.answer, strings.TrimSpace(r.text))
				f.wantAlive(true, r.str(t, "Authorization"))
			}
			assert.Zero(t, f.CookiesSet())
		})
	}
}

// What a system administrator's token opens, by default and where the stand-in refuses it.
func TestSystemToken(t *testing.T) {
	t.Parallel()
	for _, call := range []struct {
		name, method, path, body string
		endpoint                 palettetest.Endpoint
		status                   int
	}{
		{"user info", "GET", "/v1/users/info", "", palettetest.UserInfo, 200},
		{"refresh", "GET", "/v1/auth/refresh/{token}", "", palettetest.Refresh, 200},
		{"revocation", "POST", "/v1/users/auth/tokens/revoke", `{"tokens":["{token}"]}`, palettetest.Revoke, 204},
		{"API keys", "GET", "/v1/apiKeys", "", palettetest.APIKeyList, 403},
		{"alerts", "GET", "/v1/projects/alerts", "", palettetest.Alerts, 403},
	} {
		for _, refusal := range []int{0, 401, 403, 404} {
			inBubble(t, call.name, func(t *testing.T) {
				f, want := newFixture(t, palettetest.WithUser(root)), call.status
				if refusal != 0 {
					f.SetSystemRefusal(refusal, call.endpoint)
					want = refusal
				}
				token := f.must("POST", "/v1/auth/syslogin", "", rightSystemLogin).str(t, "Authorization")
				statusFor := func(token string) int {
					with := strings.NewReplacer("{token}", token)
					return f.must(call.method, with.Replace(call.path), token, with.Replace(call.body)).status
				}
				assert.Equal(t, want, statusFor(token))
				assert.Less(t, statusFor(f.login(alice)), 300, "a tenant's user is not concerned")
			})
		}
	}
}

func TestSystemLockoutAndPassword(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithUser(root), palettetest.WithLockout())
		login := func(password string) int {
			return f.must("POST", "/v1/auth/syslogin", "", `{"username":"root","password":"`+password+`"}`).status
		}
		for range palettetest.LockoutFailures {
			assert.Equal(t, 401, login("wrong"))
		}
		assert.True(t, f.Suspended("root", ""))
		assert.Equal(t, 403, login(root.Password))
		time.Sleep(palettetest.LockoutTime)
		f.SetPassword("root", "", "Another-Has-9-Secrets")
		assert.Equal(t, 401, login(root.Password))
		assert.Equal(t, 200, login("Another-Has-9-Secrets"))
		f.AddUser(root)
		assert.Equal(t, 200, login(root.Password), "the account is replaced")
		assert.Equal(t, "/v1/auth", palettetest.Resource(palettetest.SystemLogin))
	})
}
