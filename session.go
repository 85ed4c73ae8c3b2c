package palette

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"vault-plugin-secrets-palette/internal/palette"
)

// sessionPause is how long a session whose refresh has failed is handed out as it is. With
// Palette down each try takes request_timeout, and each reader would wait for one.
const sessionPause = 10 * time.Second

// session is the one session of a config that the leases of its shared roles hand out. It
// is stored, so that a restart or a new active node goes on with it.
type session struct {
	origin
	// IssuedAt is the time of the login, Refreshes counts the refreshes since.
	IssuedAt  time.Time `json:"issued_at"`
	Refreshes int       `json:"refreshes"`
	// Life is how long the newest token lives in all.
	Life time.Duration `json:"life"`
	// Stale: the session may have ended at Palette, though its token is fresh by the clock.
	Stale bool `json:"stale,omitempty"`
	// Tokens are those that may be alive, the newest last. The older ones have been handed
	// out and end with the session.
	Tokens []heldToken `json:"tokens"`
}

func (s *session) newest() heldToken { return s.Tokens[len(s.Tokens)-1] }

// of tells whether the session is the config's: a repointed config begins a new one.
func (s *session) of(cfg *config) bool {
	return s.origin == cfg.origin()
}

// fresh tells whether the newest token may be handed out: at least two thirds of its life
// are left, so that whoever gets it has time to use it.
func (s *session) fresh(now time.Time) bool {
	return !s.Stale && s.newest().left(now) >= s.Life*2/3
}

// sessionKeeper holds the sessions of a mount.
type sessionKeeper struct {
	entries entries[session]
	// flights joins those who wait for the same session's refresh or login.
	flights singleflight.Group

	mu sync.Mutex
	// turns has one place for each config: what changes its session, a refresh, a login or
	// its end, goes alone. Together with flights it is the single flight of a session.
	turns map[string]*semaphore.Weighted
	// stale counts how often a session was marked as one that may have ended at Palette,
	// refreshed is what of that a flight has made up for.
	stale, refreshed map[string]int
	// pauses says until when a session is handed out as it is, and why.
	pauses map[string]pause
	// doubted says when a session's token was last found dead by its use.
	doubted map[string]time.Time
}

type pause struct {
	until time.Time
	why   string
}

func newSessionKeeper() sessionKeeper {
	return sessionKeeper{
		entries: entries[session]{prefix: sessionPrefix},
		turns:   make(map[string]*semaphore.Weighted), pauses: make(map[string]pause),
		stale: make(map[string]int), refreshed: make(map[string]int),
		doubted: make(map[string]time.Time),
	}
}

// turn is the one place for what changes a config's session.
func (k *sessionKeeper) turn(name string) *semaphore.Weighted {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.turns[name]
	if !ok {
		t = semaphore.NewWeighted(1)
		k.turns[name] = t
	}
	return t
}

// setStale makes the next use of a session refresh it first. A flight under way does not
// count: it may have asked Palette before.
func (k *sessionKeeper) setStale(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stale[name]++
}

// doubt is setStale for a session whose token a call has found dead, once in sessionPause: a
// 401 that stays is the account's, and each refresh for it leaves one more token to be kept.
func (k *sessionKeeper) doubt(name string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last, ok := k.doubted[name]; ok && now.Sub(last) < sessionPause {
		return
	}
	k.doubted[name] = now
	k.stale[name]++
}

// staleness is what a flight that begins now makes up for.
func (k *sessionKeeper) staleness(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stale[name]
}

func (k *sessionKeeper) isStale(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stale[name] != k.refreshed[name]
}

// setFresh notes that a flight has made up for a staleness.
func (k *sessionKeeper) setFresh(name string, staleness int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshed[name] = staleness
}

// paused returns why a session is handed out as it is, or nothing.
func (k *sessionKeeper) paused(name string, now time.Time) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := k.pauses[name]; ok && now.Before(p.until) {
		return p.why
	}
	delete(k.pauses, name)
	return ""
}

func (k *sessionKeeper) setPause(name string, p pause) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pauses[name] = p
}

// sessionFlight is what those who want a session get. The warning says that its token is
// older than it should be.
type sessionFlight struct {
	session *session
	warning string
	// state says how it was come by: sessionStored and so on.
	state string
}

