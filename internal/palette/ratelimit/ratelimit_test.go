package ratelimit

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// of is an address with a limit.
func of(rate, burst int) *Address {
	a := NewAddress()
	a.Join("somebody", Limit{rate, burst})
	return a
}

const timeout = time.Hour

// crowd asks for n calls at once, and tells when each went out, the first one first.
func crowd(t *testing.T, b *Bucket, n int) (went []time.Duration) {
	t.Helper()
	start := time.Now()
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	for range n {
		all.Go(func() {
			assert.NoError(t, b.Wait(t.Context(), start.Add(timeout)))
			mu.Lock()
			defer mu.Unlock()
			went = append(went, time.Since(start))
		})
	}
	all.Wait()
	return went
}

// gone is how many of them went within a time.
func gone(went []time.Duration, within time.Duration) (n int) {
	for _, at := range went {
		if at <= within {
			n++
		}
	}
	return n
}

func TestBucketGivesABurstAndThenASteadyRate(t *testing.T) {
	for _, c := range []struct {
		rate, burst, calls int
		atOnce, atLeast    int           // of them at once: about the burst, and the rest of it within slack
		all                time.Duration // until the last one, at the most
	}{
		{10, 50, 45, 45, 45, 0},
		{10, 50, 500, 50, 47, 47 * time.Second},
		{1, 5, 8, 5, 4, 4 * time.Second},
		{1, 1, 3, 1, 1, 2100 * time.Millisecond},
		{100, 10, 10, 10, 1, slack},
		{0, 0, 1000, 1000, 1000, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			went := crowd(t, of(c.rate, c.burst).Bucket("r"), c.calls)
			assert.GreaterOrEqual(t, gone(went, 0), c.atLeast, "%+v", c)
			assert.GreaterOrEqual(t, gone(went, slack), c.atOnce, "%+v", c)
			assert.LessOrEqual(t, went[len(went)-1], c.all, "%+v", c)
			// As Palette counts, whatever the first one's way takes: never more than burst and rate.
			for _, late := range []time.Duration{0, slack} {
				for i := range went {
					for j := i; c.rate > 0 && c.burst > 1 && j < len(went); j++ {
						allowed := float64(c.burst) + float64(c.rate)*max(went[j]-max(went[i], late), 0).Seconds()
						require.LessOrEqual(t, float64(j-i+1), allowed+1e-6, "%+v: calls %d to %d", c, i, j)
					}
				}
			}
		})
	}
}

func TestBucketFillsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := of(10, 50).Bucket("r")
		crowd(t, b, 50)
		time.Sleep(time.Hour)
		went := crowd(t, b, 51)
		assert.Equal(t, 47, gone(went, 0))
	})
}

func TestResourcesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(10, 50)
		var all sync.WaitGroup
		all.Go(func() { crowd(t, a.Bucket("logins"), 170) })
		synctest.Wait()
		assert.Equal(t, []time.Duration{0}, crowd(t, a.Bucket("users"), 1))
		all.Wait()
	})
}

// Of ten calls a part may take eight.
func TestPartLeavesTheRestToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(10, 50)
		whole, part := a.Bucket("keys"), a.Part("keys", "creations", 0.8)
		var (
			all     sync.WaitGroup
			created []time.Duration
		)
		all.Go(func() { created = crowd(t, part, 200) })
		synctest.Wait()
		assert.Zero(t, crowd(t, whole, 1)[0], "though creations wait")
		for range 20 {
			time.Sleep(600 * time.Millisecond)
			assert.LessOrEqual(t, crowd(t, whole, 1)[0], time.Second/10+slack, "two a second are theirs")
		}
		all.Wait()
		assert.Greater(t, created[len(created)-1], 20*time.Second)
		assert.Less(t, created[len(created)-1], 25*time.Second)
		assert.LessOrEqual(t, gone(created, 0), 40)
	})
}

func TestRateThatIsLowestCounts(t *testing.T) {
	for _, c := range []struct {
		limits []Limit
		want   Limit
	}{
		{nil, Limit{}},
		{[]Limit{{0, 0}}, Limit{0, 0}},
		{[]Limit{{0, 0}, {10, 50}}, Limit{10, 50}},
		{[]Limit{{10, 50}, {0, 0}, {3, 99}}, Limit{3, 99}},
		{[]Limit{{10, 50}, {10, 20}}, Limit{10, 20}},
		{[]Limit{{20, 1}, {10, 50}}, Limit{10, 50}},
	} {
		a := NewAddress()
		for i, l := range c.limits {
			a.Join(i, l)
		}
		assert.Equal(t, c.want, a.Limit(), c.limits)
	}
}

func TestLimitChangesWhileCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(0, 0)
		b := a.Bucket("r")
		crowd(t, b, 100)
		a.Join("another", Limit{1, 5})
		assert.Equal(t, 4, gone(crowd(t, b, 6), 0), "a bucket that had no limit is full")
		a.Join("another", Limit{1, 5})
		a.Leave("somebody")
		a.Join("another", Limit{10, 50})
		time.Sleep(time.Minute)
		assert.Equal(t, 47, gone(crowd(t, b, 50), 0))
		a.Leave("another")
		assert.Equal(t, Limit{10, 50}, a.Limit(), "nobody calls")
		a.Join("a third", Limit{0, 0})
		assert.Equal(t, 200, gone(crowd(t, b, 200), 0))
	})
}

func TestWaitThatWouldBeTooLongIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := of(10, 50).Bucket("r")
		crowd(t, b, 50)
		start := time.Now()
		require.NoError(t, b.Expect(8, start.Add(2*time.Second)))
		var busy *Busy
		require.ErrorAs(t, b.Expect(28, start.Add(2*time.Second)), &busy)
		require.ErrorAs(t, b.Wait(t.Context(), start.Add(50*time.Millisecond)), &busy)
		assert.Equal(t, 10, busy.Rate)
		assert.Zero(t, busy.Held)
		assert.InDelta(t, 100*time.Millisecond, busy.Wait, float64(10*time.Millisecond), "the slack went by with the last of the fifty")
		assert.Contains(t, busy.Error(), busy.Wait.String())
		assert.Zero(t, time.Since(start))
		require.NoError(t, b.Wait(t.Context(), start.Add(time.Second)), "who is refused takes nothing")
		assert.LessOrEqual(t, time.Since(start), 110*time.Millisecond)
	})
}

func TestWaiterWhoHangsUpLeavesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := of(1, 1).Bucket("r")
		crowd(t, b, 1)
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, hangUp)
		require.ErrorIs(t, b.Wait(ctx, time.Now().Add(timeout)), context.Canceled)
		assert.Less(t, crowd(t, b, 1)[0], time.Second)
	})
}

func TestHoldAfterA429(t *testing.T) {
	for _, c := range []struct {
		name string
		rate int
		asks time.Duration
		from time.Duration
	}{
		{"for as long as it asks", 10, 7 * time.Second, 7 * time.Second},
		{"without a limit", 0, 7 * time.Second, 7 * time.Second},
		{"not for ever", 10, 365 * 24 * time.Hour, LongestHold},
		{"for a while of our own", 10, 0, firstHold - firstHold/4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := of(c.rate, 5*c.rate)
				b, other := a.Bucket("r"), a.Bucket("other")
				crowd(t, b, 1)
				b.Limited(c.asks, time.Now())
				assert.Zero(t, crowd(t, other, 1)[0], "another resource is not held")
				went := crowd(t, b, 5)
				assert.GreaterOrEqual(t, went[0], c.from)
				assert.LessOrEqual(t, went[0], c.from+time.Second+slack+time.Second/9)
				if c.rate > 0 {
					assert.GreaterOrEqual(t, went[4]-went[0], 4*time.Second/10, "it is empty then")
				}
			})
		})
	}
}

// Whoever waits when a 429 comes waits for its end, and anew.
func TestWaiterReservesAnewAfterTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := of(10, 10).Bucket("r")
		crowd(t, b, 10)
		start := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { b.Limited(10*time.Second, time.Now()) })
		outcomes := make(chan error, 30)
		for i := range 30 {
			go func() {
				wait := time.Minute
				if i%3 == 0 {
					wait = 5 * time.Second
				}
				outcomes <- b.Wait(t.Context(), start.Add(wait))
			}()
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		before := len(outcomes)
		refused := 0
		for range before {
			if err := <-outcomes; err != nil {
				var busy *Busy
				require.ErrorAs(t, err, &busy)
				assert.Equal(t, 10*time.Second, busy.Held)
				refused++
			}
		}
		assert.Positive(t, refused)
		assert.LessOrEqual(t, refused, 10, "those whose timeout the hold exceeds, and at once")
		for range 30 - before {
			require.NoError(t, <-outcomes)
		}
		assert.GreaterOrEqual(t, time.Since(start), 10500*time.Millisecond+1900*time.Millisecond)
	})
}

// Calls that are under way together and all meet a 429 double the hold once.
func TestHoldsDoubleInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := of(10, 50).Bucket("r")
		for attempt := range 8 {
			sent := time.Now()
			time.Sleep(20 * time.Millisecond)
			for range 10 {
				b.Limited(0, sent)
			}
			held := time.Until(b.held)
			want := firstHold << min(attempt, 5)
			assert.InDelta(t, want, held, float64(want)/4+1, "attempt %d", attempt)
			time.Sleep(held)
		}
		b.Passed(b.began.Add(-time.Second))
		assert.Equal(t, 8, b.holds, "it was sent before")
		b.Passed(time.Now())
		b.Limited(0, time.Now())
		assert.LessOrEqual(t, time.Until(b.held), firstHold+firstHold/4)
		b.Limited(time.Second/10, time.Now().Add(-time.Second))
		assert.Greater(t, time.Until(b.held), time.Second, "a shorter one takes nothing back")
	})
}

// A part's 429 is its resource's.
func TestPartIsHeldWithItsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(10, 50)
		part := a.Part("keys", "creations", 0.8)
		sent := time.Now()
		time.Sleep(time.Second)
		part.Limited(7*time.Second, sent)
		assert.GreaterOrEqual(t, crowd(t, part, 1)[0], 7*time.Second)
		part.Passed(time.Now())
		assert.Zero(t, a.Bucket("keys").holds)
		a.Bucket("keys").Limited(time.Hour, time.Now())
		var busy *Busy
		require.ErrorAs(t, part.Wait(t.Context(), time.Now().Add(time.Second)), &busy)
	})
}

func TestPausesGrowAndDiffer(t *testing.T) {
	for attempt, seconds := range []int{1, 2, 4, 8, 16, 32, 32, 32} {
		want := float64(seconds) * float64(time.Second)
		seen := map[time.Duration]bool{}
		for range 50 {
			pause := Jittered(time.Second, attempt)
			assert.InDelta(t, want, float64(pause), want/4)
			seen[pause] = true
		}
		assert.Greater(t, len(seen), 1)
	}
	assert.Zero(t, Jittered(0, 3))
}
