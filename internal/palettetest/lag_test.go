package palettetest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestLagOfANewPassword(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		oldPassword bool
		change      func(*fixture)
	}{
		{"by its user", false, func(f *fixture) { f.changePassword("", alice.Email, alice.Password, fresh) }},
		{"by an administrator", false, func(f *fixture) { f.SetPassword(alice.Email, alice.Org, fresh) }},
		{"where a replica has the old one", true, func(f *fixture) { f.changePassword("", alice.Email, alice.Password, fresh) }},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, palettetest.WithLockout())
			f.SetLag(palettetest.Lag{For: 4 * time.Second, OldPassword: tt.oldPassword})
			f.login(alice)
			tt.change(f)
			wantError(t, f.tryLogin(alice.Email, alice.Org, fresh), 401, "InvalidCredentials")
			assert.Equal(t, tt.oldPassword, f.tryLogin(alice.Email, alice.Org, alice.Password).status == 200)
			time.Sleep(4 * time.Second)
			assert.Equal(t, 200, f.tryLogin(alice.Email, alice.Org, fresh).status)
			assert.Equal(t, 401, f.tryLogin(alice.Email, alice.Org, alice.Password).status)
			assert.GreaterOrEqual(t, f.FailedLogins(), 2, "such logins count as failed")
		})
	}
}

func TestLagOfANewKey(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		f.SetLag(palettetest.Lag{For: 4 * time.Second})
		token := f.login(alice)
		key := f.createKey(token, "k", "", time.Hour)
		for _, call := range []struct{ method, path string }{{"GET", "/v1/users/info"}, {"GET", "/v1/apiKeys"}, {"DELETE", "/v1/apiKeys/" + key.uid}} {
			wantError(t, f.must(call.method, call.path, "key:"+key.secret, ""), 401, "Unauthorized")
		}
		assert.True(t, f.KeyAlive(key.secret), "it is there")
		time.Sleep(4 * time.Second)
		assert.Equal(t, 204, f.must("DELETE", "/v1/apiKeys/"+key.uid, "key:"+key.secret, "").status)
	})
}

func TestClockIsItsOwn(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{3 * time.Minute, -20 * time.Minute} {
		inBubble(t, offset.String(), func(t *testing.T) {
			f := newFixture(t, palettetest.WithLockout())
			f.SetClock(offset)
			token := f.login(alice)
			assert.Equal(t, epoch.Add(offset), parse(t, token).IssuedAt.Time().UTC())
			r := f.must("GET", "/v1/users/info", token, "")
			assert.Equal(t, epoch.Add(offset).Format(http.TimeFormat), r.header.Get("Date"))

			// What is to expire does so by that clock.
			assert.Equal(t, 400, f.tryCreateKey(token, "k", "", offset).status)
			key := f.createKey(token, "k", "", offset+time.Minute)
			time.Sleep(time.Minute - time.Second)
			assert.True(t, f.KeyAlive(key.secret))
			time.Sleep(time.Second)
			assert.False(t, f.KeyAlive(key.secret))

			// It may be set at any time.
			f.wantAlive(true, token)
			f.SetClock(offset + palettetest.DefaultLifetime)
			f.wantAlive(false, token)
		})
	}
}

func TestLockoutEndsByTheClock(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLockout())
		for range palettetest.LockoutFailures {
			f.tryLogin(alice.Email, alice.Org, "wrong")
		}
		require.True(t, f.Suspended(alice.Email, alice.Org))
		f.SetClock(palettetest.LockoutTime)
		assert.False(t, f.Suspended(alice.Email, alice.Org))
		f.login(alice)
	})
}
