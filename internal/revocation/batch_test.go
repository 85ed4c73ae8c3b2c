package revocation_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// mount is an engine with a config, and that config's account.
type mount struct {
	*enginetest.Engine
	account revocation.Account
}

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	e := enginetest.New(t, opts...)
	return &mount{e, revocation.AccountOf(e.Configure())}
}

// revokeBehind revokes the tokens of leases while a call of the account is under way, and returns
// the outcome of each.
func (m *mount) revokeBehind(ctx context.Context, leases [][]store.Token) []error {
	m.T.Helper()
	first, gate := m.Logins(1), m.Palette.Hold(palettetest.Revoke)
	errs := make([]error, len(leases))
	var all sync.WaitGroup
	all.Go(func() { assert.NoError(m.T, m.Revocations.Revoke(m.T.Context(), m.account, first)) })
	<-gate.Arrived()
	for i, tokens := range leases {
		all.Go(func() { errs[i] = m.Revocations.Revoke(ctx, m.account, tokens) })
		synctest.Wait() // so that they stand in their order
	}
	gate.Release()
	all.Wait()
	return errs
}

// A single revocation goes out at once. What arrives during a call goes out together, a lease whole.
func TestRevocationBatchTakesWholeLeases(t *testing.T) {
	for _, c := range []struct {
		leases         []int // how many tokens each has
		calls, largest int
	}{{nil, 0, 1}, {[]int{1}, 1, 1}, {[]int{8, 92}, 1, 100}, {[]int{8, 93}, 2, 93}, {[]int{120, 1}, 2, 120}, {[]int{60, 60, 40}, 2, 100}} {
		enginetest.Bubble(t, fmt.Sprint(c.leases), func(t *testing.T) {
			m := newMount(t)
			leases := make([][]store.Token, len(c.leases))
			for i, n := range c.leases {
				leases[i] = m.Logins(n)
			}
			for _, err := range m.revokeBehind(t.Context(), leases) {
				require.NoError(t, err)
			}
			assert.Equal(t, 1+c.calls, m.Palette.Calls(palettetest.Revoke))
			assert.Equal(t, c.largest, m.Palette.LargestRevoke())
			assert.LessOrEqual(t, 100, revocation.MaxBatch)
		})
	}
}

// Where Palette refuses tokens together, each is asked for alone, so that one bad token fails alone.
func TestRevocationBatchIsTakenApart(t *testing.T) {
	unknown := store.Token{Token: "nobodys.own.token", ExpiresAt: enginetest.Epoch.Add(time.Minute)}
	for name, c := range map[string]struct {
		fault palettetest.Fault
		fails bool
		calls int
	}{
		"one is not known: alone it is a dead one": {palettetest.Fault{Times: 1}, false, 0},
		"each is refused":                          {palettetest.Fault{Status: 400}, true, 1 + 2 + 4 + 2}, // 4 leases, one of two tokens
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t, palettetest.WithStrictRevoke())
			leases := [][]store.Token{m.Logins(1), append(m.Logins(1), unknown), m.Logins(1), m.Logins(1)}
			first := m.Login()
			gate := m.Palette.Hold(palettetest.Revoke)
			var all sync.WaitGroup
			all.Go(func() { _ = m.Revocations.Revoke(t.Context(), m.account, []store.Token{first}) })
			<-gate.Arrived()
			errs := make([]error, len(leases))
			for i, tokens := range leases {
				all.Go(func() { errs[i] = m.Revocations.Revoke(t.Context(), m.account, tokens) })
			}
			synctest.Wait()
			m.Palette.Inject(palettetest.Revoke, palettetest.Fault{Times: 1}) // the first call's own
			m.Palette.Inject(palettetest.Revoke, c.fault)
			gate.Release()
			all.Wait()
			for _, err := range errs {
				assert.Equal(t, c.fails, err != nil, err)
			}
			if c.fails {
				assert.Equal(t, 1+c.calls, m.Palette.Calls(palettetest.Revoke))
				m.Palette.ClearAll()
				for _, tokens := range leases {
					m.End(tokens...)
				}
			}
			assert.Empty(t, m.Palette.LiveTokens())
		})
	}
}

// A passing fault is each lease's, and taking the batch apart would not mend it.
func TestRevocationBatchFailsForEachLease(t *testing.T) {
	for _, fault := range []palettetest.Fault{{Status: 500}, {Drop: true}, {Garbage: true}, {Foreign: true, Status: 401}} {
		enginetest.Bubble(t, fmt.Sprint(fault), func(t *testing.T) {
			m := newMount(t)
			leases := [][]store.Token{m.Logins(1), m.Logins(2), m.Logins(3)}
			m.Palette.Inject(palettetest.Revoke, palettetest.Fault{Times: 1})
			m.Palette.Inject(palettetest.Revoke, fault)
			for _, err := range m.revokeBehind(t.Context(), leases) {
				assert.NotZero(t, answer.KindOf(err), err)
			}
			m.Palette.ClearAll()
			assert.Len(t, m.Palette.LiveTokens(), 6)
			for _, tokens := range leases {
				m.End(tokens...)
			}
		})
	}
}

func TestRevocationBatchIsOneAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1"}
		m := newMount(t, palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(other))
		mine := m.Login()
		cfg := m.Configure(func(c *store.Config) { c.Email, c.Password = other.Email, palette.Secret(other.Password) })
		theirs := m.Login()
		gate := m.Palette.Hold(palettetest.Revoke)
		var all sync.WaitGroup
		all.Go(func() { assert.NoError(t, m.Revocations.Revoke(t.Context(), m.account, []store.Token{mine})) })
		all.Go(func() {
			assert.NoError(t, m.Revocations.Revoke(t.Context(), revocation.AccountOf(cfg), []store.Token{theirs}))
		})
		for range 2 {
			<-gate.Arrived() // none waits for the other
		}
		gate.Release()
		all.Wait()
		assert.Equal(t, 1, m.Palette.LargestRevoke())
	})
}

// Whoever hangs up leaves a call behind that is seen to its end.
func TestRevocationBatchGoesOnWhereACallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		ctx, hangUp := context.WithCancel(t.Context())
		tokens, gate := m.Logins(1), m.Palette.Hold(palettetest.Revoke)
		go func() { <-gate.Arrived(); hangUp() }()
		require.ErrorIs(t, m.Revocations.Revoke(ctx, m.account, tokens), context.Canceled)
		gate.Release()
		m.Wait()
		assert.Empty(t, m.Palette.LiveTokens())
	})
}

// buggy panics in each call.
type buggy struct{ upstream.API }

func (buggy) Close() {}

func TestRevocationBatchSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		tokens, works := m.Logins(1), m.Clients.New
		m.Clients.New = func(palette.Connection) (upstream.API, error) { return buggy{}, nil }
		m.Clients.DropAll()
		require.ErrorIs(t, m.Revocations.Revoke(t.Context(), m.account, tokens), tasks.ErrPanic)
		m.Clients.New = works
		m.Clients.DropAll()
		require.NoError(t, m.Revocations.Revoke(t.Context(), m.account, tokens))
	})
}

func TestRevocationIsRefusedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		require.NoError(t, m.Tasks.Drain(t.Context()))
		assert.ErrorIs(t, m.Revocations.Revoke(t.Context(), m.account, nil), tasks.ErrEnding)
	})
}
