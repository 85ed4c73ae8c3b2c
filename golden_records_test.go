package palettesecrets_test

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestGoldenConfigWithAPassword(t *testing.T) {
	inGolden(t, []string{"config-password", "role-token"}, func(w *goldenWorld) {
		w.wants("config", map[string]any{
			"address": "http://127.0.0.1:9000", "email": goldenEmail, "org": goldenOrg, "password_set": true, "api_key_set": false,
			"request_timeout": 20, "queue_timeout": 50, "rate_limit": 8, "password_policy": "palette", "rotation_period": 720 * 3600,
			"last_rotated": "2026-11-27T12:00:00Z", "next_rotation": "2026-12-27T12:00:00Z", "login_type": "user", "username": "",
		})
		assert.True(t, w.plain.Alive(w.read("creds/app")["token"].(string)))
		w.write("rotate-root")
		u, _ := w.plain.User(goldenEmail, goldenOrg)
		assert.Equal(t, goldenPolicyPassword, u.Password)
	})
}

func TestGoldenConfigOfASystemAdministrator(t *testing.T) {
	inGolden(t, []string{"config-system", "lease-system"}, func(w *goldenWorld) {
		w.wants("config/console", map[string]any{"login_type": "system", "username": goldenAdmin, "email": "", "org": "", "password_set": true, "rotation_period": 0})
		w.must(&logical.Request{Operation: logical.CreateOperation, Path: "roles/console", Data: map[string]any{"config_name": "console"}})
		assert.True(t, w.plain.Alive(w.read("creds/console")["token"].(string)))
		g := readGolden(t, "lease-system")
		tokens := tokensIn(t, g.InternalData)
		w.plain.PlantToken(goldenAdmin, "", tokens[0])
		renewed := w.must(g.lease(logical.RenewOperation))
		assert.ElementsMatch(t, append(tokens, renewed.Data["token"].(string)), tokensIn(t, renewed.Secret.InternalData))
		w.must(&logical.Request{Operation: logical.RevokeOperation, Path: g.Path, Secret: renewed.Secret})
		w.alive(w.plain, false, tokens)
	})
}

func TestGoldenConfigWithAnAPIKey(t *testing.T) {
	inGolden(t, []string{"config-api-key", "role-api-key"}, func(w *goldenWorld) {
		old := w.plantRootKey()
		w.wants("config/keys", map[string]any{
			"email": "", "password_set": false, "api_key_set": true, "api_key_uid": old, "rotation_period": 240 * 3600,
			"last_rotated": "2026-11-27T12:00:00Z", "next_rotation": "2026-12-07T12:00:00Z", "api_key_expires_at": "2026-12-17T12:00:00Z",
		})
		made := w.read("creds/key")
		assert.True(t, w.plain.KeyAlive(made["api_key"].(string)))
		w.write("rotate-root/keys")
		assert.NotContains(t, w.keyUIDs(), old, "the rotation deletes the key of before")
		assert.Len(t, w.plain.LiveKeys(), 2)
	})
}

func TestGoldenRoles(t *testing.T) {
	inGolden(t, []string{"config-password", "role-token", "role-shared", "role-api-key"}, func(w *goldenWorld) {
		w.wants("roles/app", map[string]any{"config_name": "default", "ttl": 600, "max_ttl": 3600, "renewable": true, "shared": false, "credential_type": "token", "project_uid": "65f0c0ffee0000000000000d"})
		w.wants("roles/shared", map[string]any{"config_name": "default", "ttl": 0, "max_ttl": 0, "renewable": false, "shared": true, "credential_type": "token"})
		w.wants("roles/key", map[string]any{
			"config_name": "keys", "ttl": 1800, "renewable": true, "credential_type": "api_key", "user_uid": "65f0c0ffee0000000000000b",
			"name_template": `{{ printf "golden-%s-%s" .RoleName (random 12) }}`, "description": "a key",
		})
	})
}

