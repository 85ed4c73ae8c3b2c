package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/store"
)

// The log's messages for the end of shared credentials.
const (
	MsgNotMarked = "a shared credential could not be marked for a renewal; after a restart it may be a dead one"
	MsgNotListed = "the shared credentials could not be listed; they live to their own expiry"
	MsgNotEnded  = "a shared credential could not be ended"
)

// List returns the names of those that have a credential.
func (m *Manager) List(ctx context.Context, s logical.Storage) ([]string, error) {
	return m.stored.List(ctx, s)
}

// Stored returns a credential as it is stored; nil for none.
func (m *Manager) Stored(ctx context.Context, s logical.Storage, name string) (*Credential, error) {
	return m.stored.Get(ctx, s, name)
}

// Each calls do with every credential that can be read. The error names those that cannot.
func (m *Manager) Each(ctx context.Context, s logical.Storage, do func(name string, have *Credential)) error {
	var errs []error
	err := m.stored.Each(ctx, s, func(name string, have *Credential, err error) {
		if errs = append(errs, err); err == nil {
			do(name, have)
		}
	})
	return errors.Join(append(errs, err)...)
}

// Invalidate forgets what the cache knows of a storage key that another node has written. A config that
// another node has written may have been rotated, and Palette may have ended the session with that. On a
// performance secondary nobody else marks the cluster's own session.
func (m *Manager) Invalidate(key string) {
	m.stored.Invalidate(key)
	if name, isConfig := strings.CutPrefix(key, store.ConfigPrefix); isConfig && m.Kind.Label() == "config" {
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
	have, err := m.stored.Get(ctx, s, name)
	if err != nil || have == nil {
		return
	}
	m.storeSuspect(ctx, s, name, have)
}

// storeSuspect stores that a credential may have ended at Palette. The caller holds its lock.
func (m *Manager) storeSuspect(ctx context.Context, s logical.Storage, name string, have *Credential) {
	next := *have
	next.Suspect = true
	if err := m.stored.Put(ctx, s, name, &next); err != nil {
		m.Logger().Warn(MsgNotMarked, m.Kind.Label(), name, "error", err)
	}
}

// unstored makes up for a new session that the storage may have taken in spite of its error. The
// session's token is revoked: neither this process nor the next one may hand it out.
func (m *Manager) unstored(ctx context.Context, s logical.Storage, name string, before *Credential) {
	m.with(name, func(n *note) { n.generation++ })
	if before != nil {
		m.storeSuspect(ctx, s, name, before)
		return
	}
	if err := m.stored.Delete(ctx, s, name); err != nil {
		m.Logger().Warn(MsgNotMarked, m.Kind.Label(), name, "error", err)
	}
}

// EndForeign ends a credential that config and role do not want any more, after a write or a deletion. A
// credential that they want stays: a read may have begun it already.
func (m *Manager) EndForeign(ctx context.Context, s logical.Storage, name string) error {
	have, err := m.stored.Get(ctx, s, name)
	if err != nil || have == nil {
		return err // what is under way looks for itself
	}
	if w, err := m.Kind.Want(ctx, s, name); err != nil || have.is(w) {
		return err
	}
	return m.end(ctx, s, name, func(have *Credential) (bool, error) {
		w, err := m.Kind.Want(ctx, s, name)
		return !have.is(w), err
	})
}

// End ends a credential at Palette and in Vault, if there is one.
func (m *Manager) End(ctx context.Context, s logical.Storage, name string) error {
	return m.end(ctx, s, name, func(*Credential) (bool, error) { return true, nil })
}

// Clean ends all credentials of a removed mount, and logs what it cannot end. A seal or a reload
// leaves them, for the next active node to go on with.
func (m *Manager) Clean(ctx context.Context, s logical.Storage, removed bool) {
	if !removed {
		return
	}
	names, err := m.stored.List(ctx, s)
	if err != nil {
		m.Logger().Warn(MsgNotListed, "error", err)
	}
	for _, name := range names {
		if err = m.End(ctx, s, name); err != nil {
			m.Logger().Warn(MsgNotEnded, m.Kind.Label(), name, "error", err)
		}
	}
}

// end ends a credential that is to be ended.
func (m *Manager) end(ctx context.Context, s logical.Storage, name string, wanted func(*Credential) (bool, error)) error {
	lock := m.lock(name)
	if err := lock.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for a call under way on the shared credential: %w", err)
	}
	defer lock.Release(1)
	have, err := m.stored.Get(ctx, s, name)
	if err != nil || have == nil {
		return err
	}
	if yes, err := wanted(have); err != nil || !yes {
		return err
	}
	return m.endStored(ctx, s, name, have)
}

// endStored ends a credential at Palette, or makes that pending, and deletes it from Vault. The caller
// holds its lock.
func (m *Manager) endStored(ctx context.Context, s logical.Storage, name string, have *Credential) error {
	if have.Left(time.Now()) > 0 {
		m.storeSuspect(ctx, s, name, have) // a crash before the deletion would leave a dead one to be handed out
	}
	err := m.Kind.End(ctx, s, name, have)
	if err == nil {
		err = m.stored.Delete(context.WithoutCancel(ctx), s, name)
	}
	if err != nil { // Palette may have ended what is still stored
		m.with(name, func(n *note) { n.generation++ })
	}
	return err
}

// EachMinute ends the credentials that config and role do not want any more, and the expired parts of the
// others. Such credentials stay where the primary cluster has changed a role, where a process has died
// before their end, or where nobody reads.
func (m *Manager) EachMinute(ctx context.Context, s logical.Storage) error {
	var errs []error
	failing := make(map[string]bool) // with Palette down each call takes request_timeout
	errs = append(errs, m.Each(ctx, s, func(name string, have *Credential) {
		if failing[have.ConfigName] {
			return
		}
		failed, err := m.tidy(ctx, s, name)
		failing[have.ConfigName] = failed
		errs = append(errs, err)
	}))
	return errors.Join(errs...)
}

// MsgNotTidied is the log's message for expired keys that could not be deleted.
const MsgNotTidied = "an expired key of a shared credential could not be deleted; trying again in a minute"

// tidy is EachMinute for one credential. failed tells whether Palette did not take a call. A renewal
// under way has its turn first.
func (m *Manager) tidy(ctx context.Context, s logical.Storage, name string) (failed bool, err error) {
	lock := m.lock(name)
	if !lock.TryAcquire(1) {
		return false, nil
	}
	defer lock.Release(1)
	have, err := m.stored.Get(ctx, s, name)
	if err != nil || have == nil {
		return false, err
	}
	w, err := m.Kind.Want(ctx, s, name)
	switch {
	case err != nil:
		return false, err
	case !have.is(w):
		return false, m.endStored(ctx, s, name, have)
	}
	left, err := m.Kind.Tidy(ctx, s, name, have)
	switch {
	case err != nil:
		m.Logger().Warn(MsgNotTidied, m.Kind.Label(), name, "error", err)
		return true, nil
	case left == nil:
		return false, m.stored.Delete(ctx, s, name)
	case left != have:
		return false, m.stored.Put(ctx, s, name, left)
	}
	return false, nil
}
