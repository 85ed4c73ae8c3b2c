package rootcred

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/store"
)

// Initialize looks up what the process before has left. Where the storage fails, the first use
// tries again, and the mount is of use without it.
func (m *Manager) Initialize(ctx context.Context, s logical.Storage) error {
	if err := m.LookUp(ctx, s); err != nil {
		m.Logger().Error(MsgLookUpFailed, "error", err)
	}
	return nil
}

// EachMinute starts the rotations that are due and recovers the interrupted ones. A config that
// cannot be read is named by the error, and does not keep the others from their rotation.
func (m *Manager) EachMinute(ctx context.Context, s logical.Storage) error {
	errs := []error{m.LookUp(ctx, s), m.mended(ctx, s)}
	writes := m.WritesConfigs()
	err := m.Configs.Each(ctx, s, func(name string, cfg *store.Config, err error) {
		if errs = append(errs, err); err == nil && writes {
			m.tend(s, name, cfg)
		}
	})
	return errors.Join(append(errs, err)...)
}

// LookUp looks up, once in a process, what the process before has left. LookUp calls nobody, since
// Vault's unseal waits for Initialize. The first use of a config tries again where the storage
// failed.
func (m *Manager) LookUp(ctx context.Context, s logical.Storage) error {
	m.mu.Lock()
	lookedUp := m.lookedUp
	m.mu.Unlock()
	if lookedUp {
		return nil
	}
	ids, err := framework.ListWAL(ctx, s)
	if err != nil {
		return fmt.Errorf("listing the write-ahead entries: %w", err)
	}
	found, err := store.ReadWALs(ctx, s, ids)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lookedUp { // another request was quicker
		return nil
	}
	m.lookedUp = true
	m.take(found)
	for _, id := range found.Undecodable {
		m.Logger().Error(MsgUndecodable, "entry", framework.WALPrefix+id)
	}
	return nil
}

// take notes what is to be recovered. The caller holds mu.
func (m *Manager) take(found store.Interrupted) {
	for name, ids := range found.Rotations {
		st := m.of(name)
		for _, id := range ids {
			st.entries = append(st.entries, &entry{id: id})
		}
	}
	m.Hooks.KeysInterrupted(found.Keys)
	m.undecodable = found.Undecodable
}

// mended looks at the write-ahead entries that could not be decoded: an entry that an operator has
// mended is recovered from then on. The error names the others.
func (m *Manager) mended(ctx context.Context, s logical.Storage) error {
	m.mu.Lock()
	ids := m.undecodable
	m.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	found, err := store.ReadWALs(ctx, s, ids)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.take(found)
	m.mu.Unlock()
	var errs []error
	for _, id := range found.Undecodable {
		errs = append(errs, fmt.Errorf("the write-ahead entry %s%s cannot be decoded", framework.WALPrefix, id))
	}
	return errors.Join(errs...)
}

// Rollback is Vault's rollback of a rotation's write-ahead entry. nil lets Vault delete the entry.
func (m *Manager) Rollback(ctx context.Context, s logical.Storage, data any) error {
	name, err := store.WALConfig(data)
	if err != nil {
		return err
	}
	if err = m.LookUp(ctx, s); err != nil {
		return err
	}
	cfg, err := m.Configs.Get(ctx, s, name)
	if err != nil {
		return err
	}
	if cfg == nil { // nobody will use the config, and so recover the rotation
		m.Drop(ctx, s, name)
		return nil
	}
	for _, id := range m.entryIDs(name, func(*entry) bool { return true }) {
		own, _, err := store.LoadWAL(ctx, s, id)
		if err != nil {
			return err
		}
		if own != nil && reflect.DeepEqual(own.Data, data) { // another rotation may be under way
			return fmt.Errorf("an interrupted rotation of config %q is not recovered yet", name)
		}
	}
	return nil
}

// Drop forgets the interrupted rotations of a config that is gone.
func (m *Manager) Drop(ctx context.Context, s logical.Storage, name string) {
	for _, id := range m.entryIDs(name, func(*entry) bool { return true }) {
		m.resolve(name, id)
		m.deleteWAL(ctx, s, name, id)
	}
}

// Supersede lets a config be used in spite of interrupted rotations: a write has shown that the
// config's secret works. The rotations are recovered when none of their calls can reach Palette
// any more.
func (m *Manager) Supersede(name string, cfg *store.Config) {
	until := cfg.ArrivesBy(time.Now())
	for _, id := range m.unresolved(name) {
		m.grant(name, id, until)
	}
}

// Unrecovered are the ids of a config's write-ahead entries whose outcome is not known.
func (m *Manager) Unrecovered(name string) []string {
	return m.entryIDs(name, func(e *entry) bool { return !e.resolved })
}

// entryIDs are the ids of a config's write-ahead entries that match.
func (m *Manager) entryIDs(name string, matches func(*entry) bool) (ids []string) {
	m.with(name, func(st *state) {
		for _, e := range st.entries {
			if matches(e) {
				ids = append(ids, e.id)
			}
		}
	})
	return ids
}
