package apikey

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/keyname"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// sharedLife is how long a shared key lives where the role names no max_ttl.
const sharedLife = 24 * time.Hour

// MinSharedLife is the least max_ttl of a role that shares a key. Expired keys count at Palette until the
// next minute, so keys of a shorter life would fill its limit of keys.
const MinSharedLife = 10 * time.Second

// SharedGrace is how much longer than its leases a shared key of a given life lives at Palette. A second is
// what [lease.KeyLeft] may take of it.
func SharedGrace(life time.Duration) time.Duration { return max(time.Second, min(Grace, life/10)) }

// Shared is the kind of a role's key that all leases of the role hand out. A key is replaced when a
// third of its life is left, and lives on to its own end.
type Shared struct {
	*Manager
	Roles *store.Roles
}

// lifeOf is how long a new shared key of a role lives.
func (m *Shared) lifeOf(r *store.Role) time.Duration {
	return min(cmp.Or(r.MaxTTL, sharedLife), m.MaxLease())
}

// Label implements session.Kind, as do the others below.
func (m *Shared) Label() string { return "role" }

// Want describes the key of a role; nil where there is no such role, or where it shares no key.
func (m *Shared) Want(ctx context.Context, s logical.Storage, name string) (*session.Want, error) {
	r, err := m.Roles.Get(ctx, s, name)
	if err != nil || r == nil || !r.SharesKey() {
		return nil, err
	}
	cfg, err := m.Configs.Get(ctx, s, r.ConfigName)
	if err != nil || cfg == nil {
		return nil, err
	}
	return &session.Want{Name: name, Config: cfg, Role: r}, nil
}

// Fresh tells whether at least a third of the key's life is left, and no more than a new key would have.
// More is left where a max_ttl has been shortened, or a clock set back.
func (m *Shared) Fresh(c *session.Credential, w *session.Want, now time.Time) bool {
	left, life := c.Left(now), m.lifeOf(w.Role)
	return left >= c.Life/3 && left <= life+SharedGrace(life)
}

// MsgNotReplaced is the log's message for a shared key that stays for longer than it should.
const MsgNotReplaced = "a shared API key could not be replaced"

// Renew makes a key. The keys before it may be in use, and stay.
func (m *Shared) Renew(ctx context.Context, s logical.Storage, keep *session.Manager, w *session.Want, have *session.Credential) (*session.Credential, error) {
	name, err := keyname.Make(w.Role.NameTemplate, keyname.Data{RoleName: w.Name, DisplayName: "shared"})
	if err != nil {
		return nil, upstream.Mistakef("the name_template of role %q makes no name: %s", w.Name, err)
	}
	now, life := time.Now().UTC(), m.lifeOf(w.Role)
	next := &session.Credential{
		Identity: w.Config.Identity(), IssuedAt: now, Life: life,
		ConfigName: w.Role.ConfigName, OwnerUID: w.Config.UserUID, UserUID: w.Role.UserUID,
	}
	if have != nil {
		next.IssuedAt, next.Refreshes, next.Keys = have.IssuedAt, have.Refreshes+1, slices.Clone(have.Keys)
	}
	ahead := &store.KeyWAL{ConfigName: w.Role.ConfigName, Role: w.Name, Address: w.Config.Address, Name: name, Expiry: now.Add(life)}
	_, err = m.createKept(ctx, s, w.Role, w.Config, ahead, func(key store.Key) error {
		next.Keys = append(next.Keys, key)
		return keep.Put(ctx, s, w.Name, next)
	})
	if err == nil {
		return next, nil
	}
	// A key that Palette has ended is of no use to a reader, so the error is the answer.
	if have == nil || have.Suspect {
		return nil, err
	}
	m.Logger().Warn(MsgNotReplaced, "role", w.Name, "uid", have.Key().UID, "expires_at", have.Key().ExpiresAt, "error", err)
	return nil, &session.Passing{Warning: "the shared API key could not be replaced, so the answer has the present key, which dies at " + have.Key().ExpiresAt.Format(time.RFC3339) + ": ", Err: err}
}

