package revocation_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
)

// lease is a lease that holds tokens.
func (m *mount) lease(tokens []store.Token) revocation.Lease {
	return revocation.Lease{
		PendingID: "lease-1", Role: "app", Address: m.account.Connection.Address, What: "tokens", Entry: m.account.Entry(tokens),
		Now: func(ctx context.Context) error { return m.Revocations.Revoke(ctx, m.account, tokens) },
	}
}

// Vault is asked to try again for half a minute, then the lease ends and the engine goes on by itself.
func TestEndLeaseWhilePaletteIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		l := m.lease(m.Logins(1))
		m.Palette.Down(true)
		for _, wait := range []time.Duration{0, time.Second, revocation.RetryAfter - 2*time.Second} {
			time.Sleep(wait)
			pending, err := m.Revocations.EndLease(t.Context(), m.Storage, l)
			coded, ok := err.(logical.HTTPCodedError) //nolint:errorlint // Vault looks at the outermost error only
			require.True(t, ok, err)
			assert.Equal(t, http.StatusBadGateway, coded.Code())
			assert.ErrorContains(t, err, "is pending in Vault's storage")
			assert.True(t, pending)
			assert.Equal(t, 1, m.Pending())
		}
		time.Sleep(2 * time.Second)
		calls := m.Palette.TotalCalls()
		pending, err := m.Revocations.EndLease(t.Context(), m.Storage, l)
		require.NoError(t, err)
		assert.True(t, pending)
		assert.Equal(t, calls, m.Palette.TotalCalls(), "Palette is not asked")
		m.Logged(revocation.MsgLeaseEndsPending)
		m.Palette.Down(false)
		require.NoError(t, m.retry())
		assert.Zero(t, m.Pending())
		assert.Equal(t, int64(1), m.Counts.Enqueued.Load())
	})
}

func TestEndLease(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(m *mount, l revocation.Lease)
		pending bool // EndLease says so
		fails   error
		left    int
	}{
		"Palette ends it": {func(*mount, revocation.Lease) {}, false, nil, 0},
		"Palette ends it at the second try": {func(m *mount, l revocation.Lease) {
			m.Palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500, Times: 1})
			_, err := m.Revocations.EndLease(m.T.Context(), m.Storage, l)
			assert.Error(m.T, err)
		}, false, nil, 0},
		"the mount is removed": {func(m *mount, _ revocation.Lease) { m.System.Removed = true }, true, nil, 0},
		"the mount is removed, and the storage fails": {func(m *mount, _ revocation.Lease) {
			m.System.Removed = true
			m.Storage.FailOn("put", store.PendingPrefix)
		}, false, enginetest.ErrDisk, 0},
		"it is not known whether it is pending": {func(m *mount, _ revocation.Lease) { m.Storage.FailOn("get", store.PendingPrefix) }, false, enginetest.ErrDisk, 0},
		"neither Palette nor the storage works": {func(m *mount, _ revocation.Lease) {
			m.Palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500, Times: 1})
			m.Storage.FailOn("put", store.PendingPrefix)
		}, false, enginetest.ErrDisk, 0},
		"its entry cannot be read": {func(m *mount, l revocation.Lease) { m.Storage.Plant(store.PendingPrefix+l.PendingID, "{") }, false, errors.ErrUnsupported, 1},
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t)
			l := m.lease(m.Logins(1))
			c.prepare(m, l)
			pending, err := m.Revocations.EndLease(t.Context(), m.Storage, l)
			assert.Equal(t, c.fails != nil, err != nil, err)
			if errors.Is(c.fails, enginetest.ErrDisk) {
				require.ErrorIs(t, err, c.fails)
			}
			assert.Equal(t, c.pending, pending)
			m.Wait()
			assert.Equal(t, c.left, m.Pending())
			m.Storage.Heal()
			m.System.Removed = false
			require.NoError(t, l.Now(t.Context()), "Vault tries again")
		})
	}
}

// An unmount ends the wait of reads: a lease of a mount whose leases have been ended would never end.
func TestEndLeaseOfARemovedMountRefusesReadsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		issuing := m.Tasks.Issuing()
		m.System.Removed = true
		_, err := m.Revocations.EndLease(t.Context(), m.Storage, m.lease(m.Logins(1)))
		require.NoError(t, err)
		assert.ErrorIs(t, issuing.Err(), context.Canceled)
	})
}

// The caller hangs up in the middle of a revocation: what is pending is written all the same.
func TestEndLeaseWhoseCallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		l, gate := m.lease(m.Logins(1)), m.Palette.Hold(palettetest.Revoke)
		ctx, hangUp := context.WithCancel(t.Context())
		go func() { <-gate.Arrived(); hangUp() }()
		pending, err := m.Revocations.EndLease(ctx, m.Storage, l)
		require.ErrorContains(t, err, "is pending")
		assert.True(t, pending)
		assert.Equal(t, 1, m.Pending())
		gate.Release()
		m.Wait()
		require.NoError(t, m.retry())
		assert.Zero(t, m.Pending())
	})
}
