package palettesecrets

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
)

// systemLogin is what a config for the system administrator needs, with more fields.
func (w *world) systemLogin(more ...fields) fields {
	return given(fields{"address": w.palette.URL(), "login_type": "system", "username": "admin", "password": palettetest.Console.Password, "rate_limit": 0, "queue_timeout": 1}, append(more, nil)[0])
}

// console is a world whose default config is the system administrator's, with the roles "app" and "many".
func console(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	w := newWorld(t, append(opts, palettetest.WithUser(palettetest.Console), palettetest.WithUser(palettetest.DefaultUser))...)
	w.secrets = append(w.secrets, palettetest.Console.Password)
	w.write("config", w.systemLogin())
	w.write("roles/app", fields{"renewable": true})
	w.write("roles/many", fields{"renewable": true, "shared": true})
	return w
}

// What a stand-in may refuse to a system administrator's token, and with which status.
var (
	undocumented   = []palettetest.Endpoint{palettetest.UserInfo, palettetest.Refresh, palettetest.Revoke}
	systemRefusals = []int{401, 403, 404}
)

func TestSystemConfigIsWrittenAndRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := console(t)
		got := w.read("config").Data
		assert.Equal(t, []any{"system", "admin", "", "", true}, []any{got["login_type"], got["username"], got["email"], got["org"], got["password_set"]})
		assert.Equal(t, []int{1, 0}, []int{w.palette.Calls(palettetest.SystemLogin), w.palette.Calls(palettetest.Login)})
		assert.Empty(t, w.palette.LiveTokens())
		w.write("config", fields{"request_timeout": 7}) // asks for no password
		w.mount()
		l := w.creds("app")
		assert.Empty(t, l.data["org"])
		time.Sleep(5 * time.Minute)
		l.mustRenew()
		assert.Equal(t, 1, w.palette.Calls(palettetest.Refresh))
		l.mustRevoke()
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func TestSystemConfigRefusesBadInput(t *testing.T) {
	for _, c := range []struct {
		name  string
		base  func(*world, ...fields) fields // nil: systemLogin
		data  fields
		texts []string
	}{
		{"email beside it", nil, fields{"email": "a@example.com"}, []string{`"email" is "a@example.com"`, "login_type=system", "logs in with username"}},
		{"org beside it", nil, fields{"org": "example"}, []string{`"org" is "example"`, "login_type=system", "in no organization"}},
		{"no username", nil, fields{"username": " "}, []string{`"username" is required with login_type=system`}},
		{"no password", nil, fields{"password": ""}, []string{`"password" is required`}},
		{"a key and no password", nil, fields{"password": "", "api_key": "Do-Not-Print-Me-1"}, []string{`"api_key"`}},
		{"a key beside the password", nil, fields{"api_key": "Do-Not-Print-Me-1"}, []string{`"api_key"`}},
		{"a key's UID", nil, fields{"api_key_uid": "u1"}, []string{`"api_key_uid" is "u1"`, "no API keys of system administrators"}},
		{"a policy", nil, fields{"password_policy": "p"}, []string{`"password_policy" is "p"`, "no call that changes"}},
		{"a rotation period", nil, fields{"rotation_period": "24h"}, []string{`"rotation_period" is 24h0m0s`, "no call that changes"}},
		{"another type", nil, fields{"login_type": "root"}, []string{`"login_type" is "root"`, "must be user or system"}},
		{"no type", nil, fields{"login_type": ""}, []string{`"login_type" is ""`, "must be user or system"}},
		{"the type as a number", nil, fields{"login_type": 1}, []string{`"login_type" must be a string`}},
		{"a name without the type", (*world).login, fields{"username": "admin"}, []string{`"username" is "admin"`, "login_type=system", `"email"`}},
		{"a name beside the other type", (*world).login, fields{"username": "admin", "login_type": "user"}, []string{`"username" is "admin"`}},
		{"the type alone", (*world).login, fields{"login_type": "system"}, []string{`"username" is required`}},
		{"the type beside an email", (*world).login, fields{"login_type": "system", "username": "admin"}, []string{`"email" is "vault@example.com"`}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, palettetest.WithUser(palettetest.Console))
			w.secrets = append(w.secrets, "Do-Not-Print-Me-1")
			data := w.systemLogin(c.data)
			if c.base != nil {
				data = c.base(w, c.data)
			}
			w.mistake(update, "config", data, c.texts...)
			assert.Nil(t, w.read("config"), "nothing is stored")
			assert.Zero(t, w.palette.TotalCalls(), "Palette is not asked")
		})
	}
}

