package palette

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// rootKeyLife is how long a config's own key lives that no rotation_period replaces before.
// With one it lives twice the period, a day at least, so that a rotation may fail for a
// while.
const rootKeyLife = 365 * 24 * time.Hour

// verifyKey asks Palette whose a config's API key is.
func (b *backend) verifyKey(ctx context.Context, cfg *config) error {
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return err
	}
	_, err = client.UserInfo(ctx, palette.Auth{APIKey: cfg.APIKey})
	return err
}

// rotateKey makes a new key for a config, stores it, and deletes the old one. The name of
// the new one is written ahead: what the config's api_key_uid says tells, after a crash,
// which of the two is to be deleted.
func (b *backend) rotateKey(ctx context.Context, s logical.Storage, name string, cfg *config) error {
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return err
	}
	auth := palette.Auth{APIKey: cfg.APIKey}
	old, err := b.rootKeyUID(ctx, client, auth, cfg)
	if err != nil {
		return err
	}
	id, err := uuid.GenerateUUID()
	if err != nil {
		return fmt.Errorf("naming the key: %w", err)
	}
	now := time.Now().UTC()
	life := rootKeyLife
	if cfg.RotationPeriod > 0 {
		life = max(2*cfg.RotationPeriod, 24*time.Hour)
	}
	w := &keyWAL{ConfigName: name, Address: cfg.Address, Name: "vault-root-" + name + "-" + id, Expiry: now.Add(life), At: now, OldUID: old}
	wal, err := framework.PutWAL(ctx, s, walRootKey, w)
	if err != nil {
		return fmt.Errorf("writing the new key's name ahead: %w", err)
	}
	b.rotations.addLeftover(name, wal)
	uid, key, err := client.CreateAPIKey(ctx, auth, palette.NewAPIKey{Name: w.Name, Description: "The API key of the Vault secrets engine's config " + name, Expiry: w.Expiry})
	if err != nil {
		if palette.VerdictOf(err) != palette.Unknown { // it was not made
			b.rotations.resolve(name, wal)
			b.forgetWAL(ctx, s, name, wal)
		}
		return err
	}
	next := *cfg
	next.APIKey, next.APIKeyUID, next.APIKeyExpiry = key, uid, w.Expiry.Unix()
	next.rotated(now)
	if err := b.configs.put(ctx, s, name, &next); err != nil {
		return err // the old one goes on; the new one is deleted when this is settled
	}
	return b.settle(ctx, s, name)
}

// rootKeyUID is the UID of a config's own key: as stored or, where that is not known, the
// one key that the user has.
func (b *backend) rootKeyUID(ctx context.Context, client paletteAPI, auth palette.Auth, cfg *config) (string, error) {
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
	var mine []string
	for _, key := range keys {
		if key.Active && (key.UserUID == me.UserUID || key.UserUID == "") {
			mine = append(mine, key.UID)
		}
	}
	if len(mine) != 1 {
		return "", refusal("Palette's user has %d API keys, so that it is not known which one is the config's; write its UID to the config's field %q", len(mine), fieldAPIKeyUID)
	}
	return mine[0], nil
}

// settleRootKey deletes the key that the config does not hold: the old one where the new
// one was stored, else the new one, should it have been made.
func (b *backend) settleRootKey(ctx context.Context, cfg *config, w *keyWAL) (known bool, err error) {
	if cfg == nil || cfg.APIKey == "" || cfg.Address != w.Address {
		b.Logger().Warn("a rotation's API key is left to its expiry: its config has gone or is another login", "config", w.ConfigName, "name", w.Name, "dead_by_itself_at", w.Expiry)
		return true, nil
	}
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return false, err
	}
	auth := palette.Auth{APIKey: cfg.APIKey}
	if cfg.APIKeyUID == "" || cfg.APIKeyUID == w.OldUID {
		return b.deleteByName(ctx, client, auth, w.Name, "")
	}
	// The config's key may be neither: one that was written since. Then both have to go.
	if _, err = b.deleteByName(ctx, client, auth, w.Name, cfg.APIKeyUID); err != nil && !rejected(err) {
		return false, err
	}
	err = client.DeleteAPIKey(ctx, auth, w.OldUID)
	switch {
	case err == nil || gone(err):
	case !rejected(err):
		return false, err
	default: // it would be refused again and again, and keep the config from its use
		b.Logger().Warn("Palette refuses to delete a config's old API key; delete it by hand, or it lives to its own expiry", "config", w.ConfigName, "uid", w.OldUID, "error", err)
	}
	return true, nil
}
