package palettetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// statuses are the answers to n calls, one after the other.
func statuses(n int, call func() int) (got []int) {
	for range n {
		got = append(got, call())
	}
	return got
}

func limited(statuses []int) (n int) {
	for _, status := range statuses {
		if status == 429 {
			n++
		}
	}
	return n
}

func TestRateLimitIsOneEachResource(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithRateLimit(palettetest.PublishedRate))
		get := func(path string) func() int {
			return func() int { return f.must("GET", path, "", "").status }
		}
		login := func() int { return f.tryLogin(alice.Email, alice.Org, "wrong").status }
		for _, call := range []func() int{login, get("/v1/auth/refresh/x"), get("/v1/users/info"), get("/v1/apiKeys"), get("/v1/projects/alerts"), get("/v1/dashboard/projects/metadata")} {
			assert.Equal(t, 0, limited(statuses(50, call)), "a bucket is full at the start")
			assert.Equal(t, 3, limited(statuses(3, call)))
		}
		before := f.Rejected429()
		assert.Equal(t, 18, before)
		// Sub-resources of one resource share its bucket.
		assert.Equal(t, 429, f.must("PATCH", "/v1/users/password/change", "", "").status)
		assert.Equal(t, 429, f.must("DELETE", "/v1/apiKeys/x", "", "").status)
		assert.Equal(t, 404, f.must("GET", "/v1/nothing", "", "").status, "no row of the table, no limit")
		assert.Equal(t, before+2, f.Rejected429())

		time.Sleep(time.Second)
		assert.Equal(t, 2, limited(statuses(12, get("/v1/users/info"))), "ten a second come back")
		time.Sleep(time.Hour)
		assert.Equal(t, 1, limited(statuses(51, get("/v1/users/info"))), "and fifty at the most")
	})
}

func TestRateLimitCanBeSet(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithRateLimit(1), palettetest.WithRetryAfter(1500*time.Millisecond))
		info := func() int { return f.must("GET", "/v1/users/info", "", "").status }
		assert.Equal(t, 2, limited(statuses(7, info)), "a burst of five seconds' calls")
		assert.Equal(t, "2", f.must("GET", "/v1/users/info", "", "").header.Get("Retry-After"), "whole seconds")
		f.SetBurst(2)
		assert.Equal(t, 1, limited(statuses(3, info)))
		f.SetRateLimit(3)
		assert.Equal(t, 1, limited(statuses(16, info)))
		f.SetRateLimit(0)
		assert.Zero(t, limited(statuses(100, info)))
		f.SetClock(time.Hour)
		f.SetRateLimit(1)
		assert.Equal(t, 1, limited(statuses(6, info)))
		f.SetClock(2 * time.Hour)
		assert.Equal(t, 429, info(), "another clock fills no bucket")
	})
}

func TestRateLimitAnswersInPalettesForm(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithRateLimit(1))
		statuses(5, func() int { return f.must("GET", "/v1/users/info", "", "").status })
		r := f.must("GET", "/v1/users/info", "", "")
		wantError(t, r, 429, "TooManyRequests")
		assert.NotContains(t, r.header, "Retry-After", "Palette documents none")
	})
}

func TestKeyLimit(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithKeyLimit(2), palettetest.WithLifetime(24*time.Hour))
		user, boss := f.login(alice), f.login(admin)
		first := f.createKey(user, "k", "", time.Minute)
		f.createKey(boss, "k", alice.UID, time.Hour)
		f.createKey(boss, "k", "", time.Hour)
		wantError(t, f.tryCreateKey(user, "k", "", time.Hour), 400, "ResourceLimitExceeded")
		time.Sleep(2 * time.Minute)
		wantError(t, f.tryCreateKey(user, "k", "", time.Hour), 400, "ResourceLimitExceeded")
		assert.Equal(t, 204, f.must("DELETE", "/v1/apiKeys/"+first.uid, user, "").status)
		f.createKey(user, "k", "", time.Hour)
	})
}