func TestGoldenSessionIsHandedOut(t *testing.T) {
	inGolden(t, []string{"config-password", "role-shared", "session"}, func(w *goldenWorld) {
		tokens := w.plantTokens(w.plain, readGolden(t, "session").Value)
		w.wants("sessions/default", map[string]any{"issued_at": "2026-11-27T12:00:01Z", "expires_at": "2026-11-27T12:21:01Z", "refreshes": 1, "email": goldenEmail})
		assert.Equal(t, tokens[len(tokens)-1], w.read("creds/shared")["token"])
		w.must(&logical.Request{Operation: logical.DeleteOperation, Path: "sessions/default"})
		w.alive(w.plain, false, tokens)
	})
}

func TestGoldenPendingRevocationsAreRetried(t *testing.T) {
	inGolden(t, []string{"config-password", "config-api-key", "pending-tokens", "pending-api-key"}, func(w *goldenWorld) {
		root := w.plantRootKey()
		tokens := w.plantTokens(w.plain, readGolden(t, "pending-tokens").Value)
		var pending map[string]any
		require.NoError(t, json.Unmarshal(readGolden(t, "pending-api-key").Value, &pending))
		key := w.plantKey(pending["key"])
		require.Contains(t, w.keyUIDs(), key)
		w.minutes(1)
		w.alive(w.plain, false, tokens)
		assert.Equal(t, []string{root}, w.keyUIDs())
		w.gone("owed/")
	})
}

func TestGoldenLeaseOfATokenRenewsAndEnds(t *testing.T) {
	inGolden(t, []string{"config-password", "role-token", "lease-token"}, func(w *goldenWorld) {
		g := readGolden(t, "lease-token")
		tokens := w.plantTokens(w.plain, g.InternalData)
		require.Len(t, tokens, 2)
		renewed := w.must(g.lease(logical.RenewOperation))
		fresh := renewed.Data["token"].(string)
		assert.True(t, w.plain.Alive(fresh))
		assert.ElementsMatch(t, append(tokens, fresh), tokensIn(t, renewed.Secret.InternalData))
		w.must(&logical.Request{Operation: logical.RevokeOperation, Path: g.Path, Secret: renewed.Secret})
		w.alive(w.plain, false, append(tokens, fresh))
	})
}

func TestGoldenLeaseOfASharedSessionLeavesItAlone(t *testing.T) {
	inGolden(t, []string{"config-password", "role-shared", "session", "lease-shared"}, func(w *goldenWorld) {
		g := readGolden(t, "lease-shared")
		tokens := w.plantTokens(w.plain, readGolden(t, "session").Value)
		renewed := w.must(g.lease(logical.RenewOperation))
		assert.Equal(t, tokens[len(tokens)-1], renewed.Data["token"])
		w.must(g.lease(logical.RevokeOperation))
		w.alive(w.plain, true, tokens)
	})
}

func TestGoldenLeaseOfAnAPIKeyRenewsAndEnds(t *testing.T) {
	inGolden(t, []string{"config-api-key", "role-api-key", "lease-api-key"}, func(w *goldenWorld) {
		root := w.plantRootKey()
		g := readGolden(t, "lease-api-key")
		key := w.plantKey(g.InternalData["key"])
		renewed := w.must(g.lease(logical.RenewOperation))
		assert.Equal(t, key, renewed.Data["api_key_uid"])
		w.must(&logical.Request{Operation: logical.RevokeOperation, Path: g.Path, Secret: renewed.Secret})
		assert.Equal(t, []string{root}, w.keyUIDs())
	})
}

func TestGoldenSharedKeyIsHandedOutAndEnds(t *testing.T) {
	inGolden(t, []string{"config-api-key", "role-shared-api-key", "shared-key", "lease-shared-api-key"}, func(w *goldenWorld) {
		root := w.plantRootKey()
		var stored struct {
			Keys []any `json:"keys"`
		}
		require.NoError(t, json.Unmarshal(readGolden(t, "shared-key").Value, &stored))
		before, now := w.plantKey(stored.Keys[0]), w.plantKey(stored.Keys[1])
		w.wants("roles/one", map[string]any{"config_name": "keys", "shared": true, "credential_type": "api_key", "max_ttl": 3 * 3600})
		w.wants("creds/one", map[string]any{"api_key_uid": now})
		g := readGolden(t, "lease-shared-api-key")
		renewed := w.must(g.lease(logical.RenewOperation))
		assert.Equal(t, now, renewed.Data["api_key_uid"])
		w.must(g.lease(logical.RevokeOperation))
		assert.ElementsMatch(t, []string{root, before, now}, w.keyUIDs())
		w.must(&logical.Request{Operation: logical.DeleteOperation, Path: "sessions/keys"})
		assert.Equal(t, []string{root}, w.keyUIDs())
		w.gone("shared-keys/")
	})
}