// currentSession returns the config's session with a token that may be handed out. It
// refreshes it or logs in first where it must, in one call for all who wait.
func (b *backend) currentSession(ctx context.Context, s logical.Storage, name string, cfg *config) (sessionFlight, error) {
	k := &b.sessions
	have, err := k.entries.get(ctx, s, name)
	if err != nil {
		return sessionFlight{}, err
	}
	now := time.Now()
	if have != nil && have.of(cfg) {
		if have.fresh(now) && !k.isStale(name) {
			return sessionFlight{session: have, state: sessionStored}, nil
		}
		if why := k.paused(name, now); why != "" && have.newest().left(now) >= time.Second {
			return sessionFlight{have, why, sessionStale}, nil
		}
	}
	// Apart from this caller's context: others wait too.
	flight := k.flights.DoChan(name, func() (any, error) {
		return b.sessionFlight(palette.Alone(ctx), s, name)
	})
	select {
	case out := <-flight:
		if out.Err != nil {
			return sessionFlight{}, out.Err
		}
		return out.Val.(sessionFlight), nil
	case <-ctx.Done():
		return sessionFlight{}, ctx.Err()
	}
}

// sessionAfter is currentSession for whoever has found the session's token dead, though it
// is fresh by the clock.
func (b *backend) sessionAfter(ctx context.Context, s logical.Storage, name string, cfg *config, dead palette.Secret) (sessionFlight, error) {
	have, err := b.sessions.entries.get(ctx, s, name)
	if err != nil {
		return sessionFlight{}, err
	}
	if have != nil && have.newest().Token == dead { // else others have found it too
		b.sessions.doubt(name, time.Now())
	}
	return b.currentSession(ctx, s, name, cfg)
}

// sessionFlight runs in a goroutine of its own, counted in the background.
func (b *backend) sessionFlight(ctx context.Context, s logical.Storage, name string) (out sessionFlight, err error) {
	if !b.background.begin(false) {
		return out, errEnding
	}
	defer b.background.end()
	turn := b.sessions.turn(name)
	if err = turn.Acquire(ctx, 1); err != nil {
		return out, err
	}
	defer turn.Release(1)
	err = errPanic // until the outcome is known
	b.shielded(func() { out, err = b.freshSession(ctx, s, name) })
	return out, err
}

// freshSession makes the session of a config fresh. The caller has the session's turn.
func (b *backend) freshSession(ctx context.Context, s logical.Storage, name string) (sessionFlight, error) {
	staleness := b.sessions.staleness(name)
	out, err := b.makeFresh(ctx, s, name)
	if err == nil && out.warning == "" {
		b.sessions.setFresh(name, staleness)
	}
	return out, err
}

func (b *backend) makeFresh(ctx context.Context, s logical.Storage, name string) (sessionFlight, error) {
	cfg, err := b.configs.get(ctx, s, name)
	if err != nil {
		return sessionFlight{}, err
	}
	if cfg == nil {
		return sessionFlight{}, refusal("config %q does not exist any more", name)
	}
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return sessionFlight{}, err
	}
	have, err := b.sessions.entries.get(ctx, s, name)
	if err != nil {
		return sessionFlight{}, err
	}
	if have != nil && !have.of(cfg) {
		if err := b.endStored(ctx, s, name, have); err != nil {
			return sessionFlight{}, err
		}
		have = nil
	}
	if have != nil {
		now := time.Now()
		if have.fresh(now) && !b.sessions.isStale(name) { // by the flight before this one
			return sessionFlight{session: have, state: sessionStored}, nil
		}
		if len(alive(have.Tokens, now)) > 0 {
			token, err := client.Refresh(ctx, have.newest().Token)
			if palette.VerdictOf(err) != palette.SessionOver {
				return b.refreshed(ctx, s, name, have, token, err)
			}
			b.Logger().Info("a shared session is over, logging in again", "config", name, "error", err)
		}
	}
	return b.newSession(ctx, s, name, cfg, have)
}

// refreshed keeps a session's new token or, where the refresh failed for a passing reason,
// hands out the present one with the life that it has left.
func (b *backend) refreshed(ctx context.Context, s logical.Storage, name string, have *session, token palette.Token, failed error) (sessionFlight, error) {
	now := time.Now()
	if failed != nil {
		if have.newest().left(now) < time.Second {
			return sessionFlight{}, failed
		}
		why := "the shared session could not be refreshed, so the token is the present one and may not live long: " + failed.Error()
		b.Logger().Warn("a shared session could not be refreshed", "config", name, "token_expires_at", have.newest().ExpiresAt, "error", failed)
		b.sessions.setPause(name, pause{now.Add(sessionPause), why})
		return sessionFlight{have, why, sessionStale}, nil
	}
	next := *have
	next.Tokens = append(alive(have.Tokens, now), held(token))
	next.Life, next.Stale = token.Life, false
	next.Refreshes++
	if err := b.sessions.entries.put(ctx, s, name, &next); err != nil {
		// To revoke the new token could end the session, which others use. So it is kept in
		// memory; after a restart the engine goes on with what was stored before.
		b.Logger().Error("a shared session's new token could not be stored", "config", name, "error", err)
		b.sessions.entries.hold(name, &next)
	}
	return sessionFlight{session: &next, state: sessionRenewed}, nil
}

