package rootcred

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// RootKeyLife is how long a config's own key lives without rotation_period. With a period the key
// lives twice the period, a day at least, so that rotations may fail for a while.
const RootKeyLife = 365 * 24 * time.Hour

// rotateKey makes a new key for a config, stores the key, and deletes the old one. The name of the
// new key is written ahead. After a crash the config's api_key_uid tells which key to delete.
func (m *Manager) rotateKey(ctx context.Context, s logical.Storage, name string, cfg *store.Config) error {
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return err
	}
	auth := palette.Auth{APIKey: cfg.APIKey}
	old, err := m.rootKeyUID(ctx, client, auth, name, cfg)
	if err != nil {
		return err
	}
	id, err := uuid.GenerateUUID()
	if err != nil {
		return fmt.Errorf("naming the key: %w", err)
	}
	now := time.Now().UTC()
	life := RootKeyLife
	if cfg.RotationPeriod > 0 {
		life = max(2*cfg.RotationPeriod, 24*time.Hour)
	}
	sent, err := client.OnPalettesClock(ctx, auth, now.Add(life))
	if err != nil {
		return err
	}
	w := &store.KeyWAL{ConfigName: name, Address: cfg.Address, Name: "vault-root-" + name + "-" + id, Expiry: now.Add(life), SentExpiry: sent, At: now, OldUID: old, OldKey: cfg.APIKey, OldExpiry: cfg.APIKeyExpiry, ArrivesBy: cfg.ArrivesBy(now)}
	wal, err := framework.PutWAL(ctx, s, store.WALRootKey, w)
	if err != nil {
		return fmt.Errorf("writing the new key's name ahead: %w", err)
	}
	m.add(name, wal)
	uid, key, err := client.CreateAPIKey(ctx, auth, palette.NewAPIKey{Name: w.Name, Description: "The API key of the Vault secrets engine's config " + name, Expiry: sent})
	if err != nil {
		if answer.VerdictOf(err) != answer.Unknown { // Palette has not made the key
			m.resolve(name, wal)
			m.deleteWAL(ctx, s, name, wal)
		}
		return err
	}
	next := *cfg
	next.APIKey, next.APIKeyUID, next.APIKeyName, next.APIKeyExpiry = key, uid, w.Name, w.Expiry.Unix()
	next.SetRotated(now)
	if err := m.Configs.Put(ctx, s, name, &next); err != nil {
		return err // the old key goes on, and recovery deletes the new one
	}
	return m.recover(ctx, s, name)
}

// rootKeyUID is the UID of a config's own key: the stored one or, where the engine does not know
// it, that of the one key that the user has.
func (m *Manager) rootKeyUID(ctx context.Context, client upstream.API, auth palette.Auth, name string, cfg *store.Config) (string, error) {
	if cfg.APIKeyUID != "" {
		return cfg.APIKeyUID, nil
	}
	me, err := client.UserInfo(ctx, auth)
	if err != nil {
		return "", err
	}
	keys, err := client.ListAPIKeys(ctx, auth)
	if err != nil {
		return "", err
	}
	m.Hooks.Listed(name, cfg, keys)
	mine := ActiveOf(me, keys)
	if len(mine) != 1 {
		return "", upstream.Mistakef("Palette's user has %d API keys, so that it is not known which one is the config's; write its UID to the config's field %q", len(mine), "api_key_uid")
	}
	return mine[0].UID, nil
}

// DeleteMade deletes the API key whose making was written ahead, and tells whether there was one. A key
// with the UID stays is left alone. Other people's keys may have the same name: a key is the engine's
// where name and expiry are as the engine has sent them. A key that is gone is success.
func (m *Manager) DeleteMade(ctx context.Context, client upstream.API, auth palette.Auth, cfg *store.Config, w *store.KeyWAL, stays string) (found bool, err error) {
	keys, err := client.ListAPIKeys(ctx, auth)
	if err != nil {
		return false, err
	}
	m.Hooks.Listed(w.ConfigName, cfg, keys)
	for _, key := range keys {
		if key.Name != w.Name || key.UID == stays {
			continue
		}
		if !key.ExpiresAsSent(w.Sent()) {
			m.Logger().Warn(MsgNamesake, "name", w.Name, "uid", key.UID, "expires_at", key.Expiry)
			continue
		}
		if err := client.DeleteAPIKey(ctx, auth, key.UID); err != nil && !upstream.Gone(err) {
			return true, err
		}
		found = true
		m.Logger().Info(MsgKeyDeleted, "name", w.Name, "uid", key.UID)
	}
	return found, nil
}

// ActiveOf are the keys of a user that may open something. Palette lists expired keys as active.
func ActiveOf(me palette.UserInfo, keys []palette.APIKey) (mine []palette.APIKey) {
	dead := time.Now().Add(-palette.MaxClockOffset)
	for _, k := range keys {
		if k.Active && (k.Expiry.IsZero() || k.Expiry.After(dead)) && (k.UserUID == me.UserUID || k.UserUID == "") {
			mine = append(mine, k)
		}
	}
	return mine
}
