package palettetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestRevokeScope(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		scope palettetest.RevokeScope
		alive bool
	}{
		{"by token", palettetest.ByToken, true},
		{"by session", palettetest.BySession, false},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t, palettetest.WithRevokeScope(tt.scope))
			first := f.login(alice)
			second, unrelated := f.refresh(first), f.login(alice)
			assert.Equal(t, 204, f.revoke(first, first).status)
			f.wantAlive(false, first)
			f.wantAlive(tt.alive, second)
			f.wantAlive(true, unrelated)
		})
	}
}

// TestRevokeRules: each row revokes with a fresh set of tokens and says which of the three named ones die.
func TestRevokeRules(t *testing.T) {
	t.Parallel()
	type tokens struct{ a, b, others, dead string }
	byA := func(k tokens) string { return k.a }
	justA := func(k tokens) []string { return []string{k.a} }
	tests := []struct {
		name   string
		strict bool
		auth   func(k tokens) string
		body   func(k tokens) []string
		status int
		dies   bool
	}{
		{"one by itself", false, byA, justA, 204, true},
		{"one by a sister", false, func(k tokens) string { return k.b }, justA, 204, true},
		{"two sessions of the user", false, byA, func(k tokens) []string { return []string{k.a, k.b} }, 204, true},
		{"a dead one is passed over", false, byA, func(k tokens) []string { return []string{k.dead, k.a} }, 204, true},
		{"an unknown one is passed over", false, byA, func(k tokens) []string { return []string{"?", k.a} }, 204, true},
		{"strict: a dead one", true, byA, func(k tokens) []string { return []string{k.a, k.dead} }, 400, false},
		{"strict: an unknown one", true, byA, func(k tokens) []string { return []string{k.a, "?"} }, 400, false},
		{"strict: live ones", true, byA, func(k tokens) []string { return []string{k.a, k.b} }, 204, true},
		{"another user's", false, byA, func(k tokens) []string { return []string{k.a, k.others} }, 403, false},
		{"twice the same", false, byA, func(k tokens) []string { return []string{k.a, k.a} }, 400, false},
		{"none", false, byA, func(tokens) []string { return nil }, 400, false},
		{"dead authentication", false, func(k tokens) string { return k.dead }, justA, 401, false},
		{"no authentication", false, func(tokens) string { return "" }, justA, 401, false},
		{"Bearer", false, func(k tokens) string { return "Bearer " + k.a }, justA, 401, false},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			var opts []palettetest.Option
			if tt.strict {
				opts = append(opts, palettetest.WithStrictRevoke())
			}
			f := newFixture(t, opts...)
			k := tokens{a: f.login(alice), b: f.login(alice), others: f.login(admin), dead: f.login(alice)}
			f.EndSession(k.dead)
			r := f.revoke(tt.auth(k), tt.body(k)...)
			assert.Equal(t, tt.status, r.status, r.text)
			f.wantAlive(!tt.dies, k.a)
			f.wantAlive(true, k.others)
			assert.Equal(t, len(tt.body(k)), f.LargestRevoke())
		})
	}
}

func TestRevokeByExpiredToken(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLifetime(time.Minute))
		token := f.login(alice)
		time.Sleep(time.Minute)
		wantError(t, f.revoke(token, token), 401, "Unauthorized")
	})
}

func TestWithoutRevoke(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithoutRevoke())
		token := f.login(alice)
		wantError(t, f.revoke(token, token), 404, "ResourceNotFound")
		f.wantAlive(true, token)
		assert.Equal(t, 1, f.Calls(palettetest.Revoke))
	})
}
