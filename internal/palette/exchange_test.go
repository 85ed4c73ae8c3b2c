package palette

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

	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// pausing is a rig whose calls do pause before they go out again.
func pausing(t *testing.T, opts ...palettetest.Option) *rig {
	t.Helper()
	r := newRig(t, opts...)
	r.Client = newClient(t, newProcess(), Connection{Address: r.palette.URL(), RequestTimeout: 10 * time.Second, QueueTimeout: time.Minute})
	return r
}

// after runs a call that has to take d.
func after(t *testing.T, d time.Duration, call func() error) error {
	t.Helper()
	start := time.Now()
	err := call()
	assert.Equal(t, d, time.Since(start))
	return err
}

func TestCallIsSentAgainAfterA429(t *testing.T) {
	for _, c := range []struct {
		name, retryAfter string
		wait, jitter     time.Duration
	}{
		{"seconds", "7", 7 * time.Second, 0},
		{"a date", epoch.Add(9 * time.Second).Format(http.TimeFormat), 9 * time.Second, 0},
		{"neither", "", 2 * time.Second, time.Second / 2},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			r := pausing(t)
			r.palette.Inject(palettetest.Login, palettetest.Fault{Status: 429, RetryAfter: c.retryAfter, Times: 1})
			start := time.Now()
			token := r.login(t)
			assert.InDelta(t, c.wait, time.Since(start), float64(c.jitter))
			assert.Equal(t, 2, r.palette.Calls(palettetest.Login))
			assert.WithinDuration(t, time.Now().Add(15*time.Minute), token.ExpiresAt, time.Second, "counted from the attempt that was answered")
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
		})
	}
}

// A 429 holds back all calls of its resource to the address, whichever client it met, and no others.
func TestRateLimit429HoldsItsResourceBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := pausing(t)
		token := r.login(t)
		r.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 429, RetryAfter: "120"})
		_, err := r.Refresh(t.Context(), token.Raw)
		assert.Equal(t, Limited, KindOf(err))
		assert.ErrorContains(t, err, "the next try would come after 2m0s, later than queue_timeout")
		assert.Equal(t, 1, r.palette.Calls(palettetest.Refresh))

		second := newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: time.Second, QueueTimeout: 3 * time.Minute})
		r.palette.ClearAll()
		var fresh Token
		require.NoError(t, after(t, 2*time.Minute, func() error { fresh, err = second.Refresh(t.Context(), token.Raw); return err }))
		r.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 429, RetryAfter: "120"})
		_, err = r.Refresh(t.Context(), token.Raw)
		assert.Equal(t, Limited, KindOf(err))
		require.NoError(t, after(t, 0, func() error { return second.Revoke(t.Context(), token.Raw, []Secret{token.Raw, fresh.Raw}) }))
	})
}

// Palette's wish is honoured up to a bound: an answer that was wrong would otherwise stop
// the engine for good.
func TestRateLimit429HoldsNotForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// The last two are of more seconds than a Duration holds.
		for _, retryAfter := range []string{"31536000", "9223372037", "9223372036854775807"} {
			r := pausing(t)
			r.palette.Inject(palettetest.Login, palettetest.Fault{Status: 429, RetryAfter: retryAfter, Times: 1})
			_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
			require.Equal(t, Limited, KindOf(err), retryAfter)
			time.Sleep(ratelimit.LongestHold)
			token := r.login(t)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
		}
	})
}

func TestPassingFaultsAreTriedThreeTimesMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, status := range []int{502, 503, 504} {
			r := newRig(t)
			token := r.login(t)
			r.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: status, Times: 3})
			fresh, err := r.Refresh(t.Context(), token.Raw)
			require.NoError(t, err)
			assert.Equal(t, 4, r.palette.Calls(palettetest.Refresh))

			r.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: status, Times: 4})
			err = r.Revoke(t.Context(), token.Raw, []Secret{token.Raw, fresh.Raw})
			assert.Equal(t, Unavailable, KindOf(err))
			assert.Equal(t, 4, r.palette.Calls(palettetest.Revoke))
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw, fresh.Raw}))
		}
	})
}

