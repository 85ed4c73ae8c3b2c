package revocation_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
)

// enqueue makes revocations pending, an entry for each lease.
func (m *mount) enqueue(leases ...[]store.Token) {
	m.T.Helper()
	for _, tokens := range leases {
		require.NoError(m.T, m.Revocations.Enqueue(m.T.Context(), m.Storage, "", m.account.Entry(tokens)))
	}
}

func (m *mount) retry() error { return m.Revocations.EachMinute(m.T.Context(), m.Storage) }

// dead are tokens that have died by themselves, or that Palette never knew.
func dead(n int) []store.Token {
	tokens := make([]store.Token, n)
	for i := range tokens {
		tokens[i] = store.Token{Token: palette.Secret(fmt.Sprintf("a.b.%d", i)), ExpiresAt: enginetest.Epoch}
	}
	return tokens
}

// What is pending is retried in batches, until Palette has ended it or it is dead.
func TestPendingRevocationsAreRetriedInBatches(t *testing.T) {
	for name, c := range map[string]struct {
		leases  func(m *mount) [][]store.Token
		calls   int
		revoked int64 // tokens
	}{
		"one":                      {func(m *mount) [][]store.Token { return [][]store.Token{m.Logins(2)} }, 1, 2},
		"those of an account":      {func(m *mount) [][]store.Token { return [][]store.Token{m.Logins(1), m.Logins(2), m.Logins(1)} }, 1, 4},
		"more than a call takes":   {func(m *mount) [][]store.Token { return [][]store.Token{m.Logins(60), m.Logins(60)} }, 2, 120},
		"dead ones need no call":   {func(m *mount) [][]store.Token { return [][]store.Token{dead(3), dead(1)} }, 0, 0},
		"a dead one beside others": {func(m *mount) [][]store.Token { return [][]store.Token{append(m.Logins(1), dead(1)...)} }, 1, 1},
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t)
			leases := c.leases(m)
			m.enqueue(leases...)
			require.Equal(t, len(leases), m.Pending())
			require.NoError(t, m.retry())
			assert.Zero(t, m.Pending())
			assert.Empty(t, m.Palette.LiveTokens())
			assert.Equal(t, c.calls, m.Palette.Calls(palettetest.Revoke))
			assert.Equal(t, []int64{int64(len(leases)), int64(len(leases)), c.revoked}, []int64{m.Counts.Enqueued.Load(), m.Counts.Removed.Load(), m.Counts.Tokens.Load()})
		})
	}
}

// With Palette down each call takes request_timeout: a run backs off the account. A refusal says
// nothing of the other leases.
func TestPendingRevocationsBackOffAnAccountThatFails(t *testing.T) {
	for _, c := range []struct {
		fault       palettetest.Fault
		least, most int // calls; the client sends some of them again
	}{
		{palettetest.Fault{Status: 503}, 1, 4},
		{palettetest.Fault{Drop: true}, 1, 4},
		{palettetest.Fault{Foreign: true, Status: 401}, 1, 1},
		{palettetest.Fault{Status: 403}, 200, 200}, // a full batch taken apart, and the lease behind it
	} {
		enginetest.Bubble(t, fmt.Sprint(c.fault), func(t *testing.T) {
			m := newMount(t)
			for range revocation.MaxBatch + 1 {
				m.enqueue(m.Logins(1))
			}
			m.Palette.Inject(palettetest.Revoke, c.fault)
			require.NoError(t, m.retry(), "Palette's faults are logged")
			m.Logged(revocation.MsgPendingWaits)
			assert.GreaterOrEqual(t, m.Palette.Calls(palettetest.Revoke), c.least)
			assert.LessOrEqual(t, m.Palette.Calls(palettetest.Revoke), c.most)
			assert.Equal(t, revocation.MaxBatch+1, m.Pending())
			m.Palette.ClearAll()
			require.NoError(t, m.retry())
			assert.Zero(t, m.Pending())
			m.Logged(revocation.MsgPendingRevoked)
		})
	}
}

