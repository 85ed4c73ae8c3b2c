package revocation

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// Lease is what a lease holds that must end with the lease.
type Lease struct {
	// PendingID names the lease's pending revocation.
	PendingID     string
	Role, Address string
	// What describes the credential in messages.
	What string
	// DeadAt is when the credential dies by itself.
	DeadAt time.Time
	// Entry is the lease's pending revocation, should there be one.
	Entry *Entry
	// Now ends the credential at Palette.
	Now func(context.Context) error
}

// EndLease ends what a lease holds. Until the call to Palette has failed, Vault's lease is the only
// record, and Vault tries again after a crash. A call that failed makes the revocation pending. An
// unmount or a move revokes one lease at a time. There the revocation becomes pending before any call,
// and nothing is issued any more to those who wait.
//
// isPending tells whether the revocation is pending. The error is coded (502) while Vault is to
// try again.
func (m *Manager) EndLease(ctx context.Context, s logical.Storage, l Lease) (isPending bool, err error) {
	if m.Tainted() {
		m.Tasks.Leave()
		if err = m.Enqueue(ctx, s, l.PendingID, l.Entry); err != nil {
			return false, err
		}
		m.Flush(s)
		return true, nil
	}
	before, err := entries.Get(ctx, s, l.PendingID)
	if err != nil {
		return false, err
	}
	if before != nil && time.Since(before.FirstFailed) >= RetryAfter {
		m.Logger().Warn(MsgLeaseEndsPending, "role", l.Role, "address", l.Address, "credential", l.What, "first_failed", before.FirstFailed, "dead_by_itself_at", l.DeadAt)
		return true, nil
	}
	failed := l.Now(ctx)
	// The caller may have gone from here on. The pending revocation is written all the same.
	ctx = context.WithoutCancel(ctx)
	if failed == nil {
		if before != nil {
			return false, m.remove(ctx, s, l.PendingID)
		}
		return false, nil
	}
	if before == nil {
		if err := m.Enqueue(ctx, s, l.PendingID, l.Entry); err != nil {
			return false, fmt.Errorf("%w; nor could the revocation of the %s become pending: %w", failed, l.What, err)
		}
	}
	return true, logical.CodedError(http.StatusBadGateway, fmt.Sprintf(
		"%s; the revocation of the lease's %s is pending in Vault's storage, and the engine retries each minute until revoked or dead", failed, l.What))
}
