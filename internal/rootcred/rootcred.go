// Package rootcred uses, rotates and recovers the credential of a config: its password or its API
// key.
//
// Promise: at each step of a rotation the config or the write-ahead log holds the credential that
// works at Palette. An interrupted rotation is recovered at the config's next use. No use fails
// because of a rotation, unless the storage does not take its outcome. No two rotations of a config
// run at a time.
//
// State: for each config the credential lock, the unresolved write-ahead entries and the schedule
// of its rotations. One mutex guards all of them but the credential lock. The credential lock is
// the named single flight of a rotation: logins and calls share it, a rotation holds it alone, and
// it is held over calls to Palette.
package rootcred

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// The log's messages.
const (
	MsgChangeUnknown     = "the answer to a password change is missing; the engine finds out which password works"
	MsgPasswordNotStored = "a rotated password could not be stored; the write-ahead log keeps the password, and the config's next use stores it"
	MsgKeyDeleted        = "deleted an API key whose making was interrupted"
	MsgNamesake          = "an API key has the name of one whose making was interrupted, but another expiry; the key is left alone"
	MsgUndecodable       = "a write-ahead entry cannot be decoded; what it is about is not recovered"
	MsgLookUpFailed      = "what a crash has left could not be looked up"
	MsgRotated           = "rotated"
	MsgRotationFailed    = "a rotation failed"
	MsgUnresolved        = "the outcome of an interrupted rotation is not known yet; what the rotation may have made is kept"
	MsgNotChanged        = "an interrupted rotation had not changed the password at Palette"
	MsgChanged           = "an interrupted rotation had changed the password at Palette"
	MsgNeitherWorks      = "neither the config's password nor the password of an interrupted rotation works; both are kept: write the config with the right password"
	MsgPasswordDropped   = "a rotation's password is dropped: its config has gone or is another login"
	MsgKeyLeft           = "a rotation's API key is left to its expiry: its config has gone or is another login"
	MsgOldKeyPending     = "a config's old API key could not be deleted; its deletion is pending and retried each minute"
	MsgKeyNotYet         = "Palette does not accept a config's new API key yet, so the old key is not deleted yet; trying again in a minute"
	MsgWALNotDeleted     = "a write-ahead entry that is of no more use could not be deleted"
)

// Hooks are what others want to hear of a config's credential. No hook blocks.
type Hooks struct {
	// Changed is told that a config's credential has changed at Palette, which may have ended the
	// config's session.
	Changed func(ctx context.Context, s logical.Storage, name string)
	// Rotated is told of each rotation that has ended.
	Rotated func(ctx context.Context, s logical.Storage, name string, err error)
	// Listed is told of each listing of the API keys that a config sees.
	Listed func(name string, cfg *store.Config, keys []palette.APIKey)
	// KeysInterrupted is told of write-ahead entries of API keys that an earlier process has left.
	KeysInterrupted func(ids []string)
}

// Manager keeps the credentials of a mount's configs.
type Manager struct {
	Configs     *store.Configs
	Clients     *upstream.Clients
	Revocations *revocation.Manager
	Tasks       *tasks.Group
	System      func() logical.SystemView
	Logger      func() hclog.Logger
	Hooks       Hooks

	mu       sync.Mutex
	byConfig map[string]*state
	// lookedUp: the write-ahead entries of an earlier process are known.
	lookedUp bool
	// undecodable are the ids of the write-ahead entries that cannot be decoded.
	undecodable []string
}

// lockWidth is the whole of a credential lock: a login takes one part, a rotation all parts.
const lockWidth = 1 << 30

// state is one config's. Manager.mu guards all but lock.
type state struct {
	lock *semaphore.Weighted
	// rotating: a second rotation is refused.
	rotating bool
	// entries are write-ahead entries of rotations that are not over.
	entries []*entry
	// round is what is known of their passwords.
	round round
	// lastError says why the entries could not be recovered.
	lastError string
	// failures and nextTry pace the rotations that rotation_period asks for.
	failures int
	nextTry  time.Time
}

// entry is a write-ahead entry of a rotation.
type entry struct {
	id string
	// resolved: the outcome is known, and only the storage has to delete the entry.
	resolved bool
	// graceUntil is the end of the grace period: the rotation's call had not reached Palette when
	// Palette was asked, and may reach it until then. The config is used meanwhile.
	graceUntil time.Time
}

// with runs f on a config's state under the lock.
func (m *Manager) with(name string, f func(*state)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.of(name))
}

