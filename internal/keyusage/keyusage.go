// Package keyusage knows how many API keys the users of a config have, and says when a key is refused for
// Palette's limit.
//
// Promise: the keys of a config that makes keys are listed every ten minutes at the most, or a minute
// where Palette refuses one. The listing uses the config's API key or its present session: counting is
// worth no login. A number that no listing has told is not shown.
//
// State: what the last listings have shown, by config, guarded by one mutex.
package keyusage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

const (
	// countEvery is how old the last listing is before the keys of a config that makes keys are
	// counted again.
	countEvery = 10 * time.Minute
	// recent is how old a listing may be that explains why Palette refuses a key.
	recent = time.Minute
)

// MsgNotCounted is the log's message for keys that could not be counted.
const MsgNotCounted = "the API keys of a config's user could not be counted"

// Manager counts the API keys of a mount's configs.
type Manager struct {
	Configs     *store.Configs
	Clients     *upstream.Clients
	Credentials *rootcred.Manager
	Sessions    *session.Manager
	Tasks       *tasks.Group
	Logger      func() hclog.Logger

	mu       sync.Mutex
	byConfig map[string]*count
}

// count is what is known of the keys of a config's users. Manager.mu guards it.
type count struct {
	identity store.Identity
	// at is the time of the last listing; zero for none. byUser counts its keys by their users' UIDs.
	at     time.Time
	byUser map[string]int
	// own is the UID of the config's own user; "" where it is not known.
	own string
	// users are those for whom this process has made keys; "" is the config's own.
	users map[string]bool
	// made: keys were made since the last listing. triedAt is when the last one was begun.
	made    bool
	triedAt time.Time
}

// of returns what is known of a config's keys, nothing where the config has become another login. The
// caller holds mu.
func (m *Manager) of(name string, cfg *store.Config) *count {
	if m.byConfig == nil {
		m.byConfig = make(map[string]*count)
	}
	known := m.byConfig[name]
	if known == nil || !known.identity.Same(cfg.Identity()) {
		known = &count{identity: cfg.Identity(), users: make(map[string]bool)}
		m.byConfig[name] = known
	}
	return known
}

// with runs f on what is known of a config's keys under the lock.
func (m *Manager) with(name string, cfg *store.Config, f func(*count)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.of(name, cfg))
}

// keys is how many keys a user had at the last listing; "" is the config's own user. known: there was a
// listing, and it tells whose keys are whose.
func (c *count) keys(user string) (n int, known bool) {
	if c.at.IsZero() {
		return 0, false
	}
	if user != "" && user != c.own {
		return c.byUser[user], true
	}
	if c.own == "" { // of a user who sees no others' keys, all are their own
		if len(c.byUser) > 1 {
			return 0, false
		}
		for _, n = range c.byUser {
		}
		return n, true
	}
	return c.byUser[c.own] + c.byUser[""], true
}

// Listed notes a listing of a config's keys.
func (m *Manager) Listed(name string, cfg *store.Config, keys []palette.APIKey) {
	byUser := make(map[string]int)
	for _, key := range keys {
		byUser[key.UserUID]++
	}
	m.with(name, cfg, func(c *count) { c.at, c.byUser, c.made = time.Now(), byUser, false })
}

// Forget forgets what is known of a config's keys: a write has brought another login.
func (m *Manager) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byConfig, name)
}

// Made notes that a key was made for a user, "" for the config's own.
func (m *Manager) Made(name string, cfg *store.Config, user string) {
	m.with(name, cfg, func(c *count) { c.users[user], c.made = true, true })
}

// Usage is how many keys the fullest of a config's users had at the last listing.
type Usage struct {
	Keys int
	At   time.Time
}

// Of is the usage of a config; false where no listing tells. It calls nobody.
func (m *Manager) Of(name string, cfg *store.Config) (u Usage, known bool) {
	m.with(name, cfg, func(c *count) {
		u.At = c.at
		if u.Keys, known = c.keys(""); !known && c.at.IsZero() {
			return
		}
		for user := range c.users {
			if n, told := c.keys(user); told {
				u.Keys, known = max(u.Keys, n), true
			}
		}
	})
	return u, known
}

// errNoAuth is for a config that has neither an API key nor a session that lives: counting is worth no
// login.
var errNoAuth = errors.New("there is no session to count API keys with")

// atHand is what the config can call Palette with at once, until release is called.
func (m *Manager) atHand(ctx context.Context, s logical.Storage, name string, seen *store.Config) (auth palette.Auth, release func(), err error) {
	cfg, release, err := m.Credentials.Use(ctx, s, name, seen)
	if err != nil {
		return palette.Auth{}, nil, err
	}
	if cfg.APIKey != "" {
		return palette.Auth{APIKey: cfg.APIKey}, release, nil
	}
	release() // a rotation need not wait for a token's calls
	have, err := m.Sessions.Stored(ctx, s, name)
	if err == nil && (have == nil || !have.Of(cfg) || have.Newest().Left(time.Now()) < time.Second) {
		err = errNoAuth
	}
	if err != nil {
		return palette.Auth{}, nil, err
	}
	return palette.Auth{Token: have.Newest().Token}, func() {}, nil
}

