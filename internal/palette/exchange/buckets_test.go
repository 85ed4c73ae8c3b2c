package exchange_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// limited is a rig with Palette's published limits on both sides, and an upstream of 20 ms.
func limited(t *testing.T, opts ...palettetest.Option) *wiretest.Rig {
	t.Helper()
	r := wiretest.New(t, append(opts, palettetest.WithRateLimit(palettetest.PublishedRate), palettetest.WithLatency(20*time.Millisecond), palettetest.AllowLiveTokens())...)
	r.Use(t, palette.Connection{Address: r.Palette.URL(), RequestTimeout: 10 * time.Second, QueueTimeout: time.Minute, RateLimit: transport.DefaultRateLimit})
	return r
}

func TestManyLoginsAtOnceOnFullBuckets(t *testing.T) {
	for _, c := range []struct {
		logins int
		most   time.Duration
	}{{45, time.Second}, {500, 48 * time.Second}} {
		wiretest.Bubble(t, func(t *testing.T) {
			r := limited(t)
			start := time.Now()
			for _, err := range wiretest.Crowd(c.logins, func() error {
				_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
				return err
			}) {
				require.NoError(t, err)
			}
			assert.LessOrEqual(t, time.Since(start), c.most)
			assert.Zero(t, r.Palette.Rejected429())
		})
	}
}

func TestRevocationDoesNotWaitBehindLogins(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := limited(t)
		token := r.LogIn(t)
		done := make(chan error, 170)
		for range 170 {
			go func() {
				_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
				done <- err
			}()
		}
		time.Sleep(2 * time.Second)
		assert.GreaterOrEqual(t, 170-len(done), 90, "they wait")
		start := time.Now()
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
		_, err := r.Refresh(t.Context(), token.Raw)
		require.Equal(t, answer.SessionOver, answer.VerdictOf(err))
		assert.Equal(t, 40*time.Millisecond, time.Since(start))
		for range 170 {
			require.NoError(t, <-done)
		}
		assert.Zero(t, r.Palette.Rejected429())
	})
}

// Of API keys, what ends one does not wait behind those that are made.
func TestDeletionDoesNotWaitBehindCreations(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := limited(t)
		auth := r.Auth(t)
		done := make(chan error, 120)
		for range 120 {
			go func() {
				_, _, err := r.CreateAPIKey(t.Context(), auth, palette.NewAPIKey{Name: "k", Expiry: time.Now().Add(time.Hour)})
				done <- err
			}()
		}
		time.Sleep(5 * time.Second)
		require.Less(t, len(done), 90)
		for _, key := range r.Palette.Keys()[:10] {
			start := time.Now()
			require.NoError(t, r.DeleteAPIKey(t.Context(), auth, key.UID))
			assert.LessOrEqual(t, time.Since(start), 400*time.Millisecond)
			time.Sleep(500 * time.Millisecond)
		}
		for range 120 {
			require.NoError(t, <-done)
		}
		assert.Zero(t, r.Palette.Rejected429())
	})
}

// Whoever would wait longer than queue_timeout is told at once, a login behind others too.
func TestCallWhoseTurnWouldComeTooLate(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := limited(t)
		conn := r.Conn
		conn.QueueTimeout = 5 * time.Second
		r.Use(t, conn)
		start := time.Now()
		refused, atOnce := 0, new(atomic.Int32)
		for _, err := range wiretest.Crowd(150, func() error {
			_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			if err != nil {
				assert.ErrorContains(t, err, "rate_limit is 10 calls a second, and the turn would come after")
				assert.Equal(t, []any{answer.Limited, answer.HeldBack}, []any{answer.KindOf(err), answer.VerdictOf(err)})
				if time.Since(start) == 0 {
					atOnce.Add(1)
				}
			}
			return err
		}) {
			if err != nil {
				refused++
			}
		}
		// Of 50 at once and ten a second 98 find a turn within 5 s, as far as one can tell before.
		assert.InDelta(t, 52, refused, 15)
		assert.GreaterOrEqual(t, atOnce.Load(), int32(45))
		assert.LessOrEqual(t, time.Since(start), 6*time.Second)

		time.Sleep(time.Minute)
		r.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 429, RetryAfter: "4", Times: 1})
		auth := r.Auth(t)
		late := make(chan error, 1)
		go func() {
			_, err := r.UserInfo(t.Context(), auth)
			late <- err
		}()
		time.Sleep(time.Second)
		conn.QueueTimeout = time.Second
		_, err := wiretest.NewClient(t, r.Process, conn).UserInfo(t.Context(), auth)
		assert.ErrorContains(t, err, "Palette has answered 429, and calls are held back for 3s")
		require.NoError(t, <-late)
	})
}

// A 429 while others wait holds them, and each is sent in the end.
func TestRateLimitAndWhoWaitsWhenA429Comes(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := limited(t)
		r.Palette.SetBurst(20) // less than we think
		start := time.Now()
		for _, err := range wiretest.Crowd(60, func() error {
			_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			return err
		}) {
			require.NoError(t, err)
		}
		assert.LessOrEqual(t, r.Palette.Rejected429(), 6, "those under way together, and no more")
		assert.LessOrEqual(t, time.Since(start), 10*time.Second)
		synctest.Wait()
	})
}

// Without a rate_limit, no queue is at fault.
func TestCallWhoseTimeIsOverWithoutALimit(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		c, err := wiretest.NewProcess().NewClient(transport.Connection{Address: "https://palette.example.com"}, "a-test/1", wiretest.Nobody{})
		require.NoError(t, err)
		defer c.Close()
		err = c.Expect("login", 0, time.Now().Add(-time.Second))
		assert.EqualError(t, err, "the time to wait is over, and the turn would come after 0s, later than queue_timeout")
	})
}