// newSession logs in. Tokens of the session before that may be alive stay with the new
// one, to end with it: they have been handed out.
func (b *backend) newSession(ctx context.Context, s logical.Storage, name string, cfg *config, before *session) (sessionFlight, error) {
	token, err := b.loginNow(ctx, s, name, cfg)
	if err != nil {
		return sessionFlight{}, err
	}
	now := time.Now()
	next := &session{
		origin: cfg.origin(), IssuedAt: now.UTC(), Life: token.Life, Tokens: []heldToken{held(token)},
	}
	if before != nil {
		next.Tokens = append(alive(before.Tokens, now), next.Tokens...)
	}
	if err := b.sessions.entries.put(ctx, s, name, next); err != nil {
		b.discardNow(s, cfg.account(), held(token), "a shared session that could not be stored")
		return sessionFlight{}, err
	}
	// A config that was led elsewhere meanwhile has ended the session that it found, not
	// this one.
	if now, err := b.configs.get(ctx, s, name); err == nil && (now == nil || !next.of(now)) {
		return sessionFlight{}, cmp.Or(b.endStored(ctx, s, name, next), refusal("config %q has changed meanwhile; read again", name))
	}
	return sessionFlight{session: next, state: sessionRenewed}, nil
}

// markStale makes the next use of a config's session refresh it first, also after a crash:
// whether a change of the password ends sessions is not known.
func (b *backend) markStale(ctx context.Context, s logical.Storage, name string) {
	b.sessions.setStale(name)
	// A flight under way stores what it gets, which must not be overwritten by what is there
	// now; nor may this wait for it, since its login may wait for the rotation.
	turn := b.sessions.turn(name)
	if !turn.TryAcquire(1) {
		return
	}
	defer turn.Release(1)
	have, err := b.sessions.entries.get(ctx, s, name)
	if err != nil || have == nil {
		return
	}
	next := *have
	next.Stale = true
	if err := b.sessions.entries.put(ctx, s, name, &next); err != nil {
		b.Logger().Warn("a shared session could not be marked for a refresh; after a restart its token may be a dead one", "config", name, "error", err)
	}
}

// endForeignSession ends the session of a config that a write has deleted (next is nil) or
// made another login.
func (b *backend) endForeignSession(ctx context.Context, s logical.Storage, name string, old, next *config) error {
	if old == nil || next != nil && old.sameLogin(next) {
		return nil
	}
	return b.endSessionBut(ctx, s, name, next)
}

// endSession ends the session of a config at Palette and in Vault, if it has one.
func (b *backend) endSession(ctx context.Context, s logical.Storage, name string) error {
	return b.endSessionBut(ctx, s, name, nil)
}

// endSessionBut is endSession for any but a session of the login that now is the config's: a
// read may have begun that already.
func (b *backend) endSessionBut(ctx context.Context, s logical.Storage, name string, now *config) error {
	turn := b.sessions.turn(name)
	if err := turn.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for a call under way on the session: %w", err)
	}
	defer turn.Release(1)
	have, err := b.sessions.entries.get(ctx, s, name)
	if err != nil || have == nil || now != nil && have.of(now) {
		return err
	}
	return b.endStored(ctx, s, name, have)
}

// endStored revokes a session's tokens, or leaves them to the list of what the engine owes,
// and deletes the session. The caller has the session's turn.
func (b *backend) endStored(ctx context.Context, s logical.Storage, name string, have *session) error {
	l := &lease{ConfigName: name, origin: have.origin}
	if tokens := alive(have.Tokens, time.Now()); len(tokens) > 0 {
		a, err := b.accountOf(ctx, s, l)
		if err != nil {
			return err
		}
		if err := b.end(ctx, a, &revocation{tokens: tokens}); err != nil {
			b.Logger().Warn("a shared session could not be ended at Palette; trying again each minute", "config", name, "dead_by_itself_at", lastDeath(tokens), "error", err)
			// The caller may have gone; what is owed is written all the same.
			if err := b.owe(context.WithoutCancel(ctx), s, "", a, tokens); err != nil {
				return err
			}
		}
	}
	return b.sessions.entries.delete(context.WithoutCancel(ctx), s, name)
}