// countKeys lists a config's keys to count them, and asks once who the config's user is.
func (m *Manager) countKeys(ctx context.Context, s logical.Storage, name string, cfg *store.Config) error {
	own := ""
	m.with(name, cfg, func(c *count) { own, c.triedAt = c.own, time.Now() })
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return err
	}
	auth, release, err := m.atHand(ctx, s, name, cfg)
	if err != nil {
		return err
	}
	defer release()
	if own == "" {
		me, asked := client.UserInfo(ctx, auth)
		if asked != nil {
			return asked
		}
		own = me.UserUID
	}
	keys, err := client.ListAPIKeys(ctx, auth)
	if err != nil {
		return err
	}
	m.Listed(name, cfg, keys)
	m.with(name, cfg, func(c *count) { c.own = own })
	return nil
}

// EachMinute counts the keys of configs that have made some since their last listing.
func (m *Manager) EachMinute(ctx context.Context, s logical.Storage) error {
	now := time.Now()
	var due []string
	m.mu.Lock()
	for name, c := range m.byConfig {
		if c.made && now.Sub(c.at) >= countEvery && now.Sub(c.triedAt) >= countEvery {
			due = append(due, name)
		}
	}
	m.mu.Unlock()
	var errs []error
	for _, name := range due {
		cfg, err := m.Configs.Get(ctx, s, name)
		if cfg == nil {
			errs = append(errs, err)
			m.Forget(name)
			continue
		}
		m.Tasks.Start(func() {
			if err := m.countKeys(context.Background(), s, name, cfg); err != nil && !errors.Is(err, tasks.ErrEnding) {
				m.Logger().Debug(MsgNotCounted, "config", name, "error", err)
			}
		})
	}
	return errors.Join(errs...)
}

// limitWords are those by which Palette may say that a user has as many keys as they may. Its
// document names no code for that (an assumption).
var limitWords = regexp.MustCompile(`(?i)limit|quota|too many|as many|(maximum|max\.?) (number|count|amount)`)

// CreateFailed is the error of a key that Palette has not made for a role, or for a config itself
// where r is nil. Where Palette's words or the listing of the user's keys point to Palette's limit of
// keys, the error names it. hint ends a Mistake's text.
func (m *Manager) CreateFailed(ctx context.Context, s logical.Storage, name string, r *store.Role, cfg *store.Config, err error, hint string) error {
	var says *palette.Error
	if !errors.As(err, &says) || says.Op != palette.OpCreateKey {
		return upstream.KeyCallFailed(name, cfg, err, hint)
	}
	byWords := (says.Kind == answer.Rejected || says.Kind == answer.Unavailable) && answer.VerdictOf(err) != answer.AuthDead &&
		limitWords.MatchString(says.Code+" "+says.Message)
	if says.Kind != answer.Rejected && !byWords || answer.VerdictOf(err) == answer.AuthDead {
		return upstream.KeyCallFailed(name, cfg, err, hint)
	}
	user := ""
	if r != nil {
		user = r.UserUID
	}
	keys, at, known := m.lately(ctx, s, name, cfg, user)
	full := known && cfg.KeyLimit > 0 && keys >= cfg.KeyLimit
	if !byWords && !full {
		return upstream.KeyCallFailed(name, cfg, err, hint)
	}
	counted := ""
	if known {
		counted = fmt.Sprintf(", which had %d at %s", keys, at.UTC().Format(time.RFC3339))
	}
	limit := ""
	if cfg.KeyLimit > 0 {
		limit = fmt.Sprintf(" (%d by the config's key_limit)", cfg.KeyLimit)
	}
	if hint != "" {
		hint = "; " + hint
	}
	return upstream.Mistakef("Palette (%s) refuses to create an API key for config %q%s: this is Palette's limit of API keys for a user%s%s. "+
		"Revoke leases and delete keys that nobody needs, expired ones too; give roles a shorter ttl, or some of them another user; or have Palette's administrator raise the limit, and key_limit with it%s",
		says.Host, name, says.PaletteSays(), limit, counted, hint)
}

// lately is how many keys a user has by a recent listing. A listing that is older is made again,
// where that works.
func (m *Manager) lately(ctx context.Context, s logical.Storage, name string, cfg *store.Config, user string) (keys int, at time.Time, known bool) {
	isRecent := false
	look := func(c *count) {
		at = c.at
		keys, known = c.keys(user)
		isRecent = known && time.Since(at) < recent || time.Since(c.triedAt) < recent
	}
	m.with(name, cfg, look)
	if !isRecent && m.countKeys(ctx, s, name, cfg) == nil {
		m.with(name, cfg, look)
	}
	return keys, at, known
}
