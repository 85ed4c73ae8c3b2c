// Package config writes and deletes configs.
//
// Promise: a write is tried at Palette before it is stored, unless its writer says otherwise. A write
// stores all of its fields or none, and takes nothing back that another write has stored meanwhile.
//
// State: none of its own. The credential lock of package rootcred is held over a write, so that no
// rotation stores its outcome over it.
package config

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/password"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// writeTries is how often a write starts over because another write came between its login at
// Palette and its swap.
const writeTries = 3

// Manager writes the configs of a mount.
type Manager struct {
	Configs     *store.Configs
	Clients     *upstream.Clients
	Revocations *revocation.Manager
	Credentials *rootcred.Manager
	System      func() logical.SystemView
	Logger      func() hclog.Logger
}

// Write is a write of a config.
type Write struct {
	// Change returns the config after the write; old is nil for a new config. Its error is a
	// Mistake.
	Change func(old *store.Config) (*store.Config, error)
	// Verify tries the login at Palette before the config is stored.
	Verify bool
	// NewPolicy: the write names a password policy, which must make a password.
	NewPolicy bool
	// NewSecret: the write brings a password or an API key.
	NewSecret bool
	// LoggedIn is told of the token of the login that Verify makes.
	LoggedIn func(palette.Token)
}

// Write stores a config: it checks the policy, tries the login, and swaps. The login goes out
// without a lock on the config. Where another write came between, Write starts over from what
// that write stored.
//
// Write returns the config before and after. Errors are Mistakes, coded errors (409, 502, 503)
// and the storage's.
func (m *Manager) Write(ctx context.Context, s logical.Storage, name string, w Write) (old, next *store.Config, err error) {
	if old, err = m.Configs.Get(ctx, s, name); err != nil {
		return nil, nil, err
	}
	release, err := m.acquireToWrite(ctx, s, name, w)
	if err != nil {
		return nil, nil, upstream.LoginFailed(name, cmp.Or(old, &store.Config{}), err, "nothing is stored")
	}
	defer release()
	for range writeTries {
		if old, err = m.Configs.Get(ctx, s, name); err != nil {
			return nil, nil, err
		}
		if next, err = w.Change(old); err != nil {
			return nil, nil, err
		}
		if err = m.check(ctx, s, name, next, w); err != nil {
			m.leave(next, old)
			return nil, nil, err
		}
		plan(old, next, time.Now())
		swapped, err := m.swap(ctx, s, name, old, next)
		if err != nil {
			return nil, nil, err
		}
		if swapped {
			if w.Verify {
				m.Credentials.Supersede(name, next)
			}
			return old, next, nil
		}
	}
	return nil, nil, logical.CodedError(http.StatusConflict,
		fmt.Sprintf("config %q is being changed by others at the same time; nothing of this write is stored, try it again", name))
}

// swap swaps a config, and forgets the client that nobody uses then.
func (m *Manager) swap(ctx context.Context, s logical.Storage, name string, old, next *store.Config) (swapped bool, err error) {
	swapped, err = m.Configs.Swap(ctx, s, name, old, next)
	if err != nil || !swapped {
		m.leave(next, old)
		return false, err
	}
	m.leave(old, next)
	return true, nil
}

// leave forgets the client of one config, unless another config has the same connection.
func (m *Manager) leave(cfg, other *store.Config) {
	if cfg != nil && (other == nil || cfg.Connection != other.Connection) {
		m.Clients.Drop(cfg.Connection)
	}
}

// acquireToWrite acquires a config's credential lock. A write that brings a secret of its own does
// not recover an interrupted rotation first.
func (m *Manager) acquireToWrite(ctx context.Context, s logical.Storage, name string, w Write) (release func(), err error) {
	if !w.NewSecret {
		return m.Credentials.Acquire(ctx, s, name)
	}
	if err := m.Credentials.LookUp(ctx, s); err != nil {
		return nil, err
	}
	return m.Credentials.AcquireShared(ctx, name)
}

// check tries what a write brings: its password policy at Vault and its login at Palette.
func (m *Manager) check(ctx context.Context, s logical.Storage, name string, next *store.Config, w Write) error {
	if w.NewPolicy && next.PasswordPolicy != "" {
		if _, err := password.New(ctx, m.System(), next.PasswordPolicy); err != nil {
			return upstream.Mistakef("field %q is %q, but Vault cannot make a password by it: %s", "password_policy", next.PasswordPolicy, err)
		}
	}
	if !w.Verify {
		return nil
	}
	return m.verify(ctx, s, name, next, w)
}

// verify logs in with a config that is not stored yet, and revokes the token. For an API key it
// asks Palette whose the key is.
func (m *Manager) verify(ctx context.Context, s logical.Storage, name string, cfg *store.Config, w Write) error {
	const hint = "nothing is stored (verify_connection=false stores without a check)"
	if cfg.APIKey != "" {
		if err := m.verifyKey(ctx, name, cfg); err != nil {
			return upstream.KeyCallFailed(name, cfg, err, hint)
		}
		return nil
	}
	token, err := m.tryLogin(ctx, s, cfg, cfg.Login())
	if err != nil {
		return upstream.LoginFailed(name, cfg, err, hint)
	}
	if w.LoggedIn != nil {
		w.LoggedIn(token)
	}
	return nil
}

// Delete deletes a config, and returns the config that was there; nil for none. A rotation under
// way would bring the config back when it stores its outcome, so Delete waits for it.
func (m *Manager) Delete(ctx context.Context, s logical.Storage, name string) (*store.Config, error) {
	release, err := m.Credentials.AcquireShared(ctx, name)
	if err != nil {
		return nil, err
	}
	defer release()
	for range writeTries {
		old, err := m.Configs.Get(ctx, s, name)
		if err != nil || old == nil {
			return nil, err
		}
		deleted, err := m.swap(ctx, s, name, old, nil)
		if err != nil {
			return nil, err
		}
		if deleted {
			m.Credentials.Drop(ctx, s, name)
			return old, nil
		}
	}
	return nil, logical.CodedError(http.StatusConflict, fmt.Sprintf("config %q is being changed by others at the same time; try it again", name))
}