// of returns a config's state. The caller holds mu.
func (m *Manager) of(name string) *state {
	if m.byConfig == nil {
		m.byConfig = make(map[string]*state)
	}
	st, ok := m.byConfig[name]
	if !ok {
		st = &state{lock: semaphore.NewWeighted(lockWidth)}
		m.byConfig[name] = st
	}
	return st
}

func (m *Manager) lock(name string) (lock *semaphore.Weighted) {
	m.with(name, func(st *state) { lock = st.lock })
	return lock
}

// unresolved are the ids of the entries that keep a config from its use: those without a grace
// period, and those whose grace period is over.
func (m *Manager) unresolved(name string) []string {
	now := time.Now()
	return m.entryIDs(name, func(e *entry) bool { return !now.Before(e.graceUntil) })
}

// add notes a write-ahead entry of a rotation.
func (m *Manager) add(name, id string) {
	m.with(name, func(st *state) { st.entries = append(st.entries, &entry{id: id}) })
}

// update changes an entry, if the config has it, and clears the last error.
func (m *Manager) update(name, id string, change func(*entry)) {
	m.with(name, func(st *state) {
		for _, e := range st.entries {
			if e.id == id {
				change(e)
				st.lastError = ""
			}
		}
	})
}

func (m *Manager) resolve(name, id string) {
	m.update(name, id, func(e *entry) { e.resolved = true })
}

func (m *Manager) isResolved(name, id string) (resolved bool) {
	m.with(name, func(st *state) {
		resolved = slices.ContainsFunc(st.entries, func(e *entry) bool { return e.id == id && e.resolved })
	})
	return resolved
}

func (m *Manager) grant(name, id string, until time.Time) {
	m.update(name, id, func(e *entry) { e.graceUntil = until })
}

// endGrace makes all entries of a config keep it from its use again, and tells whether an entry
// had a grace period.
func (m *Manager) endGrace(name string) (had bool) {
	m.with(name, func(st *state) {
		for _, e := range st.entries {
			had = had || !e.graceUntil.IsZero()
			e.graceUntil = time.Time{}
		}
	})
	return had
}

// forget drops an entry that the storage has deleted.
func (m *Manager) forget(name, id string) {
	m.with(name, func(st *state) {
		st.entries = slices.DeleteFunc(st.entries, func(e *entry) bool { return e.id == id })
		if len(st.entries) == 0 {
			st.lastError, st.round = "", round{}
		}
	})
}

// LastError says why an interrupted rotation of a config could not be recovered; "" where there
// is none.
func (m *Manager) LastError(name string) (text string) {
	m.with(name, func(st *state) { text = st.lastError })
	return text
}

// Acquire takes part in a config's credential lock: it waits for a rotation under way, and
// recovers an interrupted one first.
func (m *Manager) Acquire(ctx context.Context, s logical.Storage, name string) (release func(), err error) {
	if err = m.LookUp(ctx, s); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		if len(m.unresolved(name)) > 0 {
			if err = m.recoverApart(ctx, s, name); err != nil {
				return nil, err
			}
		}
		if release, err = m.AcquireShared(ctx, name); err != nil || !first || len(m.unresolved(name)) == 0 {
			return release, err
		}
		release() // the rotation that Acquire has waited for was interrupted
	}
}

// AcquireShared waits for a config's rotation under way, and keeps others from starting until
// release is called.
func (m *Manager) AcquireShared(ctx context.Context, name string) (release func(), err error) {
	lock := m.lock(name)
	if err := lock.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for a rotation of config %q: %w", name, err)
	}
	return func() { lock.Release(1) }, nil
}

// acquireAlone waits for a config's logins under way, and keeps others from starting until release
// is called.
func (m *Manager) acquireAlone(ctx context.Context, name string) (release func(), err error) {
	lock := m.lock(name)
	if err := lock.Acquire(ctx, lockWidth); err != nil {
		return nil, fmt.Errorf("waiting for the calls under way of config %q: %w", name, err)
	}
	return func() { lock.Release(lockWidth) }, nil
}

// Use is Acquire for a caller who has seen the config. Use returns the config after a rotation
// under way, and refuses (503) where the config has become another identity.
func (m *Manager) Use(ctx context.Context, s logical.Storage, name string, seen *store.Config) (cfg *store.Config, release func(), err error) {
	if release, err = m.Acquire(ctx, s, name); err != nil {
		return nil, nil, err
	}
	cfg, err = m.Configs.Get(ctx, s, name)
	if err == nil && (cfg == nil || !cfg.SameIdentity(seen)) {
		err = logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("config %q has changed meanwhile; try again", name))
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return cfg, release, nil
}
