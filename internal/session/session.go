// Package session keeps shared credentials, which many leases hand out. One kind is the session of a
// config: one login for all its shared roles. The other is the API key of a role; package apikey has what
// is special to a key.
//
// Promise: a token that is handed out has at least two thirds of its life left, and a key at least a
// third. Less is left where Palette does not give the engine a new one. However many read, one refresh,
// login or making of a key goes at a time for each credential. A credential is stored, so that a restart
// or a new active node goes on with it.
//
// State: the stored credentials, with their cache. Each credential has a lock, which whoever changes it
// holds over the call to Palette (the named single flight). Each has notes too (generations, pauses),
// which one mutex guards. Lock order: the key of a role, then session, then credential of the config,
// then config.
package session

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
)

// RefreshPause is how long nobody tries to renew a credential after a failure; readers get the present
// one. With Palette down each try takes request_timeout, and each reader would wait for a try.
const RefreshPause = 10 * time.Second

// AskEvery is the least time between two questions to Palette whether a key that is handed out is alive.
const AskEvery = 5 * time.Minute

// Credential is a shared credential as it is stored: the session of a config or the key of a role.
type Credential struct {
	store.Identity
	// IssuedAt is the time of the login, or of the first key.
	IssuedAt time.Time `json:"issued_at"`
	// Refreshes counts the refreshes since the login, or the keys after the first.
	Refreshes int `json:"refreshes"`
	// Life is how long the newest token or key lives in all.
	Life time.Duration `json:"life"`
	// Suspect: Palette may have ended the credential, though it is fresh by the clock. The stored name
	// is that of older versions, and has nothing to do with StateStale.
	Suspect bool `json:"stale,omitempty"`
	// Tokens are a session's tokens that may be alive, the newest last. The older tokens have been
	// handed out and end with the session.
	Tokens []store.Token `json:"tokens,omitempty"`

	// ConfigName is the config that makes the keys of a role. OwnerUID is the config's own user, "" where
	// the engine does not know that user. UserUID is the user whom the role makes keys for, "" for the
	// config's own.
	ConfigName string `json:"config_name,omitempty"`
	OwnerUID   string `json:"owner_uid,omitempty"`
	UserUID    string `json:"user_uid,omitempty"`
	// Keys are a role's keys that Palette may have, the newest last.
	Keys []store.Key `json:"keys,omitempty"`
}

// Newest is the token that a session hands out; a dead one where a damaged entry has none.
func (c *Credential) Newest() store.Token { return last(c.Tokens) }

// Key is the API key that a role hands out; a dead one where a damaged entry has none.
func (c *Credential) Key() store.Key { return last(c.Keys) }

func last[T any](of []T) (newest T) {
	if n := len(of); n > 0 {
		newest = of[n-1]
	}
	return newest
}

// Left is how much of the life is left of what the credential hands out.
func (c *Credential) Left(now time.Time) time.Duration {
	if len(c.Keys) > 0 {
		return c.Key().ExpiresAt.Sub(now)
	}
	return c.Newest().Left(now)
}

// Of tells whether the credential is the config's. A config that becomes another identity gets a new
// session.
func (c *Credential) Of(cfg *store.Config) bool { return c.Same(cfg.Identity()) }

// Want is what a shared credential is to be, as config and role are now.
type Want struct {
	// Name is the config's for a session, the role's for a key.
	Name   string
	Config *store.Config
	// Role is nil for a session.
	Role *store.Role
}

// is tells whether the credential is the one that is wanted. A key is another's where another config,
// another user of that config or another user of the role is to have it.
func (c *Credential) is(w *Want) bool {
	if w == nil || !c.Of(w.Config) || w.Role == nil {
		return w != nil && c.Of(w.Config)
	}
	sameOwner := c.OwnerUID == "" || w.Config.UserUID == "" || c.OwnerUID == w.Config.UserUID
	return sameOwner && c.ConfigName == w.Role.ConfigName && c.UserUID == w.Role.UserUID
}

