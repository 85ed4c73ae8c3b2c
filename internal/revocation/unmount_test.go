package revocation_test

import (
	"context"
	"fmt"
	"strings"
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

// A flush is a single flight; what becomes pending meanwhile is taken by the next round.
func TestFlushIsASingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.enqueue(m.Logins(1))
		gate := m.Palette.Hold(palettetest.Revoke)
		m.Revocations.Flush(m.Storage)
		<-gate.Arrived()
		for range 3 {
			m.enqueue(m.Logins(1))
			m.Revocations.Flush(m.Storage)
		}
		synctest.Wait()
		assert.Equal(t, 1, m.Tasks.Running())
		gate.Release()
		m.Wait()
		assert.Equal(t, 2, m.Palette.Calls(palettetest.Revoke), "the three went together")
		assert.Zero(t, m.Pending())
		m.Storage.FailOn("list", store.PendingPrefix)
		m.Revocations.Flush(m.Storage)
		m.Wait()
		m.Logged(revocation.MsgRetryFailed)
	})
}

func TestFlushAtTheEndOfTheMountIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		require.NoError(t, m.Tasks.Drain(t.Context()))
		m.Revocations.Flush(m.Storage)
		assert.Zero(t, m.Tasks.Running())
	})
}

// limited refuses a number of deletions by the rate limit.
type limited struct{ times int }

func (*limited) MayLive(*store.Key) bool { return true }

func (k *limited) EndPending(context.Context, logical.Storage, *revocation.Entry) error {
	if k.times--; k.times >= 0 {
		return &palette.Error{Kind: answer.Limited}
	}
	return nil
}

// The end of a removed mount goes on as long as the rate limit alone stands in the way.
func TestCleanWaitsForTheRateLimit(t *testing.T) {
	const often = 3
	for _, c := range []struct {
		name    string
		removed bool
		within  time.Duration
		left    int
		took    time.Duration
	}{
		{"a seal leaves all", false, time.Minute, 1, 0},
		{"an unmount", true, time.Minute, 0, often * revocation.LimitedPause},
		{"an unmount without the time", true, revocation.LimitedPause + time.Millisecond, 1, revocation.LimitedPause + time.Millisecond},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			m.keys(&ender{}, "a1")
			m.Revocations.Keys = &limited{often}
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			began := time.Now()
			m.Revocations.Clean(ctx, m.Storage, c.removed)
			assert.Equal(t, c.took, time.Since(began))
			assert.Equal(t, c.left, m.Pending())
		})
	}
}

// A token's own limit counts as a key's does.
func TestCleanWaitsForTheRateLimitWithTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.enqueue(m.Logins(1))
		m.Palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 429, Times: 1})
		m.Revocations.Clean(t.Context(), m.Storage, true)
		assert.Zero(t, m.Pending())
	})
}

// What cannot be read is no reason to go on, nor to give up what can.
func TestCleanEndsWhereTheStorageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.enqueue(m.Logins(1))
		m.Storage.Plant(store.PendingPrefix+"0", "{")
		m.Revocations.Clean(t.Context(), m.Storage, true)
		m.Logged(revocation.MsgRetryFailed)
		assert.Equal(t, 1, m.Pending())
	})
}

func TestReportSaysWhatLives(t *testing.T) {
	for _, c := range []struct {
		removed bool
		tokens  int
		keys    []string
		says    string
	}{
		{true, 0, nil, ""},
		{false, 2, []string{"a1"}, ""},
		{true, 2, nil, "tokens=2 api_keys=0"},
		{true, 2, []string{"a1"}, "tokens=2 api_keys=1"},
		{true, 0, []string{"a1", "a2"}, "tokens=0 api_keys=2"},
	} {
		enginetest.Bubble(t, fmt.Sprint(c), func(t *testing.T) {
			m := newMount(t, palettetest.AllowLiveTokens())
			m.keys(&ender{}, c.keys...)
			for range c.tokens {
				m.enqueue(m.Logins(1))
			}
			ended, end := context.WithCancel(t.Context())
			end() // the time of Clean is over by now
			revocation.Report{Manager: m.Revocations}.Clean(ended, m.Storage, c.removed)
			assert.Equal(t, c.says != "", strings.Contains(m.Log.String(), revocation.MsgUnmountLeaves))
			m.Logged(c.says)
			m.Storage.FailOn("list", store.PendingPrefix)
			revocation.Report{Manager: m.Revocations}.Clean(t.Context(), m.Storage, c.removed)
			assert.Equal(t, c.removed, strings.Contains(m.Log.String(), "not all pending revocations are known"))
		})
	}
}