// A stored password goes out under no other name, and what belongs to the login of before goes.
func TestSystemConfigChangesItsLogin(t *testing.T) {
	other := palettetest.User{Username: "other", Password: "Other-Horse-9-Battery"}
	for _, c := range []struct {
		name       string
		start      func(*world) fields
		bare, full fields // without the secret and with it
		asks       string
		want       []any
	}{
		{"another administrator", func(w *world) fields { return w.systemLogin() }, fields{"username": "other"}, fields{"password": other.Password}, "username changes", []any{"system", "other", "", true, false}},
		{"another case", func(w *world) fields { return w.systemLogin() }, fields{"username": "Admin"}, fields{"password": other.Password, "verify_connection": false}, "username changes", []any{"system", "Admin", "", true, false}},
		{"from a user", func(w *world) fields { return w.login() }, fields{"login_type": "system", "username": "admin"}, fields{"password": palettetest.Console.Password}, "login_type, username, email, org changes", []any{"system", "admin", "", true, false}},
		{"from a user with a rotation", func(w *world) fields { return w.login(fields{"rotation_period": "24h"}) }, fields{"login_type": "system", "username": "admin"}, fields{"password": palettetest.Console.Password, "rotation_period": 0}, `"rotation_period" is 24h0m0s, but must be 0 with login_type=system`, []any{"system", "admin", "", true, false}},
		{"from a user's key", func(w *world) fields { return w.byHand("own", month) }, fields{"login_type": "system", "username": "admin"}, fields{"password": palettetest.Console.Password}, `"password" is required`, []any{"system", "admin", "", true, false}},
		{"to a user", func(w *world) fields { return w.systemLogin() }, fields{"login_type": "user", "email": "vault@example.com"}, fields{"password": palettetest.DefaultUser.Password}, "login_type, username, email changes", []any{"user", "", "vault@example.com", true, false}},
		{"to a user's key", func(w *world) fields { return w.systemLogin() }, fields{"login_type": "user"}, fields{"api_key": "key-of-own", "verify_connection": false}, `"email" is required`, []any{"user", "", "", false, true}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, palettetest.AllowLiveTokens(), palettetest.WithUser(palettetest.Console), palettetest.WithUser(other), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(admin))
			w.write("config", c.start(w))
			before, calls := w.read("config").Data, w.palette.TotalCalls()
			w.mistake(update, "config", c.bare, c.asks)
			assert.Equal(t, calls, w.palette.TotalCalls(), "Palette is not asked")
			assert.Equal(t, before, w.read("config").Data)
			w.write("config", given(c.bare, c.full))
			got := w.read("config").Data
			assert.Equal(t, c.want, []any{got["login_type"], got["username"], got["email"], got["password_set"], got["api_key_set"]})
			assert.Equal(t, []any{"", "", nil}, []any{got["org"], got["api_key_uid"], got["api_key_expires_at"]})
		})
	}
}

// A config that has become another account ends its session, and its leases can be revoked and not renewed.
func TestSystemConfigThatBecomesAnotherAccount(t *testing.T) {
	for _, to := range []fields{{"username": "other"}, {"login_type": "user", "email": "vault@example.com", "org": "example"}} {
		synctest.Test(t, func(t *testing.T) {
			w := console(t)
			w.palette.AddUser(palettetest.User{Username: "other", Password: palettetest.DefaultUser.Password})
			own, shared := w.creds("app"), w.creds("many")
			to["password"] = palettetest.DefaultUser.Password
			resp := w.write("config", to)
			assert.Contains(t, strings.Join(resp.Warnings, "\n"), "another user at Palette now")
			assert.False(t, w.palette.Alive(shared.token()), "its session has ended")
			requireCoded(t, own.renew(), 400, "another address, org, email or username")
			own.mustRevoke()
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

func TestSystemConfigMakesNoKeysAndRotatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := console(t)
		w.mistake(update, "rotate-root", nil, `"login_type" of config "default" is "system"`, "no call that changes a system administrator's password")
		w.mistake(update, "config", fields{"rotation_period": "24h"}, `"rotation_period" is 24h0m0s`)
		w.mistake(update, "config", fields{"api_key": "k"}, `"api_key"`)
		w.mistake(update, "config", fields{"email": "a@example.com"}, `"email" is "a@example.com"`)
		w.mistake(update, "roles/key", fields{"credential_type": "api_key"}, `"credential_type" is "api_key"`, `config "default" has login_type=system`, "no API keys of system administrators")
		assert.Zero(t, w.palette.Calls(palettetest.PasswordChange)+w.palette.Calls(palettetest.APIKeyCreate))

		w.write("config/ci", w.login())
		w.write("roles/key", fields{"credential_type": "api_key", "config_name": "ci"})
		w.mistake(update, "config/ci", w.systemLogin(), `"login_type" is "system"`, `role "key"`, "no API keys of system administrators")
		w.storage.failOn("list", "roles/")
		_, err := w.handle(t.Context(), update, "config/ci", w.systemLogin())
		require.ErrorIs(t, err, errDisk)
		w.storage.heal()
		assert.Equal(t, "user", w.read("config/ci").Data["login_type"])
		w.remove("config/ci")
		w.mistake(update, "config/ci", w.systemLogin(), `role "key"`)
		w.plant("roles/key", `{"config_name":"default","credential_type":"api_key"}`)
		w.uncache()
		w.mistake(read, "creds/key", nil, `"credential_type" is "api_key"`)
	})
}

// Login protection counts by the administrator's name, and the error names who and what to look at.
func TestSystemLoginThatPaletteRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := console(t, palettetest.WithLockout())
		w.palette.SetPassword("admin", "", "Changed-In-The-Console-1")
		for range 20 {
			w.mistake(read, "creds/app", nil, `as system administrator "admin"`, "check username and password", "passkey", "write config/default again")
			time.Sleep(time.Minute)
		}
		assert.False(t, w.palette.Suspended("admin", ""))
		found := w.read("check/default").Data
		assert.Equal(t, []any{false, "login"}, []any{found["ok"], found["step"]})
		assert.Contains(t, found["advice"], "username and password")
		w.write("config", fields{"password": "Changed-In-The-Console-1"})
		w.creds("app").mustRevoke()
	})
}

