package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/store"
)

func TestTokenLife(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) store.Token {
		return store.Token{Token: palette.Secret(d.String()), ExpiresAt: now.Add(d)}
	}
	assert.Equal(t, 59*time.Second, at(59*time.Second+900*time.Millisecond).Left(now), "Palette cuts a token's end to the second")
	assert.Equal(t, -time.Minute, at(-time.Minute).Left(now))
	tokens := []store.Token{at(time.Hour), at(0), at(-time.Second), at(time.Nanosecond)}
	assert.Equal(t, []store.Token{at(time.Hour), at(time.Nanosecond)}, store.Alive(tokens, now))
	assert.Len(t, tokens, 4, "the caller's slice stays")
	assert.Equal(t, now.Add(time.Hour), store.LastExpiry(tokens))
	assert.True(t, store.LastExpiry(nil).IsZero())
	assert.Equal(t, []palette.Secret{"1h0m0s", "0s", "-1s", "1ns"}, store.Secrets(tokens))
	made := palette.Token{Raw: "jwt", ExpiresAt: now.In(time.FixedZone("x", 3600))}
	assert.Equal(t, store.Token{Token: "jwt", ExpiresAt: now}, store.TokenOf(made))
}

func TestRoleHandsOut(t *testing.T) {
	for credential, key := range map[string]bool{"": false, store.CredentialToken: false, store.CredentialAPIKey: true} {
		assert.Equal(t, key, (&store.Role{CredentialType: credential}).IsAPIKey(), credential)
	}
}

func TestRoleSharesAKey(t *testing.T) {
	for role, shares := range map[store.Role]bool{
		{}: false, {Shared: true}: false, {CredentialType: store.CredentialAPIKey}: false, {CredentialType: store.CredentialAPIKey, Shared: true}: true,
	} {
		assert.Equal(t, shares, role.SharesKey(), role)
	}
}

func TestRoleLockMakesAChangeWhole(t *testing.T) {
	roles, changes := store.NewRoles(), 0
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			defer roles.Lock("app")()
			changes++
		})
	}
	all.Wait()
	assert.Equal(t, 100, changes)
}

// The roles of a config are what a change of the config touches.
func TestRolesOfAConfig(t *testing.T) {
	s, roles := enginetest.NewStorage(), store.NewRoles()
	for name, config := range map[string]string{"b": "ci", "a": "ci", "other": "cd"} {
		require.NoError(t, roles.Put(t.Context(), s, name, &store.Role{ConfigName: config}))
	}
	s.Plant(store.RolePrefix+"broken", "{")
	found, err := roles.Of(t.Context(), s, "ci")
	require.NoError(t, err)
	require.Len(t, found, 2)
	assert.Equal(t, []string{"a", "b"}, []string{found[0].Name, found[1].Name})
	s.FailOn("list", store.RolePrefix)
	_, err = roles.Of(t.Context(), s, "ci")
	assert.ErrorIs(t, err, enginetest.ErrDisk)
}
