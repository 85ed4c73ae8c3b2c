package config

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// nothingStored ends the errors of a way that does not work.
const nothingStored = "nothing is stored"

// Trust changes how a config reaches Palette, and whom it takes for Palette, without its secret: nobody
// may know that any more. change returns the config with the new way; it must change nothing else. The
// stored secret is tried on the new way before the config is stored. Interrupted rotations are recovered
// on the new way then, and pending revocations go that way.
//
// Errors are Mistakes, coded errors (409, 502, 503) and the storage's.
func (m *Manager) Trust(ctx context.Context, s logical.Storage, name string, change func(*store.Config) (*store.Config, error)) error {
	if err := m.Credentials.LookUp(ctx, s); err != nil {
		return err
	}
	release, err := m.Credentials.AcquireShared(ctx, name)
	if err != nil {
		return err
	}
	release = sync.OnceFunc(release)
	defer release()
	for range writeTries {
		old, err := m.Configs.Get(ctx, s, name)
		if err != nil {
			return err
		}
		if old == nil {
			return upstream.Mistakef("there is no config %q; write config/%s first", name, name)
		}
		next, err := change(old)
		if err != nil {
			return err
		}
		if err = m.tryWay(ctx, s, name, next); err != nil {
			m.leave(next, old)
			now, unread := m.Configs.Get(ctx, s, name)
			if unread == nil && now != nil && *now != *old {
				continue // the failure is that of a config which is no more
			}
			return err
		}
		swapped, err := m.swap(ctx, s, name, old, next)
		if err != nil {
			return err
		}
		if swapped {
			return m.followTrust(ctx, s, name, old, next, release)
		}
	}
	return logical.CodedError(http.StatusConflict,
		fmt.Sprintf("config %q is being changed by others at the same time; nothing of this write is stored, try it again", name))
}

// tryWay tries the stored secret on a config's new way, before the config is stored. Where Palette
// rejects the secret, tryWay tries those that interrupted rotations have written ahead.
func (m *Manager) tryWay(ctx context.Context, s logical.Storage, name string, cfg *store.Config) error {
	if cfg.APIKey != "" {
		if err := m.verifyKey(ctx, name, cfg); err != nil {
			return upstream.KeyCallFailed(name, cfg, err, nothingStored)
		}
		return nil
	}
	_, rejected := m.tryLogin(ctx, s, cfg, cfg.Login())
	if !upstream.Rejected(rejected) {
		return loginFailed(name, cfg, rejected)
	}
	ahead, err := m.writtenAhead(ctx, s, name, cfg)
	if err != nil {
		return err
	}
	for _, w := range slices.Backward(ahead) { // Palette knows the last that it took
		login := cfg.Login()
		login.Password = w.Password
		if _, err := m.tryLogin(ctx, s, cfg, login); !upstream.Rejected(err) {
			return loginFailed(name, cfg, err)
		}
	}
	return loginFailed(name, cfg, rejected)
}

func loginFailed(name string, cfg *store.Config, err error) error {
	if err == nil {
		return nil
	}
	return upstream.LoginFailed(name, cfg, err, nothingStored)
}

// ahead is a password that an interrupted rotation has written ahead, and the entry's id.
type ahead struct {
	store.PasswordWAL
	id string
}

// writtenAhead are the passwords of a config's interrupted rotations.
func (m *Manager) writtenAhead(ctx context.Context, s logical.Storage, name string, cfg *store.Config) (found []ahead, err error) {
	for _, id := range m.Credentials.Unrecovered(name) {
		entry, _, err := store.LoadWAL(ctx, s, id)
		if err != nil {
			return nil, err
		}
		if entry == nil || entry.Kind != store.WALPassword {
			continue
		}
		a := ahead{id: id}
		if err = store.DecodeWAL(entry.Data, &a.PasswordWAL); err != nil {
			return nil, err
		}
		if cfg.Identity().Same(a.Identity) {
			found = append(found, a)
		}
	}
	return found, nil
}

// MsgTrustNotFollowed is the log's message for what still goes the way that a config has left.
const MsgTrustNotFollowed = "a config has another way to Palette, but what was written before still goes the old one; write the trust again"

// followTrust lets the passwords of interrupted rotations and the pending revocations go the new way.
// Each was bound to the way that it was made for. The config is stored by now, so a fault is logged.
//
// followTrust releases the credential lock before it waits for a run over the pending revocations. The
// run may wait for that lock too, behind a rotation.
func (m *Manager) followTrust(ctx context.Context, s logical.Storage, name string, old, next *store.Config, release func()) error {
	written, err := m.writtenAhead(ctx, s, name, next)
	for _, w := range written {
		if err == nil {
			w.TrustDigest = next.TrustDigest()
			err = store.RewriteWAL(ctx, s, w.id, w.PasswordWAL)
		}
	}
	release()
	if err == nil {
		err = m.Revocations.Reconnect(ctx, s, name, revocation.AccountOf(old), next.Connection)
	}
	if err != nil {
		m.Logger().Error(MsgTrustNotFollowed, "config", name, "error", err)
	}
	return err
}

// tryLogin logs in with a config that is not stored yet, and revokes the token.
func (m *Manager) tryLogin(ctx context.Context, s logical.Storage, cfg *store.Config, login palette.Login) (token palette.Token, err error) {
	login.ByOperator = true
	token, err = m.Credentials.Detach(ctx, s, cfg, func(ctx context.Context) (palette.Token, error) {
		return m.Credentials.Send(ctx, s, cfg, login)
	})
	if err != nil {
		return token, err
	}
	select {
	case <-m.Revocations.Discard(s, revocation.AccountOf(cfg), store.TokenOf(token), "a config's check"):
		return token, nil
	case <-ctx.Done():
		return token, ctx.Err()
	}
}
