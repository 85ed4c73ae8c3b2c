package exchange_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestCallIsSentAgainAfterA429(t *testing.T) {
	for _, c := range []struct {
		name, retryAfter string
		wait, jitter     time.Duration
	}{
		{"seconds", "7", 7 * time.Second, 0},
		{"a date", wiretest.Epoch.Add(9 * time.Second).Format(http.TimeFormat), 9 * time.Second, 0},
		{"neither", "", 2 * time.Second, time.Second / 2},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r := wiretest.Pausing(t)
			r.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 429, RetryAfter: c.retryAfter, Times: 1})
			start := time.Now()
			token := r.LogIn(t)
			assert.InDelta(t, c.wait, time.Since(start), float64(c.jitter))
			assert.Equal(t, 2, r.Palette.Calls(palettetest.Login))
			assert.WithinDuration(t, time.Now().Add(15*time.Minute), token.ExpiresAt, time.Second, "counted from the attempt that was answered")
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		})
	}
}

// A 429 holds back all calls of its resource to the address, whichever client it met, and no others.
func TestRateLimit429HoldsItsResourceBack(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.Pausing(t)
		token := r.LogIn(t)
		r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 429, RetryAfter: "120"})
		_, err := r.Refresh(t.Context(), token.Raw)
		assert.Equal(t, answer.Limited, answer.KindOf(err))
		assert.ErrorContains(t, err, "the next try would come after 2m0s, later than queue_timeout")
		assert.Equal(t, 1, r.Palette.Calls(palettetest.Refresh))

		second := wiretest.NewClient(t, r.Process, palette.Connection{Address: r.Palette.URL(), RequestTimeout: time.Second, QueueTimeout: 3 * time.Minute})
		r.Palette.ClearAll()
		var fresh palette.Token
		require.NoError(t, wiretest.After(t, 2*time.Minute, func() error { fresh, err = second.Refresh(t.Context(), token.Raw); return err }))
		r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 429, RetryAfter: "120"})
		_, err = r.Refresh(t.Context(), token.Raw)
		assert.Equal(t, answer.Limited, answer.KindOf(err))
		require.NoError(t, wiretest.After(t, 0, func() error { return second.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw, fresh.Raw}) }))
	})
}

// Palette's wish is honoured up to a bound: an answer that was wrong would otherwise stop
// the engine for good.
func TestRateLimit429HoldsNotForEver(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		// The last two are of more seconds than a Duration holds.
		for _, retryAfter := range []string{"31536000", "9223372037", "9223372036854775807"} {
			r := wiretest.Pausing(t)
			r.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 429, RetryAfter: retryAfter, Times: 1})
			_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			require.Equal(t, answer.Limited, answer.KindOf(err), retryAfter)
			time.Sleep(ratelimit.LongestHold)
			token := r.LogIn(t)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		}
	})
}

func TestPassingFaultsAreTriedThreeTimesMore(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, status := range []int{502, 503, 504} {
			r := wiretest.New(t)
			token := r.LogIn(t)
			r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: status, Times: 3})
			fresh, err := r.Refresh(t.Context(), token.Raw)
			require.NoError(t, err)
			assert.Equal(t, 4, r.Palette.Calls(palettetest.Refresh))

			r.Palette.Inject(palettetest.Revoke, palettetest.Fault{Status: status, Times: 4})
			err = r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw, fresh.Raw})
			assert.Equal(t, answer.Unavailable, answer.KindOf(err))
			assert.Equal(t, 4, r.Palette.Calls(palettetest.Revoke))
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw, fresh.Raw}))
		}
	})
}

func TestPassingFaultsAreTriedWithinTheTimeThatIsLeft(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		token := r.LogIn(t)
		c := wiretest.NewClient(t, wiretest.NewProcess(), palette.Connection{Address: r.Palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Millisecond})
		r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503})
		_, err := c.Refresh(t.Context(), token.Raw)
		assert.Equal(t, answer.Unavailable, answer.KindOf(err))
		assert.Equal(t, 1, r.Palette.Calls(palettetest.Refresh), "the pause would be longer")
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
	})
}