// An entry that cannot be read, and a storage that fails, do not keep the others from a retry.
func TestPendingRevocationsStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.enqueue(m.Logins(1))
		for _, op := range []string{"list", "get", "delete"} {
			m.Storage.FailOn(op, store.PendingPrefix)
			require.ErrorIs(t, m.retry(), enginetest.ErrDisk, op)
			assert.Equal(t, 1, m.Pending())
		}
		m.Storage.FailOn("put", store.PendingPrefix)
		require.ErrorIs(t, m.Revocations.Enqueue(t.Context(), m.Storage, "", m.account.Entry(nil)), enginetest.ErrDisk)
		m.Storage.Heal()
		m.Storage.Plant(store.PendingPrefix+"0", "{a secret")
		err := m.retry()
		require.ErrorContains(t, err, store.PendingPrefix+"0 cannot be decoded")
		assert.NotContains(t, err.Error(), "a secret")
		assert.Equal(t, 1, m.Pending())
	})
}

// Two runs at a time would revoke each token twice.
func TestPendingRevocationsAreRetriedByOneRunAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.enqueue(m.Logins(1))
		gate, ended := m.Palette.Hold(palettetest.Revoke), make(chan error, 2)
		go func() { ended <- m.retry() }()
		<-gate.Arrived()
		go func() { ended <- m.retry() }()
		synctest.Wait()
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		require.ErrorContains(t, m.Revocations.Retry(ctx, m.Storage), "waiting for another run")
		gate.Release()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
		assert.Equal(t, 1, m.Palette.Calls(palettetest.Revoke))
	})
}

// ender ends API keys in place of their package.
type ender struct {
	dead  map[string]bool // by UID
	err   map[string]error
	takes time.Duration

	mu    sync.Mutex
	asked []string
}

func (k *ender) MayLive(key *store.Key) bool { return !k.dead[key.UID] }

func (k *ender) EndPending(_ context.Context, _ logical.Storage, e *revocation.Entry) error {
	time.Sleep(k.takes)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, e.Key.UID)
	return k.err[e.Key.UID]
}

// keys makes the deletions of API keys pending, in the order of their UIDs.
func (m *mount) keys(k *ender, byUID ...string) {
	m.T.Helper()
	m.Revocations.Keys = k
	for _, uid := range byUID {
		e := m.account.KeyEntry("config-"+uid[:1], store.Key{UID: uid})
		require.NoError(m.T, m.Revocations.Enqueue(m.T.Context(), m.Storage, uid, e))
	}
}

// An API key is ended by whoever registered for it, a call each. A config whose calls fail is backed
// off for the rest of the run; a refusal says nothing of the other keys.
func TestPendingKeysAreEndedByTheirOwner(t *testing.T) {
	down, no := &palette.Error{Kind: answer.Unreachable}, &palette.Error{Kind: answer.Rejected}
	for name, c := range map[string]struct {
		ender *ender
		asked []string
		left  int
	}{
		"it works":              {&ender{}, []string{"a1", "a2", "b1"}, 0},
		"one cannot live":       {&ender{dead: map[string]bool{"a1": true}}, []string{"a2", "b1"}, 0},
		"a config fails":        {&ender{err: map[string]error{"a1": down}}, []string{"a1", "b1"}, 2},
		"a key is refused":      {&ender{err: map[string]error{"a1": no}}, []string{"a1", "a2", "b1"}, 1},
		"the other one's fault": {&ender{err: map[string]error{"b1": enginetest.ErrDisk}}, []string{"a1", "a2", "b1"}, 1},
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t)
			m.keys(c.ender, "a1", "a2", "b1")
			require.NoError(t, m.retry())
			assert.ElementsMatch(t, c.asked, c.ender.asked)
			assert.Equal(t, c.left, m.Pending())
			assert.Equal(t, int64(3-c.left-len(c.ender.dead)), m.Counts.Keys.Load())
			if c.left > 0 {
				m.Logged(revocation.MsgKeyWaits)
			}
		})
	}
}

// A mount's end has five seconds for all, see cleanTimeout.
func TestPendingKeysAreEndedSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, uids := newMount(t), make([]string, 65)
		for i := range uids {
			uids[i] = fmt.Sprintf("a%02d", i)
		}
		m.keys(&ender{takes: 300 * time.Millisecond}, uids...)
		start := time.Now()
		require.NoError(t, m.retry())
		assert.Equal(t, 9*300*time.Millisecond, time.Since(start), "the first alone, then eight at a time")
		assert.Zero(t, m.Pending())
	})
}
