package session

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Current returns the config's session with a token that may be handed out. Where the session is
// not fresh, Current refreshes it or logs in first, in one call for all who wait.
func (m *Manager) Current(ctx context.Context, s logical.Storage, name string, cfg *store.Config) (Handle, error) {
	return m.CurrentOf(ctx, s, &Want{Name: name, Config: cfg})
}

// CurrentOf is Current for a credential of any kind.
func (m *Manager) CurrentOf(ctx context.Context, s logical.Storage, w *Want) (Handle, error) {
	have, err := m.stored.Get(ctx, s, w.Name)
	if err != nil {
		return Handle{}, err
	}
	now := time.Now()
	if have != nil && have.is(w) {
		if !have.Suspect && m.Kind.Fresh(have, w, now) && !m.isSuspect(w.Name) {
			m.ask(s, w.Name, have, now)
			return Handle{Credential: have, State: StateStored}, nil
		}
		if why := m.paused(w.Name, now); why != nil && have.Left(now) >= time.Second {
			return Handle{have, why, StateStale}, nil
		}
	}
	// Others wait for the same outcome, so this caller's end must not end the call.
	flight := m.flights.DoChan(w.Name, func() (any, error) {
		return m.renewAlone(exchange.Alone(ctx), s, w.Name)
	})
	select {
	case out := <-flight:
		if out.Err != nil {
			return Handle{}, out.Err
		}
		current := out.Val.(Handle)
		if !current.is(w) { // the caller would show the new credential beside the address of before
			return Handle{}, m.changed(w.Name)
		}
		return current, nil
	case <-ctx.Done():
		return Handle{}, ctx.Err()
	}
}

// After is Current for a caller who has found the session's token dead, though the token is fresh
// by the clock.
func (m *Manager) After(ctx context.Context, s logical.Storage, name string, cfg *store.Config, dead palette.Secret) (Handle, error) {
	have, err := m.stored.Get(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	if have != nil && have.Newest().Token == dead { // else others have found it too
		m.suspectOnce(name, time.Now())
	}
	return m.Current(ctx, s, name, cfg)
}

// MsgFoundDead is the log's message for a credential that is dead before its time.
const MsgFoundDead = "Palette has ended a shared credential before its time, and the next use gets another"

// ask starts a task that finds out whether Palette has ended a credential, once in AskEvery. The caller
// does not wait.
func (m *Manager) ask(s logical.Storage, name string, have *Credential, now time.Time) {
	due := false
	m.with(name, func(n *note) {
		if due = now.Sub(n.askedAt) >= AskEvery; due {
			n.askedAt = now
		}
	})
	if !due {
		return
	}
	m.Tasks.Start(func() {
		ctx := context.Background()
		if !m.Kind.Rejected(ctx, s, have) {
			return
		}
		lock := m.lock(name)
		if !lock.TryAcquire(1) {
			return
		}
		defer lock.Release(1)
		// Gone may log in. No login may follow whoever has ended the credential meanwhile, an unmount
		// too.
		if stored, err := m.stored.Get(ctx, s, name); err != nil || stored != have || !m.Kind.Gone(ctx, s, have) {
			return
		}
		m.Logger().Warn(MsgFoundDead, m.Kind.Label(), name)
		m.with(name, func(n *note) { n.generation++ })
		m.storeSuspect(ctx, s, name, have) // for the next process
	})
}

// renewAlone renews a credential under its lock. It runs in a goroutine of its own, which counts as a
// task.
func (m *Manager) renewAlone(ctx context.Context, s logical.Storage, name string) (out Handle, err error) {
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
		if out, err = m.renew(ctx, s, name); err == nil && out.Passing == nil {
			m.with(name, func(n *note) { n.cleared, n.askedAt = generation, time.Now() })
		}
	})
	return out, err
}

// renew makes a credential fresh. The caller holds the credential's lock.
func (m *Manager) renew(ctx context.Context, s logical.Storage, name string) (Handle, error) {
	w, err := m.Kind.Want(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	if w == nil {
		return Handle{}, upstream.Mistakef("%s %q does not exist any more, or hands out nothing that is shared", m.Kind.Label(), name)
	}
	have, err := m.stored.Get(ctx, s, name)
	if err != nil {
		return Handle{}, err
	}
	if have != nil && !have.is(w) {
		if err = m.endStored(ctx, s, name, have); err != nil {
			return Handle{}, err
		}
		have = nil
	}
	if have != nil {
		suspect := have.Suspect || m.isSuspect(name)
		if !suspect && m.Kind.Fresh(have, w, time.Now()) { // the flight before this one has renewed it
			return Handle{Credential: have, State: StateStored}, nil
		}
		marked := *have
		marked.Suspect = suspect
		have = &marked
	}
	next, err := m.Kind.Renew(ctx, s, m, w, have)
	if err != nil {
		return m.notRenewed(name, have, err)
	}
	// A write that has made the config or role another one meanwhile has ended the credential that it
	// found, and not this one.
	if w, err = m.Kind.Want(ctx, s, name); err == nil && !next.is(w) {
		return Handle{}, cmp.Or(m.endStored(ctx, s, name, next), m.changed(name))
	}
	return Handle{Credential: next, State: StateRenewed}, nil
}

// changed is the error for a credential that has become another one while its reader waited.
func (m *Manager) changed(name string) error {
	return upstream.Mistakef("%s %q has changed meanwhile; read again", m.Kind.Label(), name)
}

// notRenewed hands out the present credential with the life that is left, where the renewal has failed
// for a passing reason.
func (m *Manager) notRenewed(name string, have *Credential, failed error) (Handle, error) {
	var passing *Passing
	if !errors.As(failed, &passing) {
		return Handle{}, failed
	}
	now := time.Now()
	if have.Left(now) < time.Second {
		return Handle{}, passing.Err
	}
	m.with(name, func(n *note) { n.pausedUntil, n.pausedFor = now.Add(RefreshPause), passing })
	return Handle{have, passing, StateStale}, nil
}

// Put stores a credential. The caller is a [Kind], under the credential's lock.
func (m *Manager) Put(ctx context.Context, s logical.Storage, name string, next *Credential) error {
	return m.stored.Put(ctx, s, name, next)
}
