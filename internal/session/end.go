package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/store"
)

// The log's messages for the end of sessions.
const (
	MsgNotMarked     = "a shared session could not be marked for a refresh; after a restart its token may be a dead one"
	MsgEndPending    = "a shared session could not be ended at Palette; its revocation is pending and retried each minute"
	MsgNotListed     = "the shared sessions could not be listed; they live to their own expiry"
	MsgSessionNotEnd = "a shared session could not be ended"
)

// List returns the names of the configs that have a session.
func (m *Manager) List(ctx context.Context, s logical.Storage) ([]string, error) {
	return m.sessions.List(ctx, s)
}

// Stored returns a config's session as it is stored; nil for none.
func (m *Manager) Stored(ctx context.Context, s logical.Storage, name string) (*Session, error) {
	return m.sessions.Get(ctx, s, name)
}

// Invalidate forgets what the cache knows of a storage key that another node has written. Another
// config may be one that was rotated: on a performance secondary nobody else marks the cluster's own
// session, which Palette may have ended with the change.
func (m *Manager) Invalidate(key string) {
	m.sessions.Invalidate(key)
	if name, isConfig := strings.CutPrefix(key, store.ConfigPrefix); isConfig {
		m.with(name, func(n *note) { n.generation++ })
	}
}

// MarkSuspect makes the next use of a config's session refresh the session first, even after a
// crash: a change of the password may end sessions (an assumption). MarkSuspect waits for nobody.
func (m *Manager) MarkSuspect(ctx context.Context, s logical.Storage, name string) {
	m.with(name, func(n *note) { n.generation++ })
	// A flight under way stores its outcome, which must not be overwritten. Nor may this wait for
	// the flight, whose login may wait for the rotation that calls here.
	lock := m.lock(name)
	if !lock.TryAcquire(1) {
		return
	}
	defer lock.Release(1)
	have, err := m.sessions.Get(ctx, s, name)
	if err != nil || have == nil {
		return
	}
	m.storeSuspect(ctx, s, name, have)
}

// storeSuspect stores that a session may have ended at Palette. The caller holds the session's lock.
func (m *Manager) storeSuspect(ctx context.Context, s logical.Storage, name string, have *Session) {
	next := *have
	next.Suspect = true
	if err := m.sessions.Put(ctx, s, name, &next); err != nil {
		m.Logger().Warn(MsgNotMarked, "config", name, "error", err)
	}
}

// EndForeign ends the session of a config that a write has deleted (next is nil) or made another
// identity.
func (m *Manager) EndForeign(ctx context.Context, s logical.Storage, name string, old, next *store.Config) error {
	if old == nil || next != nil && old.SameIdentity(next) {
		return nil
	}
	return m.endBut(ctx, s, name, next)
}

// End ends the session of a config at Palette and in Vault, if there is one.
func (m *Manager) End(ctx context.Context, s logical.Storage, name string) error {
	return m.endBut(ctx, s, name, nil)
}

// Clean ends all shared sessions of a removed mount, and logs what it cannot end. A seal or a reload
// leaves the sessions, for the next active node to go on with.
func (m *Manager) Clean(ctx context.Context, s logical.Storage, removed bool) {
	if !removed {
		return
	}
	names, err := m.sessions.List(ctx, s)
	if err != nil {
		m.Logger().Warn(MsgNotListed, "error", err)
	}
	for _, name := range names {
		if err = m.End(ctx, s, name); err != nil {
			m.Logger().Warn(MsgSessionNotEnd, "config", name, "error", err)
		}
	}
}

// endBut ends any session but one of the config as it is now: a read may have begun that already.
func (m *Manager) endBut(ctx context.Context, s logical.Storage, name string, now *store.Config) error {
	lock := m.lock(name)
	if err := lock.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for a call under way on the session: %w", err)
	}
	defer lock.Release(1)
	have, err := m.sessions.Get(ctx, s, name)
	if err != nil || have == nil || now != nil && have.Of(now) {
		return err
	}
	return m.endStored(ctx, s, name, have)
}

// endStored revokes a session's tokens, or makes their revocation pending, and deletes the
// session. The caller holds the session's lock.
func (m *Manager) endStored(ctx context.Context, s logical.Storage, name string, have *Session) error {
	if tokens := store.Alive(have.Tokens, time.Now()); len(tokens) > 0 {
		a, err := m.Revocations.AccountFor(ctx, s, name, have.Identity)
		if err != nil {
			return err
		}
		m.storeSuspect(ctx, s, name, have) // a crash before the deletion would leave dead tokens to be handed out
		if err := m.Revocations.End(ctx, a, tokens); err != nil {
			m.Logger().Warn(MsgEndPending, "config", name, "dead_by_itself_at", store.LastExpiry(tokens), "error", err)
			// The caller may have gone. The pending revocation is written all the same.
			if err := m.Revocations.Enqueue(context.WithoutCancel(ctx), s, "", a.Entry(tokens)); err != nil {
				return err
			}
		}
	}
	err := m.sessions.Delete(context.WithoutCancel(ctx), s, name)
	if err != nil { // a config that is led back would hand out dead tokens
		m.with(name, func(n *note) { n.generation++ })
	}
	return err
}
