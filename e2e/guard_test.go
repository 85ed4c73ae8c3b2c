package e2e

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	newPassword = "Another-Horse-8-Battery"
	// maxFailed is how many failed logins Palette sees in 15 minutes, maxReadFailed how many
	// of them by reads.
	maxFailed     = 4
	maxReadFailed = 3
)

// notBefore is the time of the next try in a refusal.
const notBefore = `not asked again before (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)`

// suspended tells whether Palette has suspended the fixture's account.
func (f *fixture) suspended() bool {
	return f.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
}

// The password is changed at Palette and many read all the same, by two mounts: that must
// not get the account suspended. The right password works at once.
func TestAWrongPasswordIsNotTriedByEachRead(t *testing.T) {
	t.Parallel()
	v := sharedServer(t)
	v.watchText(newPassword)
	f := newFixture(t, v, palettetest.WithLockout(), palettetest.WithLifetime(palettetest.DefaultLifetime))
	f.write("config", map[string]any{"rate_limit": 100}) // without a limit any number may fail together
	second := mountFor(t, v, f.palette, f.mount+"-second")
	second.write("config", second.login())
	second.write("roles/app", map[string]any{"shared": true})

	user := palettetest.DefaultUser
	f.palette.SetPassword(user.Email, user.Org, newPassword)
	f.palette.SetLatency(100 * time.Millisecond) // so that readers come while a login is under way
	began := time.Now()
	for range 3 {
		for _, a := range burst(t, 20, "app", f, second) {
			require.Error(t, a.err)
			text := a.err.Error()
			assert.Contains(t, text, "Code: 400")
			assert.Contains(t, text, "rejects the login of config \"default\"")
		}
	}
	t.Logf("%d logins failed for 120 reads", f.palette.FailedLogins())
	assert.LessOrEqual(t, f.palette.FailedLogins(), maxReadFailed)
	assert.False(t, f.suspended())
	status, answer := f.request(http.MethodGet, "creds/app", "")
	assert.Equal(t, http.StatusBadRequest, status)
	require.Regexp(t, notBefore, answer)
	next := moment(t, regexp.MustCompile(notBefore).FindStringSubmatch(answer)[1])
	assert.True(t, next.After(began) && next.Before(began.Add(15*time.Minute+soon)), "the next try is at %s", next)

	failed := f.palette.FailedLogins()
	data := f.login()
	data["password"] = newPassword
	f.write("config", data)
	second.write("config", data)
	f.read()
	second.read()
	assert.Equal(t, failed, f.palette.FailedLogins())
}

// Nor do config writes with one wrong password after the other.
func TestConfigWritesDoNotSuspendTheAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLockout())
	for n := range maxFailed + 3 {
		wrong := `{"password":"` + hiddenValue + string(rune('a'+n)) + `"}`
		status, answer := f.request(http.MethodPut, "config", wrong)
		assert.Equal(t, http.StatusBadRequest, status, answer)
		assert.Contains(t, answer, "nothing is stored")
		if n < maxFailed {
			assert.NotRegexp(t, notBefore, answer)
		} else {
			assert.Regexp(t, notBefore, answer, "Palette is not asked")
		}
	}
	f.vault.watchText(hiddenValue)
	assert.Equal(t, maxFailed, f.palette.FailedLogins())
	assert.False(t, f.suspended())
}
