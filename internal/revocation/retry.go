package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-palette/internal/palette/answer"
)

// EachMinute is Retry.
func (m *Manager) EachMinute(ctx context.Context, s logical.Storage) error { return m.Retry(ctx, s) }

// Retry tries the pending revocations, in batches: each minute, and while a mount ends. One run
// goes at a time. An account that fails is left alone for the rest of the run, since with Palette
// down each try takes request_timeout.
func (m *Manager) Retry(ctx context.Context, s logical.Storage) error {
	if err := m.retrying.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for another run over the pending revocations: %w", err)
	}
	defer m.retrying.Release(1)
	errs := []error{m.storeUnstored(ctx, s)}
	found, err := m.loadAll(ctx, s)
	errs = append(errs, err)
	for a, entries := range found.tokens {
		errs = append(errs, m.retryAccount(ctx, s, a, entries))
	}
	return errors.Join(append(errs, m.retryKeys(ctx, s, found.keys))...)
}

// retryAccount tries the pending revocations of one account.
func (m *Manager) retryAccount(ctx context.Context, s logical.Storage, a Account, entries []*pendingTokens) error {
	var errs []error
	for len(entries) > 0 {
		batch := make([]*request, len(entries))
		for i, e := range entries {
			batch[i] = &e.request
		}
		n := fitting(batch)
		m.endAll(ctx, a, batch[:n])
		failing, err := m.settle(ctx, s, a, entries[:n])
		errs = append(errs, err)
		if failing {
			break
		}
		entries = entries[n:]
	}
	return errors.Join(errs...)
}

// settle removes the entries that are revoked, and logs the outcome. failing tells whether the
// account fails as a whole: a lease that Palette refuses says nothing of the others.
func (m *Manager) settle(ctx context.Context, s logical.Storage, a Account, batch []*pendingTokens) (failing bool, err error) {
	revoked, left, since := 0, 0, batch[0].since
	var (
		failed error
		errs   []error
	)
	for _, e := range batch {
		if e.since.Before(since) {
			since = e.since
		}
		if e.err != nil {
			left += len(e.tokens)
			failed = e.err
			failing = failing || answer.KindOf(e.err) != answer.Rejected
			if answer.KindOf(e.err) == answer.Limited {
				m.limited.Store(true)
			}
			continue
		}
		revoked += len(e.tokens)
		errs = append(errs, m.remove(ctx, s, e.id))
	}
	if revoked > 0 {
		m.Metrics.PendingRevoked(revoked, KindToken)
		m.Logger().Info(MsgPendingRevoked, "address", a.Connection.Address, "tokens", revoked, "pending_since", since)
	}
	if left > 0 {
		m.Logger().Warn(MsgPendingWaits, "address", a.Connection.Address, "tokens", left, "pending_since", since, "error", failed)
	}
	return failing, errors.Join(errs...)
}

// keysAtOnce is how many deletions of one config's API keys are under way at a time. At a mount's end
// all have seconds, and one after the other would take a round trip each.
const keysAtOnce = 8

// retryKeys tries the pending deletions of API keys, a call each, one config after the other.
func (m *Manager) retryKeys(ctx context.Context, s logical.Storage, keys []*pendingKey) error {
	type through struct {
		account Account
		config  string
	}
	var owners []through
	byOwner := make(map[through][]*pendingKey)
	for _, k := range keys {
		by := through{k.entry.Account(), k.entry.ConfigName}
		if byOwner[by] == nil {
			owners = append(owners, by)
		}
		byOwner[by] = append(byOwner[by], k)
	}
	var errs []error
	for _, by := range owners {
		errs = append(errs, m.retryOwner(ctx, s, byOwner[by]))
	}
	return errors.Join(errs...)
}

// retryOwner tries the pending deletions of one config's API keys. The first goes alone: a config that
// fails is left alone for the rest of the run.
func (m *Manager) retryOwner(ctx context.Context, s logical.Storage, keys []*pendingKey) error {
	var (
		failing atomic.Bool
		group   errgroup.Group
	)
	retry := func(k *pendingKey) (err error) {
		m.Tasks.Shield(func() {
			if failing.Load() {
				return
			}
			var failed bool
			if failed, err = m.retryKey(ctx, s, k); failed {
				failing.Store(true)
			}
		})
		return err
	}
	first := retry(keys[0])
	group.SetLimit(keysAtOnce)
	for _, k := range keys[1:] {
		group.Go(func() error { return retry(k) })
	}
	return errors.Join(first, group.Wait())
}

// retryKey tries a pending deletion. failing tells whether its config fails as a whole: a key that
// Palette refuses says nothing of the others. The error is the storage's.
func (m *Manager) retryKey(ctx context.Context, s logical.Storage, k *pendingKey) (failing bool, err error) {
	address, uid := k.entry.Connection.Address, k.entry.Key.UID
	if err := m.Keys.EndPending(ctx, s, k.entry); err != nil {
		m.Logger().Warn(MsgKeyWaits, "address", address, "uid", uid, "pending_since", k.entry.FirstFailed, "error", err)
		if answer.KindOf(err) == answer.Limited {
			m.limited.Store(true)
		}
		return answer.KindOf(err) != answer.Rejected, nil
	}
	m.Metrics.PendingRevoked(1, KindKey)
	m.Logger().Info(MsgKeyRevoked, "address", address, "uid", uid, "pending_since", k.entry.FirstFailed)
	return false, m.remove(ctx, s, k.id)
}