// Where Palette does not refresh such tokens, a renewal logs in, with the password of now.
func TestSystemRenewalLogsInWherePaletteRefusesTheRefresh(t *testing.T) {
	for _, status := range systemRefusals {
		synctest.Test(t, func(t *testing.T) {
			w := console(t, palettetest.WithSystemRefusal(status, palettetest.Refresh))
			l := w.creds("app")
			first := l.token()
			time.Sleep(5 * time.Minute)
			l.mustRenew()
			assert.Equal(t, []string{first, l.token()}, l.tokens(), "both end with the lease")
			assert.Equal(t, 20*time.Minute, l.secret.MaxTTL)
			w.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503})
			requireCoded(t, l.renew(), 502, "503")
			w.palette.ClearAll()
			w.palette.SetPassword("admin", "", "Changed-In-The-Console-1")
			requireCoded(t, l.renew(), 400, "rejects the login")
			l.mustRevoke()
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

func TestSystemSessionLogsInWherePaletteRefusesTheRefresh(t *testing.T) {
	for _, status := range systemRefusals {
		synctest.Test(t, func(t *testing.T) {
			w := console(t, palettetest.WithSystemRefusal(status, palettetest.Refresh))
			l := w.creds("many")
			first := l.token()
			time.Sleep(6 * time.Minute)
			l.mustRenew()
			assert.NotEqual(t, first, l.token())
			assert.Empty(t, l.issue.Warnings)
			assert.Equal(t, "admin", w.read("sessions/default").Data["username"])
			w.remove("sessions/default")
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

// Where Palette does not revoke such tokens, they live to their own end. Nothing becomes pending.
func TestSystemRevocationEndsByExpiry(t *testing.T) {
	for _, status := range systemRefusals {
		synctest.Test(t, func(t *testing.T) {
			w := console(t, palettetest.AllowLiveTokens(), palettetest.WithSystemRefusal(status, palettetest.Revoke))
			l := w.creds("app")
			w.creds("many")
			time.Sleep(time.Minute)
			l.mustRenew()
			l.mustRevoke()
			w.remove("sessions/default")
			w.wait()
			assert.Zero(t, w.pending())
			assert.True(t, w.palette.Alive(l.token()))
			if status != 404 {
				assert.Contains(t, w.log.String(), revocation.MsgNotRevocable)
			}
		})
	}
}

// Palette's trouble, and somebody else's answer, are no refusal: the revocation is pending.
func TestSystemRevocationIsPendingWherePaletteDoesNotSayNo(t *testing.T) {
	for _, fault := range []palettetest.Fault{{Status: 503}, {Status: 400}, {Foreign: true, Status: 403, Body: "denied"}, {Foreign: true, Status: 401}, {Foreign: true, Status: 404, Body: "no backend"}} {
		synctest.Test(t, func(t *testing.T) {
			w := console(t)
			l := w.creds("app")
			w.palette.Inject(palettetest.Revoke, fault)
			require.Error(t, l.revoke())
			assert.Equal(t, 1, w.pending())
			w.palette.ClearAll()
			w.minute()
			assert.Zero(t, w.pending())
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

func TestSystemCheckNamesWhatPaletteRefuses(t *testing.T) {
	says := map[palettetest.Endpoint]string{
		palettetest.UserInfo: "the check is the login alone", palettetest.Refresh: "a renewal logs in anew", palettetest.Revoke: "tokens live to their expires_at",
	}
	field := map[palettetest.Endpoint]string{palettetest.UserInfo: "user_info", palettetest.Refresh: "refresh", palettetest.Revoke: "revocation"}
	for _, shared := range []bool{false, true} {
		for _, refused := range append(undocumented, "") {
			for _, status := range systemRefusals {
				synctest.Test(t, func(t *testing.T) {
					w := console(t, palettetest.AllowLiveTokens())
					if shared {
						w.creds("many")
					}
					w.palette.SetSystemRefusal(status, refused)
					resp := w.read("check/default", fields{"login": !shared})
					found := resp.Data
					if shared && refused != palettetest.UserInfo { // the session's token tells who it is
						assert.Equal(t, []any{true, "session", "available", nil, "not_asked"}, []any{found["ok"], found["method"], found["user_info"], found["refresh"], found["revocation"]})
						return
					}
					assert.Equal(t, []any{true, "login", false}, []any{found["ok"], found["method"], found["password_reset"]})
					for _, e := range undocumented {
						want := map[bool]string{false: "available", true: "refused"}[e == refused]
						assert.Equal(t, want, found[field[e]], field[e])
					}
					warnings := strings.Join(resp.Warnings, "\n")
					for e, text := range says {
						assert.Equal(t, e == refused, strings.Contains(warnings, text), warnings)
					}
					assert.Len(t, resp.Warnings, map[bool]int{true: 0, false: 1}[refused == ""])
					assert.Zero(t, w.pending())
					if refused != palettetest.Revoke && !shared {
						assert.Empty(t, w.palette.LiveTokens(), "of the refresh neither")
					}
				})
			}
		}
	}
}

// Trouble is no refusal: the check fails, or says that it does not know.
func TestSystemCheckMeetsTrouble(t *testing.T) {
	for _, c := range []struct {
		at    palettetest.Endpoint
		fault palettetest.Fault
		want  []any // ok, user_info, refresh, revocation
	}{
		{palettetest.SystemLogin, palettetest.Fault{Status: 500}, []any{false, nil, nil, "not_asked"}},
		{palettetest.UserInfo, palettetest.Fault{Status: 500}, []any{false, nil, nil, "available"}},
		{palettetest.UserInfo, palettetest.Fault{Foreign: true, Status: 403, Body: "denied"}, []any{false, nil, nil, "available"}},
		{palettetest.Refresh, palettetest.Fault{Status: 500}, []any{true, "available", "failed", "available"}},
		{palettetest.Revoke, palettetest.Fault{Status: 500}, []any{true, "available", "available", "failed"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := console(t)
			w.palette.Inject(c.at, c.fault)
			found := w.read("check/default").Data
			assert.Equal(t, c.want, []any{found["ok"], found["user_info"], found["refresh"], found["revocation"]}, "%s %v", c.at, found)
			w.palette.ClearAll()
			w.minute()
			w.minute()
		})
	}
}

func TestSystemPasswordResetIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := console(t)
		reset := palettetest.Console
		reset.PasswordReset = true
		w.palette.AddUser(reset)
		const want = `IsPasswordReset to the login of system administrator "admin" of config "default"`
		assert.Contains(t, strings.Join(w.write("config", fields{"request_timeout": 9}).Warnings, "\n"), want)
		resp := w.read("check/default")
		assert.Equal(t, true, resp.Data["password_reset"])
		assert.Contains(t, strings.Join(resp.Warnings, "\n"), want)
		assert.Nil(t, w.write("config", fields{"request_timeout": 10, "verify_connection": false}), "without a login nothing is known")
		w.creds("app").mustRevoke()
	})
}

// trust/<config> tries the administrator's password on the new way.
func TestSystemConfigChangesItsTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := console(t)
		logins := w.palette.Calls(palettetest.SystemLogin)
		w.write("trust/default", fields{"tls_server_name": "palette.example.com"})
		assert.Equal(t, logins+1, w.palette.Calls(palettetest.SystemLogin))
		assert.Equal(t, "palette.example.com", w.read("config").Data["tls_server_name"])
	})
}
