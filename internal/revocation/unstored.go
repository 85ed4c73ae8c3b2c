package revocation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// unstored are pending revocations in memory alone: the storage has failed.
type unstored struct {
	mu      sync.Mutex
	waiting []attempt
}

// attempt stores a pending revocation. It is of no more use when the credential is dead by itself.
type attempt struct {
	deadAt time.Time
	store  func(context.Context, logical.Storage) error
}

// StoreLater is for a pending revocation that the storage did not take. It tries again each minute and
// when the mount ends, until the credential is dead by itself. The end of the process loses the
// revocation.
func (m *Manager) StoreLater(deadAt time.Time, store func(context.Context, logical.Storage) error) {
	m.unstored.mu.Lock()
	defer m.unstored.mu.Unlock()
	m.unstored.waiting = append(m.unstored.waiting, attempt{deadAt, store})
}

// storeUnstored makes the attempts of StoreLater. The error is the storage's.
func (m *Manager) storeUnstored(ctx context.Context, s logical.Storage) error {
	u := &m.unstored
	u.mu.Lock()
	waiting := u.waiting
	u.waiting = nil
	u.mu.Unlock()
	var errs []error
	for _, a := range waiting {
		if !a.deadAt.After(time.Now()) {
			continue
		}
		if err := a.store(ctx, s); err != nil {
			errs = append(errs, err)
			m.StoreLater(a.deadAt, a.store)
		}
	}
	return errors.Join(errs...)
}
