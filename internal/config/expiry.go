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
	if err != nil {
		return err
	}
	cfg.UserUID = me.UserUID
	return m.learnKey(ctx, client, auth, me, name, cfg)
}

// learnKey notes which of the user's keys is the config's own and when the key expires, where Palette
// tells. A rotation deletes the key with the config's UID, so a UID that is not of the user's keys is a
// Mistake. A write does not fail where Palette does not list the keys.
func (m *Manager) learnKey(ctx context.Context, client upstream.API, auth palette.Auth, me palette.UserInfo, name string, cfg *store.Config) error {
	keys, err := client.ListAPIKeys(ctx, auth)
	if err != nil {
		m.Logger().Info(MsgExpiryUnknown, "config", name, "error", err)
		return nil
	}
	key, known := ownKey(cfg, me, keys)
	switch {
	case !known && cfg.APIKeyUID != "":
		return upstream.Mistakef("field %q is %q, but the user of api_key has no API key with that UID; leave the field out, or write the UID of api_key", "api_key_uid", cfg.APIKeyUID)
	case !known:
		return nil
	case !key.Expiry.IsZero():
		cfg.APIKeyExpiry = client.OnOurClock(key.Expiry).Unix()
	}
	cfg.APIKeyUID = key.UID // a rotation needs the UID when the user has more keys
	return nil
}

// ownKey finds a config's own key among the keys that it sees. That is the key with the config's
// api_key_uid or, without one, the only active key of the user.
func ownKey(cfg *store.Config, me palette.UserInfo, keys []palette.APIKey) (key palette.APIKey, known bool) {
	if cfg.APIKeyUID != "" {
		for _, k := range keys {
			if k.UID == cfg.APIKeyUID && (k.UserUID == me.UserUID || k.UserUID == "") {
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

// plan sets by when a config's key must be rotated, whatever rotation_period says: when half of the life
// that is left is over. So a rotation that fails leaves time for others.
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
