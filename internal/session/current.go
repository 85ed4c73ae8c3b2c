package session

import (
	"cmp"
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Current returns the config's session with a token that may be handed out. Where the session is
// not fresh, Current refreshes it or logs in first, in one call for all who wait.
func (m *Manager) Current(ctx context.Context, s logical.Storage, name string, cfg *store.Config) (Handle, error) {
	have, err := m.sessions.Get(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	now := time.Now()
	if have != nil && have.Of(cfg) {
		if have.fresh(cfg, now) && !m.isSuspect(name) {
			return Handle{Session: have, State: StateStored}, nil
		}
		if why := m.paused(name, now); why != "" && have.Newest().Left(now) >= time.Second {
			return Handle{have, why, StateStale}, nil
		}
	}
	// Others wait for the same outcome, so this caller's end must not end the call.
	flight := m.flights.DoChan(name, func() (any, error) {
		return m.refreshAlone(exchange.Alone(ctx), s, name)
	})
	select {
	case out := <-flight:
		if out.Err != nil {
			return Handle{}, out.Err
		}
		return out.Val.(Handle), nil
	case <-ctx.Done():
		return Handle{}, ctx.Err()
	}
}

// After is Current for a caller who has found the session's token dead, though the token is fresh
// by the clock.
func (m *Manager) After(ctx context.Context, s logical.Storage, name string, cfg *store.Config, dead palette.Secret) (Handle, error) {
	have, err := m.sessions.Get(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	if have != nil && have.Newest().Token == dead { // else others have found it too
		m.suspectOnce(name, time.Now())
	}
	return m.Current(ctx, s, name, cfg)
}

// refreshAlone refreshes a session under its lock. It runs in a goroutine of its own, which counts
// as a task.
func (m *Manager) refreshAlone(ctx context.Context, s logical.Storage, name string) (out Handle, err error) {
	leave, err := m.Tasks.Enter()
	if err != nil {
		return out, err
	}
	defer leave()
	lock := m.lock(name)
	if err = lock.Acquire(ctx, 1); err != nil {
		return out, err
	}
	defer lock.Release(1)
	err = tasks.ErrPanic // until the outcome is known
	m.Tasks.Shield(func() {
		generation := m.generation(name)
		if out, err = m.refresh(ctx, s, name); err == nil && out.Warning == "" {
			m.with(name, func(n *note) { n.cleared = generation })
		}
	})
	return out, err
}

// MsgSessionOver is the log's message for a session that Palette has ended.
const MsgSessionOver = "a shared session is over, logging in again"

// refresh makes the session of a config fresh. The caller holds the session's lock.
func (m *Manager) refresh(ctx context.Context, s logical.Storage, name string) (Handle, error) {
	cfg, err := m.Configs.Get(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	if cfg == nil {
		return Handle{}, upstream.Mistakef("config %q does not exist any more", name)
	}
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return Handle{}, err
	}
	have, err := m.sessions.Get(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	if have != nil && !have.Of(cfg) {
		if err := m.endStored(ctx, s, name, have); err != nil {
			return Handle{}, err
		}
		have = nil
	}
	if have != nil {
		now := time.Now()
		if have.fresh(cfg, now) && !m.isSuspect(name) { // the flight before this one has refreshed it
			return Handle{Session: have, State: StateStored}, nil
		}
		if len(store.Alive(have.Tokens, now)) > 0 {
			token, err := client.Refresh(ctx, have.Newest().Token)
			if answer.VerdictOf(err) != answer.SessionOver {
				return m.refreshed(ctx, s, name, have, token, err)
			}
			m.Logger().Info(MsgSessionOver, "config", name, "error", err)
		}
	}
	return m.begin(ctx, s, name, cfg, have)
}

// The log's messages for refreshes that fail.
const (
	MsgNotRefreshed    = "a shared session could not be refreshed"
	MsgTokenNotStored  = "a shared session's new token could not be stored"
	refreshFailed      = "the shared session could not be refreshed, so the token is the present one and may not live long: "
	sessionNotStored   = "a shared session that could not be stored"
	configHasChangedTo = "config %q has changed meanwhile; read again"
)

// refreshed stores a session's new token. Where the refresh failed for a passing reason, the
// session hands out the present token with the life that is left.
func (m *Manager) refreshed(ctx context.Context, s logical.Storage, name string, have *Session, token palette.Token, failed error) (Handle, error) {
	now := time.Now()
	if failed != nil {
		if have.Newest().Left(now) < time.Second {
			return Handle{}, failed
		}
		why := refreshFailed + failed.Error()
		m.Logger().Warn(MsgNotRefreshed, "config", name, "token_expires_at", have.Newest().ExpiresAt, "error", failed)
		m.with(name, func(n *note) { n.pausedUntil, n.pausedFor = now.Add(RefreshPause), why })
		return Handle{have, why, StateStale}, nil
	}
	next := *have
	next.Tokens = append(store.Alive(have.Tokens, now), store.TokenOf(token))
	next.Life, next.Suspect = token.Life, false
	next.Refreshes++
	if err := m.sessions.Put(ctx, s, name, &next); err != nil {
		// To revoke the new token could end the session, which others use. So memory keeps the
		// token; a restart goes on with what was stored before.
		m.Logger().Error(MsgTokenNotStored, "config", name, "error", err)
		m.sessions.Hold(name, &next)
	}
	return Handle{Session: &next, State: StateRenewed}, nil
}

// unstored makes up for a session that the storage may have taken in spite of its error: its token is
// revoked, and must not be handed out, by the next process neither.
func (m *Manager) unstored(ctx context.Context, s logical.Storage, name string, before *Session) {
	m.with(name, func(n *note) { n.generation++ })
	if before != nil {
		m.storeSuspect(ctx, s, name, before)
		return
	}
	if err := m.sessions.Delete(ctx, s, name); err != nil {
		m.Logger().Warn(MsgNotMarked, "config", name, "error", err)
	}
}

// begin logs in. Tokens of the session before that may be alive have been handed out: they stay
// with the new session and end with it.
func (m *Manager) begin(ctx context.Context, s logical.Storage, name string, cfg *store.Config, before *Session) (Handle, error) {
	token, err := m.Credentials.LoginNow(ctx, s, name, cfg)
	if err != nil {
		return Handle{}, err
	}
	now := time.Now()
	next := &Session{Identity: cfg.Identity(), IssuedAt: now.UTC(), Life: token.Life, Tokens: []store.Token{store.TokenOf(token)}}
	if before != nil {
		next.Tokens = append(store.Alive(before.Tokens, now), next.Tokens...)
	}
	if err := m.sessions.Put(ctx, s, name, next); err != nil {
		m.Revocations.DiscardNow(s, revocation.AccountOf(cfg), store.TokenOf(token), sessionNotStored)
		m.unstored(ctx, s, name, before)
		return Handle{}, err
	}
	// A write that has made the config another identity meanwhile has ended the session that it
	// found, and not this one.
	if present, err := m.Configs.Get(ctx, s, name); err == nil && (present == nil || !next.Of(present)) {
		return Handle{}, cmp.Or(m.endStored(ctx, s, name, next), upstream.Mistakef(configHasChangedTo, name))
	}
	return Handle{Session: next, State: StateRenewed}, nil
}