// Kind is what the session of a config and the key of a role differ in.
type Kind interface {
	// Label is what a credential of the kind belongs to: "config" or "role".
	Label() string
	// Want is what the credential of a name is to be; nil where there is to be none.
	Want(ctx context.Context, s logical.Storage, name string) (*Want, error)
	// Fresh tells whether the credential may be handed out as it is, by the clock.
	Fresh(c *Credential, w *Want, now time.Time) bool
	// Renew brings a fresh credential and stores it by [Manager.Put]. have is the present one, nil for
	// none. An error that is a *[Passing] leaves the present one of use.
	Renew(ctx context.Context, s logical.Storage, m *Manager, w *Want, have *Credential) (*Credential, error)
	// End ends all of the credential at Palette, or makes that pending.
	End(ctx context.Context, s logical.Storage, name string, have *Credential) error
	// Tidy ends the expired parts of the credential at Palette, and returns the rest: have itself where
	// nothing has expired, nil where all has.
	Tidy(ctx context.Context, s logical.Storage, name string, have *Credential) (*Credential, error)
	// Rejected asks Palette whether it rejects a credential that is fresh by the clock.
	Rejected(ctx context.Context, s logical.Storage, have *Credential) bool
	// Gone asks Palette whether it has ended a credential that it rejects. The caller holds the
	// credential's lock.
	Gone(ctx context.Context, s logical.Storage, have *Credential) bool
}

// Passing is a renewal's error after which the present credential is handed out, with a warning.
type Passing struct {
	Warning string
	Err     error
}

// Error implements error.
func (p *Passing) Error() string { return p.Err.Error() }

// How a credential was handed out, for metrics.
const (
	StateStored  = "stored"  // as it was stored
	StateRenewed = "renewed" // after a wait for Palette
	StateStale   = "stale"   // older than it should be
)

// Handle is what a reader of a credential gets.
type Handle struct {
	*Credential
	// Passing is why the credential is older than it should be; nil otherwise.
	Passing *Passing
	// State is one of StateStored, StateRenewed and StateStale.
	State string
}

// Warning says that the credential is older than it should be; "" otherwise.
func (h Handle) Warning() string {
	if h.Passing == nil {
		return ""
	}
	return h.Passing.Warning + h.Passing.Err.Error()
}

// Manager keeps the shared credentials of one kind of a mount.
type Manager struct {
	Kind   Kind
	Tasks  *tasks.Group
	Logger func() hclog.Logger

	stored *store.Collection[Credential]
	// flights joins those who wait for one credential's renewal.
	flights singleflight.Group

	mu     sync.Mutex
	byName map[string]*note
}

// note is what the engine knows of a credential beside what is stored. Manager.mu guards all
// but lock.
type note struct {
	// lock lets one renewal or end of the credential go at a time.
	lock *semaphore.Weighted
	// generation counts how often the credential was marked as suspect, cleared is the generation
	// that a renewal has cleared.
	generation, cleared int
	// pausedUntil is until when the credential is handed out as it is, pausedFor why.
	pausedUntil time.Time
	pausedFor   *Passing
	// suspectedAt is when a use has last found the session's token dead, askedAt when Palette was last
	// asked whether the credential is alive.
	suspectedAt, askedAt time.Time
}

// New makes a Manager of the credentials below a storage prefix; the caller sets its fields.
func New(prefix string) *Manager {
	return &Manager{stored: store.NewCollection[Credential](prefix, nil), byName: make(map[string]*note)}
}

// with runs f on the note of a credential under the lock.
func (m *Manager) with(name string, f func(*note)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.byName[name]
	if !ok {
		n = &note{lock: semaphore.NewWeighted(1)}
		m.byName[name] = n
	}
	f(n)
}

// lock is the lock of a credential.
func (m *Manager) lock(name string) (lock *semaphore.Weighted) {
	m.with(name, func(n *note) { lock = n.lock })
	return lock
}

// generation is what a renewal that begins now clears.
func (m *Manager) generation(name string) (g int) {
	m.with(name, func(n *note) { g = n.generation })
	return g
}

// isSuspect tells whether a credential was marked and not renewed since.
func (m *Manager) isSuspect(name string) (suspect bool) {
	m.with(name, func(n *note) { suspect = n.generation != n.cleared })
	return suspect
}

// suspectOnce marks a session whose token a use has found dead, once in RefreshPause. A 401 that
// stays is the account's, and each refresh for it leaves one more token to be kept.
func (m *Manager) suspectOnce(name string, now time.Time) {
	m.with(name, func(n *note) {
		if n.suspectedAt.IsZero() || now.Sub(n.suspectedAt) >= RefreshPause {
			n.suspectedAt = now
			n.generation++
		}
	})
}

// paused returns why a credential is handed out as it is, or nil.
func (m *Manager) paused(name string, now time.Time) (why *Passing) {
	m.with(name, func(n *note) {
		if now.Before(n.pausedUntil) {
			why = n.pausedFor
		}
	})
	return why
}