func TestPassingFaultsAreTriedWithinTheTimeThatIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		token := r.login(t)
		c := newClient(t, newProcess(), Connection{Address: r.palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Millisecond})
		r.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503})
		_, err := c.Refresh(t.Context(), token.Raw)
		assert.Equal(t, Unavailable, KindOf(err))
		assert.Equal(t, 1, r.palette.Calls(palettetest.Refresh), "the pause would be longer")
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
	})
}

func TestFaultsThatDoNotPassAreNotSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, fault := range []palettetest.Fault{{Status: 500}, {Status: 400}, {Garbage: true}, {Huge: true}, {DropAfter: true}} {
			r := newRig(t)
			token := r.login(t)
			r.palette.Inject(palettetest.Revoke, fault)
			assert.Error(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
			assert.Equal(t, 1, r.palette.Calls(palettetest.Revoke), "%+v", fault)
			time.Sleep(15 * time.Minute)
		}
	})
}

// A login is not sent again once it may have arrived: it may have made a token.
func TestLoginIsNotSentAgainOnceItMayHaveArrived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, fault := range []palettetest.Fault{{Status: 502}, {Status: 503}, {Status: 504}, {Drop: true}} {
			r := newRig(t)
			r.palette.Inject(palettetest.Login, fault)
			_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
			require.Error(t, err)
			assert.Equal(t, 1, r.palette.Calls(palettetest.Login), "%+v", fault)
		}
	})
}

func TestLoginThatWasNeverSentIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			refusals int
			works    bool
		}{{3, true}, {4, false}} {
			r := newRig(t)
			dials, dial := 0, r.transport.DialContext
			r.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; dials <= c.refusals {
					return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
				}
				return dial(ctx, network, address)
			}
			token, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
			assert.Equal(t, 4, dials)
			if !c.works {
				assert.ErrorContains(t, err, "dial: connection refused")
				continue
			}
			require.NoError(t, err)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
		}
	})
}

func TestCertificateFaultsAreNotTriedAgain(t *testing.T) {
	r := onSocket(t, palettetest.WithTLS())
	conn, dials := r.conn, 0
	conn.CACert = ""
	r.Client = newClient(t, r.process, conn)
	r.dialled(func() { dials++ })
	_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
	assert.ErrorContains(t, err, "ca_cert")
	assert.Equal(t, 1, dials)
}

func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		x := &exchange{Client: r.Client, call: call{endpoint: "revoke", deadline: epoch.Add(time.Hour)}, bucket: r.bucketOf("revoke"), pause: time.Second}
		require.NoError(t, after(t, time.Second, func() error { return x.turn(t.Context()) }))

		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, hangUp)
		require.ErrorIs(t, after(t, time.Second/2, func() error { return x.turn(ctx) }), context.Canceled)
	})
}

// What still waits is not made for a caller who has gone, though a turn is free. What is made
// for others is.
func TestCallOfACallerWhoHasGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		for _, c := range []struct {
			name string
			ctx  context.Context
			made int
		}{
			{"its own", gone, 0},
			{"a detached one", Detach(gone), 0},
			{"one for several callers", Alone(gone), 1},
			{"one for several callers, of a detached one", Alone(Detach(gone)), 1},
		} {
			r := newRig(t)
			token, err := r.Login(c.ctx, loginOf(palettetest.DefaultUser))
			assert.Equal(t, c.made, r.palette.Calls(palettetest.Login), c.name)
			if c.made == 0 {
				require.ErrorIs(t, err, context.Canceled, c.name)
				continue
			}
			require.NoError(t, err, c.name)
			require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
		}
	})
}

func TestCallerWhoHangsUpIsNotSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		ctx, hangUp := context.WithCancel(t.Context())
		gate := r.palette.Hold(palettetest.Refresh)
		go func() {
			<-gate.Arrived()
			hangUp()
			gate.Release()
		}()
		r.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503, Times: 1})
		_, err := r.Refresh(Detach(ctx), "a-token")
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1, r.palette.Calls(palettetest.Refresh))
	})
}

// The library's own errors and logs hold the URL.
func TestRetriesShowNoToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503})
		_, err := r.Refresh(t.Context(), "Leaky-token")
		require.Error(t, err)
		assert.False(t, strings.Contains(err.Error(), "Leaky") || strings.Contains(err.Error(), "giving up"), err.Error())
	})
}