// A shared key that is stored under its role is only taken out of the log; one that is not is deleted.
func TestGoldenWriteAheadEntryOfASharedKey(t *testing.T) {
	inGolden(t, []string{"config-api-key", "role-shared-api-key", "wal-shared-api-key"}, func(w *goldenWorld) {
		root := w.plantRootKey()
		w.plantWritten("wal-shared-api-key")
		w.minutes(2)
		assert.Equal(t, []string{root}, w.keyUIDs())
		w.gone("wal/")
	})
}

// The config leads elsewhere by now: only the kept connection skips the verification of the certificate.
func TestGoldenLeaseEndsThroughItsKeptConnection(t *testing.T) {
	inGolden(t, []string{"lease-moved", "connection"}, func(w *goldenWorld) {
		g := readGolden(t, "lease-moved")
		tokens := w.plantTokens(w.secure, g.InternalData)
		w.must(g.lease(logical.RevokeOperation))
		w.alive(w.secure, false, tokens)
		assert.Equal(t, 1, w.secure.Calls(palettetest.Revoke))
	})
}

func TestGoldenWriteAheadEntryOfAPassword(t *testing.T) {
	for name, password := range map[string]string{"Palette took it": goldenNewPassword, "Palette never got it": goldenPassword} {
		t.Run(name, func(t *testing.T) {
			inGolden(t, []string{"config-password", "role-token", "wal-password"}, func(w *goldenWorld) {
				w.plain.SetPassword(goldenEmail, goldenOrg, password)
				assert.True(t, w.plain.Alive(w.read("creds/app")["token"].(string)))
				w.minutes(4)
				w.gone("wal/")
				failed := w.plain.FailedLogins()
				w.mount()
				w.read("creds/app")
				assert.Equal(t, failed, w.plain.FailedLogins(), "the config holds the password that works")
			})
		})
	}
}

func TestGoldenWriteAheadEntryOfARootKey(t *testing.T) {
	inGolden(t, []string{"config-api-key", "wal-root-key"}, func(w *goldenWorld) {
		root := w.plantRootKey()
		w.plantWritten("wal-root-key")
		w.minutes(4)
		assert.Equal(t, []string{root}, w.keyUIDs(), "of the two keys the config's stays")
		w.gone("wal/")
	})
}

func TestGoldenWriteAheadEntryOfAnAPIKey(t *testing.T) {
	inGolden(t, []string{"config-api-key", "wal-api-key"}, func(w *goldenWorld) {
		root := w.plantRootKey()
		w.plantWritten("wal-api-key")
		w.minutes(4)
		assert.Equal(t, []string{root}, w.keyUIDs())
		w.gone("wal/")
	})
}

// plantWritten makes the API key that a write-ahead entry names: its making had reached Palette.
func (w *goldenWorld) plantWritten(name string) {
	w.t.Helper()
	var entry struct {
		Data map[string]any `json:"data"`
	}
	require.NoError(w.t, json.Unmarshal(readGolden(w.t, name).Value, &entry))
	w.plantKey(map[string]any{"uid": "65f0c0ffee0000000000000e", "name": entry.Data["name"], "key": "nobody-has-seen-this-key", "expires_at": entry.Data["expiry"]})
}

// A kind of record that this test does not know is one without a test.
func TestGoldenFilesAreAllRead(t *testing.T) {
	read := []string{
		"config-api-key", "config-password", "config-system", "connection", "lease-api-key", "lease-moved", "lease-shared-api-key", "lease-shared", "lease-system", "lease-token", "pending-api-key", "pending-tokens", "role-api-key", "role-shared-api-key", "role-shared", "role-token", "session", "shared-key", "wal-api-key", "wal-password", "wal-root-key", "wal-shared-api-key",
	}
	assert.Equal(t, read, goldenNames(t))
}
