package config

import (
	"context"
	"time"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// MsgExpiryUnknown is the log's message for an API key whose expiry Palette does not tell.
const MsgExpiryUnknown = "the expiry of a config's API key could not be learned"

// verifyKey asks Palette whose a config's API key is, and when it expires.
func (m *Manager) verifyKey(ctx context.Context, name string, cfg *store.Config) error {
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return err
	}
	auth := palette.Auth{APIKey: cfg.APIKey}
	me, err := client.UserInfo(ctx, auth)
	if err == nil {
		cfg.UserUID = me.UserUID
		m.learnExpiry(ctx, client, auth, me, name, cfg)
	}
	return err
}

// learnExpiry notes when a config's own key expires, where Palette tells which of the user's keys that
// is. A write does not fail for it.
func (m *Manager) learnExpiry(ctx context.Context, client upstream.API, auth palette.Auth, me palette.UserInfo, name string, cfg *store.Config) {
	keys, err := client.ListAPIKeys(ctx, auth)
	if err != nil {
		m.Logger().Info(MsgExpiryUnknown, "config", name, "error", err)
		return
	}
	key, known := ownKey(cfg, me, keys)
	if !known || key.Expiry.IsZero() {
		return
	}
	cfg.APIKeyExpiry = client.OnOurClock(key.Expiry).Unix()
}

// ownKey is a config's own key among those that it sees: the one with its UID or, where that is not
// known, the one active key that the user has.
func ownKey(cfg *store.Config, me palette.UserInfo, keys []palette.APIKey) (key palette.APIKey, known bool) {
	if cfg.APIKeyUID != "" {
		for _, k := range keys {
			if k.UID == cfg.APIKeyUID {
				return k, true
			}
		}
		return key, false
	}
	mine := rootcred.ActiveOf(me, keys)
	if len(mine) != 1 {
		return key, false
	}
	return mine[0], true
}

// plan sets when a config's key must have been rotated at the latest, whatever rotation_period says:
// at half of what is left of its life, so that a rotation that fails leaves time for others.
func plan(before, next *store.Config, now time.Time) {
	sameKey := before != nil && before.APIKey == next.APIKey && before.APIKeyExpiry == next.APIKeyExpiry
	switch {
	case next.APIKeyExpiry == 0 || next.RotationPeriod == 0:
		next.RotateBy = 0
	case sameKey && before.RotateBy != 0:
		next.RotateBy = before.RotateBy // many writes must not put it off
	default:
		next.RotateBy = now.Add(time.Unix(next.APIKeyExpiry, 0).Sub(now) / 2).Unix()
	}
}
