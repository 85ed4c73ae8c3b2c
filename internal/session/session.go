// Package session keeps the shared session of a config: the one login that all leases of its
// shared roles hand out.
//
// Promise: a token that is handed out has at least two thirds of its life left, as far as Palette
// lets the engine refresh it. However many read, one refresh or login goes at a time. A session is
// stored, so that a restart or a new active node goes on with it.
//
// State: the stored sessions with their cache; for each config the session's lock, which whoever
// changes the session holds over the call (the named single flight), and notes about the session
// (generations, pauses), guarded by one mutex. Lock order: session, then credential, then config.
package session

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// RefreshPause is how long a session whose refresh has failed is handed out as it is. With Palette
// down each try takes request_timeout, and each reader would wait for a try.
const RefreshPause = 10 * time.Second

// Session is the shared session of a config.
type Session struct {
	store.Identity
	// IssuedAt is the time of the login.
	IssuedAt time.Time `json:"issued_at"`
	// Refreshes counts the refreshes since the login.
	Refreshes int `json:"refreshes"`
	// Life is how long the newest token lives in all.
	Life time.Duration `json:"life"`
	// Suspect: Palette may have ended the session, though its token is fresh by the clock. The stored
	// name is that of older versions, and has nothing to do with StateStale.
	Suspect bool `json:"stale,omitempty"`
	// Tokens are the tokens that may be alive, the newest last. The older tokens have been handed
	// out and end with the session.
	Tokens []store.Token `json:"tokens"`
}

// Newest is the token that the session hands out.
func (s *Session) Newest() store.Token { return s.Tokens[len(s.Tokens)-1] }

// Of tells whether the session is the config's. A config that becomes another identity gets a new
// session.
func (s *Session) Of(cfg *store.Config) bool { return s.Same(cfg.Identity()) }

// fresh tells whether the newest token may be handed out: at least two thirds of its life are left,
// so that its reader has time to use it. A token of before the config's present password may be dead,
// since a change of the password may end sessions (an assumption). MarkSuspect says so too, but not to
// another node, nor to the next process where the storage fails.
func (s *Session) fresh(cfg *store.Config, now time.Time) bool {
	newest := s.Newest()
	made := newest.ExpiresAt.Add(-s.Life)
	return !s.Suspect && made.Unix() >= cfg.SecretSince && newest.Left(now) >= s.Life*2/3
}

// How a session was handed out, for metrics.
const (
	StateStored  = "stored"  // as it was stored
	StateRenewed = "renewed" // after a wait for a refresh or a login
	StateStale   = "stale"   // older than it should be
)

// Handle is what a reader of a session gets.
type Handle struct {
	*Session
	// Warning says that the token is older than it should be; "" otherwise.
	Warning string
	// State is one of StateStored, StateRenewed and StateStale.
	State string
}

// Manager keeps the shared sessions of a mount.
type Manager struct {
	Configs     *store.Configs
	Clients     *upstream.Clients
	Revocations *revocation.Manager
	Credentials *rootcred.Manager
	Tasks       *tasks.Group
	Logger      func() hclog.Logger

	sessions *store.Collection[Session]
	// flights joins those who wait for one session's refresh or login.
	flights singleflight.Group

	mu       sync.Mutex
	byConfig map[string]*note
}

// note is what the engine knows of a config's session beside what is stored. Manager.mu guards all
// but lock.
type note struct {
	// lock lets one refresh, login or end of the session go at a time.
	lock *semaphore.Weighted
	// generation counts how often the session was marked as suspect, cleared is the generation
	// that a refresh or login has cleared.
	generation, cleared int
	// pausedUntil is until when the session is handed out as it is, pausedFor why.
	pausedUntil time.Time
	pausedFor   string
	// suspectedAt is when a use has last found the session's token dead.
	suspectedAt time.Time
}

// New makes a Manager; the caller sets its fields.
func New() *Manager {
	return &Manager{
		sessions: store.NewCollection[Session](store.SessionPrefix, nil),
		byConfig: make(map[string]*note),
	}
}

// with runs f on the note of a config's session under the lock.
func (m *Manager) with(name string, f func(*note)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.byConfig[name]
	if !ok {
		n = &note{lock: semaphore.NewWeighted(1)}
		m.byConfig[name] = n
	}
	f(n)
}

// lock is the lock of a config's session.
func (m *Manager) lock(name string) (lock *semaphore.Weighted) {
	m.with(name, func(n *note) { lock = n.lock })
	return lock
}

// generation is what a refresh that begins now clears.
func (m *Manager) generation(name string) (g int) {
	m.with(name, func(n *note) { g = n.generation })
	return g
}

// isSuspect tells whether a session was marked and not refreshed since.
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

// paused returns why a session is handed out as it is, or "".
func (m *Manager) paused(name string, now time.Time) (why string) {
	m.with(name, func(n *note) {
		if now.Before(n.pausedUntil) {
			why = n.pausedFor
		}
	})
	return why
}
