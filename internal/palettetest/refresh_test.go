package palettetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLifetime(time.Minute))
		old := f.login(alice)
		time.Sleep(59 * time.Second)
		renewed := f.refresh(old)
		f.wantAlive(true, old, renewed)
		assert.Equal(t, parse(t, old).SessionID, parse(t, renewed).SessionID)
		assert.NotEqual(t, parse(t, old).ID, parse(t, renewed).ID)
		time.Sleep(time.Second)
		f.wantAlive(false, old) // a refresh extends nothing
		time.Sleep(58 * time.Second)
		f.wantAlive(true, renewed)
		time.Sleep(time.Second)
		f.wantAlive(false, renewed)
	})
}

func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(f *fixture, token string)
	}{
		{"expired", func(f *fixture, _ string) { time.Sleep(time.Minute) }},
		{"revoked", func(f *fixture, token string) { f.revoke(token, token) }},
		{"session ended", func(f *fixture, token string) { f.EndSession(token) }},
		{"session revoked", func(f *fixture, token string) {
			f.SetRevokeScope(palettetest.BySession)
			sister := f.refresh(token)
			f.revoke(sister, sister)
		}},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, palettetest.WithLifetime(time.Minute))
			token := f.login(alice)
			assert.Equal(t, 200, f.tryRefresh(token).status)
			tt.end(f, token)
			wantError(t, f.tryRefresh(token), 401, "Unauthorized")
		})
	}
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		wantError(t, f.tryRefresh("no-token"), 401, "Unauthorized")
	})
}

func TestSessionTimeout(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLifetime(time.Minute), palettetest.WithSessionTimeout(90*time.Second))
		first := f.login(alice)
		time.Sleep(50 * time.Second)
		second := f.refresh(first)
		time.Sleep(40 * time.Second)
		third := f.refresh(second) // at 90 s: not later than that
		time.Sleep(time.Second)
		wantError(t, f.tryRefresh(third), 401, "Unauthorized")
		f.wantAlive(true, third) // the time-out refuses refreshes; it ends no token
	})
}