// MsgSharedPending is the log's message for a shared key that cannot be deleted now.
const MsgSharedPending = "a shared API key could not be deleted; the deletion is pending and retried each minute"

// End deletes all keys of a role, or makes their deletion pending.
func (m *Shared) End(ctx context.Context, s logical.Storage, name string, have *session.Credential) error {
	var failed error // where Palette takes no call, each further one would wait as long
	for _, key := range have.Keys {
		k := Owned{have.ConfigName, have.Identity, key}
		if failed == nil || answer.KindOf(failed) == answer.Rejected {
			if failed = m.Delete(ctx, s, k); failed == nil {
				continue
			}
		}
		m.Logger().Warn(MsgSharedPending, "role", name, "uid", key.UID, "expires_at", key.ExpiresAt, "error", failed)
		if err := m.enqueue(context.WithoutCancel(ctx), s, k); err != nil {
			return err
		}
	}
	return nil
}

// Tidy deletes the expired keys: Palette counts them too for its limit of keys.
func (m *Shared) Tidy(ctx context.Context, s logical.Storage, _ string, have *session.Credential) (*session.Credential, error) {
	left := *have
	left.Keys = nil
	for _, key := range have.Keys {
		if key.ExpiresAt.After(time.Now()) {
			left.Keys = append(left.Keys, key)
			continue
		}
		if err := m.Delete(ctx, s, Owned{have.ConfigName, have.Identity, key}); err != nil && m.MayLive(&key) {
			return nil, err
		}
	}
	switch len(left.Keys) {
	case 0:
		return nil, nil
	case len(have.Keys):
		return have, nil
	}
	return &left, nil
}

// Rejected asks with the key itself, unless it is so new that Palette may not know it everywhere.
func (m *Shared) Rejected(ctx context.Context, s logical.Storage, have *session.Credential) bool {
	key := have.Key()
	cfg, err := m.Configs.Get(ctx, s, have.ConfigName)
	if err != nil || cfg == nil || !have.Of(cfg) || time.Since(key.MadeAt) < session.AskEvery {
		return false
	}
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return false
	}
	_, err = client.UserInfo(ctx, palette.Auth{APIKey: key.Key})
	return upstream.Unauthorized(err)
}

// Gone tells whether Palette lists the key no more, or as inactive. A 401 alone may be about the key's
// user, for whom another key would be no better.
func (m *Shared) Gone(ctx context.Context, s logical.Storage, have *session.Credential) bool {
	cfg, err := m.Configs.Get(ctx, s, have.ConfigName)
	if err != nil || cfg == nil {
		return false
	}
	var listed []palette.APIKey
	err = m.use(ctx, s, have.ConfigName, cfg, func(client upstream.API, auth palette.Auth) (err error) {
		listed, err = client.ListAPIKeys(ctx, auth)
		return err
	})
	return err == nil && !slices.ContainsFunc(listed, func(k palette.APIKey) bool { return k.UID == have.Key().UID && k.Active })
}

// EndSharedOf ends the shared keys that a config has made. Where all is false, it ends only those that
// their roles do not want any more.
func (m *Manager) EndSharedOf(ctx context.Context, s logical.Storage, config string, all bool) error {
	end := m.SharedKeys.EndForeign
	if all {
		end = m.SharedKeys.End
	}
	keys, err := m.SharedOf(ctx, s, config)
	for name := range keys {
		err = cmp.Or(end(ctx, s, name), err)
	}
	return err
}

// SharedOf are the shared keys that a config has made, by role.
func (m *Manager) SharedOf(ctx context.Context, s logical.Storage, config string) (map[string]*session.Credential, error) {
	found := make(map[string]*session.Credential)
	return found, m.SharedKeys.Each(ctx, s, func(role string, have *session.Credential) {
		if have.ConfigName == config {
			found[role] = have
		}
	})
}
