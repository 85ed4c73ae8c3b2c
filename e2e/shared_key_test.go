package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// newSharedKey is newKeys whose role's leases share one key.
func newSharedKey(t *testing.T, v *server, more map[string]any) *fixture {
	t.Helper()
	data := map[string]any{"shared": true, "renewable": true}
	for field, value := range more {
		data[field] = value
	}
	return newKeys(t, v, data)
}

// sharedKeys are the keys that a read of sessions/default shows, by role.
func (f *fixture) sharedKeys() map[string]any {
	f.t.Helper()
	secret, err := f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/sessions/default")
	require.NoError(f.t, err)
	if secret == nil {
		return nil
	}
	shown := f.cli("read", "-format=json", f.mount+"/sessions/default")
	assert.Empty(f.t, leaksIn("a read of the session and keys", shown, append(f.palette.Issued(), f.palette.KeySecrets()...)))
	keys, _ := secret.Data["api_keys"].(map[string]any)
	return keys
}

// renewedKey renews a lease and returns the answer's key.
func (f *fixture) renewedKey(lease string) string {
	f.t.Helper()
	secret, err := f.api.Sys().RenewWithContext(f.t.Context(), lease, 0)
	require.NoError(f.t, err)
	key, _ := secret.Data["api_key"].(string)
	require.True(f.t, f.palette.KeyAlive(key))
	return key
}

// Fifty readers get one key, and a revocation of their leases leaves the key alone. Its role's deletion ends it.
func TestASharedKeyRoleHandsOutOneKey(t *testing.T) {
	t.Parallel()
	f := newSharedKey(t, sharedServer(t), map[string]any{"ttl": "1h"})
	require.Empty(t, f.sharedKeys(), "a key is made by the first read")
	found := make(map[any]bool)
	var lease string
	for _, a := range burst(t, 50, "app", f) {
		require.NoError(t, a.err)
		found[a.secret.Data["api_key"]], lease = true, a.secret.LeaseID
		assert.Equal(t, time.Hour, time.Duration(a.secret.LeaseDuration)*time.Second)
	}
	require.Len(t, found, 1)
	assert.Equal(t, 1, f.palette.Calls(palettetest.APIKeyCreate))
	read, key := f.readKey()
	assert.True(t, found[key])
	made := f.keyOf(read)
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), made.Expiry, about)
	assert.Equal(t, key, f.renewedKey(lease))
	f.cli("lease", "revoke", "-sync", lease)
	assert.True(t, f.palette.KeyAlive(key))
	shown := f.sharedKeys()["app"].(map[string]any)
	assert.Equal(t, []any{made.UID, made.Name}, []any{shown["uid"], shown["name"]})
	assert.WithinDuration(t, made.Expiry, moment(t, shown["expires_at"]), about)
	assert.Contains(t, f.cli("list", f.mount+"/sessions"), "default")

	f.cli("delete", f.mount+"/sessions/default")
	assert.False(t, f.palette.KeyAlive(key), "the delete answers when the key is dead")
	next := f.renewedKey(read.LeaseID)
	assert.NotEqual(t, key, next)
	assert.Contains(t, f.cli("delete", f.mount+"/roles/app"), "share has ended")
	assert.False(t, f.palette.KeyAlive(next), "and so does the role's")
	assert.Empty(t, f.sharedKeys())
}

// A key is replaced when a third of its life is left. Each lease ends before its key, and a renewal returns the present one.
func TestASharedKeyIsReplaced(t *testing.T) {
	t.Parallel()
	const life = 30 * time.Second
	f := newSharedKey(t, sharedServer(t), map[string]any{"ttl": int(life.Seconds()), "max_ttl": int(life.Seconds())})
	read, first := f.readKey()
	made := f.keyOf(read)
	assert.Less(t, time.Duration(read.LeaseDuration)*time.Second, life, "the lease ends a little before its key")
	require.Eventually(t, func() bool { return time.Until(made.Expiry) < life/3 }, life, often)
	second, key := f.readKey()
	require.NotEqual(t, first, key)
	assert.True(t, f.palette.KeyAlive(first), "the one before lives on to its own end")
	assert.False(t, f.endOf(second.LeaseID).After(f.keyOf(second).Expiry))
	if time.Until(f.endOf(read.LeaseID)) > 2*time.Second { // a busy machine may have been slow
		assert.Equal(t, key, f.renewedKey(read.LeaseID))
	}
	// Vault's beat brings the deletion: an expired key counts among those of its user.
	require.Eventually(t, func() bool { return len(f.palette.Keys()) == 0 }, life+2*periodic, often)
	assert.Empty(t, f.sharedKeys())
}

// The key goes on after a kill -9 of Vault, and with the mount it ends.
func TestASharedKeyGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	f := newSharedKey(t, v, nil)
	read, key := f.readKey()
	v.Kill()
	require.NoError(t, v.Restart(t.Context()))
	assert.Equal(t, key, f.firstRead("creds/app").Data["api_key"])
	assert.Equal(t, key, f.renewedKey(read.LeaseID))
	f.cli("secrets", "disable", f.mount)
	assert.False(t, f.palette.KeyAlive(key), "when the command returns, nothing is alive")
	assert.Empty(t, f.palette.LiveKeys())
}

// The plugin is killed between Palette's making of a key and its answer: the key is found by its name, and a read gets another.
func TestASharedKeyOfAKilledPlugin(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.InMemory)
	f := newSharedKey(t, v, nil)
	held := f.palette.HoldAfter(palettetest.APIKeyCreate)
	defer held.Release()
	answer := make(chan error, 1)
	go func() {
		_, err := f.creds("app")
		answer <- err
	}()
	<-held.Arrived()
	require.Positive(t, v.KillPlugins())
	held.Release()
	require.Error(t, <-answer)
	require.Len(t, f.palette.LiveKeys(), 1)
	require.Eventually(t, func() bool { return len(f.palette.LiveKeys()) == 0 }, periodic+soon, often)
	read := f.firstRead("creds/app")
	assert.Equal(t, read.Data["api_key"], f.firstRead("creds/app").Data["api_key"])
	assert.Len(t, f.palette.LiveKeys(), 1)
}

// The active one of three nodes is killed: the next one hands out the same key.
func TestASharedKeyGoesOnAfterAFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	v := c.settled(t)
	require.NoError(t, v.Register(t.Context()))
	palette := palettetest.New(t, palettetest.WithLifetime(palettetest.DefaultLifetime))
	c.watch(palette.Issued)
	c.watch(palette.KeySecrets)
	f := mountFor(t, v, palette, mountName(t))
	f.write("config", f.login())
	f.write("roles/app", map[string]any{"credential_type": "api_key", "shared": true})
	read, key := f.readKey()
	v.Kill()
	f.at(c.active(t))
	again := func() (secret *api.Secret) {
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			var err error
			secret, err = f.api.Logical().ReadWithContext(ctx, f.mount+"/creds/app")
			return err == nil
		}, soon, often)
		return secret
	}()
	assert.Equal(t, key, again.Data["api_key"])
	assert.Equal(t, key, f.renewedKey(read.LeaseID))
	assert.Equal(t, 1, palette.Calls(palettetest.APIKeyCreate))
	require.NoError(t, v.Restart(t.Context()))
}