// The queue hides no fault for which the call has to be sent again.
func TestFaultIsTheErrorWhereTheNextTurnComesTooLate(t *testing.T) {
	for _, c := range []struct {
		name, says string
		spoil      func(*wiretest.Rig)
	}{
		{"nobody listens", "connection refused", func(r *wiretest.Rig) {
			r.Process = exchange.NewProcess().WithDial(func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			})
		}},
		{"a gateway without a backend", "503", func(r *wiretest.Rig) { r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503}) }},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r := wiretest.Pausing(t, palettetest.AllowLiveTokens())
			c.spoil(r)
			r.Use(t, palette.Connection{Address: r.Palette.URL(), RequestTimeout: time.Second, QueueTimeout: 900 * time.Millisecond, RateLimit: 1, RateBurst: 1})
			_, err := r.Refresh(t.Context(), "a-token")
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestFaultsThatDoNotPassAreNotSentAgain(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, fault := range []palettetest.Fault{{Status: 500}, {Status: 400}, {Garbage: true}, {Huge: true}, {DropAfter: true}} {
			r := wiretest.New(t)
			token := r.LogIn(t)
			r.Palette.Inject(palettetest.Revoke, fault)
			assert.Error(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
			assert.Equal(t, 1, r.Palette.Calls(palettetest.Revoke), "%+v", fault)
			time.Sleep(15 * time.Minute)
		}
	})
}

// A login is not sent again once it may have arrived: it may have made a token.
func TestLoginIsNotSentAgainOnceItMayHaveArrived(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, fault := range []palettetest.Fault{{Status: 502}, {Status: 503}, {Status: 504}, {Drop: true}} {
			r := wiretest.New(t)
			r.Palette.Inject(palettetest.Login, fault)
			_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			require.Error(t, err)
			assert.Equal(t, 1, r.Palette.Calls(palettetest.Login), "%+v", fault)
		}
	})
}

func TestLoginThatWasNeverSentIsSentAgain(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			refusals int
			works    bool
		}{{3, true}, {4, false}} {
			r := wiretest.New(t)
			dials := 0
			r.Client = wiretest.NewClient(t, exchange.NewProcess().WithoutPauses().WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; dials <= c.refusals {
					return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
				}
				return palettetest.Dial(ctx, network, address)
			}), r.Conn)
			token, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			assert.Equal(t, 4, dials)
			if !c.works {
				assert.ErrorContains(t, err, "dial: connection refused")
				continue
			}
			require.NoError(t, err)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		}
	})
}

func TestCertificateFaultsAreNotTriedAgain(t *testing.T) {
	r := wiretest.OnSocket(t, palettetest.WithTLS())
	dials := 0
	r.Conn.CACert = ""
	r.Dialled(t, func() { dials++ })
	_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
	assert.ErrorContains(t, err, "ca_cert")
	assert.Equal(t, 1, dials)
}

// What still waits is not made for a caller who has gone, though a turn is free. What is made
// for others is.
func TestCallOfACallerWhoHasGone(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		for _, c := range []struct {
			name string
			ctx  context.Context
			made int
		}{
			{"its own", gone, 0},
			{"a detached one", exchange.Detach(gone), 0},
			{"one for several callers", exchange.Alone(gone), 1},
			{"one for several callers, of a detached one", exchange.Alone(exchange.Detach(gone)), 1},
		} {
			r := wiretest.New(t)
			token, err := r.Login(c.ctx, wiretest.LoginOf(palettetest.DefaultUser))
			assert.Equal(t, c.made, r.Palette.Calls(palettetest.Login), c.name)
			if c.made == 0 {
				require.ErrorIs(t, err, context.Canceled, c.name)
				continue
			}
			require.NoError(t, err, c.name)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		}
	})
}

func TestCallerWhoHangsUpIsNotSentAgain(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		ctx, hangUp := context.WithCancel(t.Context())
		gate := r.Palette.Hold(palettetest.Refresh)
		go func() {
			<-gate.Arrived()
			hangUp()
			gate.Release()
		}()
		r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503, Times: 1})
		_, err := r.Refresh(exchange.Detach(ctx), "a-token")
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1, r.Palette.Calls(palettetest.Refresh))
	})
}

// The library's own errors and logs hold the URL.
func TestRetriesShowNoToken(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		r.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503})
		_, err := r.Refresh(t.Context(), "Leaky-token")
		require.Error(t, err)
		assert.False(t, strings.Contains(err.Error(), "Leaky") || strings.Contains(err.Error(), "giving up"), err.Error())
	})
}
