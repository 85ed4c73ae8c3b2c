package palette

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// track is a pacer with the calls that wait in it.
type track struct {
	p    *pacer
	runs []*runner
}

// runner is a call: when it may be sent, zero while it waits.
type runner struct {
	class class
	turn  *turn
	at    time.Time
}

func newTrack(t *testing.T, limit int) *track {
	t.Helper()
	p := &pacer{limits: map[any]int{"a test": limit}}
	t.Cleanup(func() { // no timer is left behind
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting = [classes][]*turn{}
		p.setAlarm(time.Now())
	})
	return &track{p: p}
}

// enter lets n calls of a class get in line.
func (k *track) enter(c class, n int) error {
	for range n {
		turn, _, err := k.p.enter(c, DefaultQueueTimeout, false)
		if err != nil {
			return err
		}
		r := &runner{class: c, turn: turn}
		if turn == nil {
			r.at = time.Now()
		}
		k.runs = append(k.runs, r)
	}
	return nil
}

// run lets time go by, and notes who has had a turn when.
func (k *track) run(upTo time.Duration) {
	const step = 5 * time.Millisecond
	for range upTo / step {
		time.Sleep(step)
		synctest.Wait()
		for _, r := range k.runs {
			if r.at.IsZero() {
				select {
				case <-r.turn.given:
					r.at = time.Now()
				default:
				}
			}
		}
	}
}

// wait is a login that waits for its turn.
func (k *track) wait(ctx context.Context, patience time.Duration, done chan<- error) {
	_, err := k.p.wait(ctx, patient, patience, false)
	done <- err
}

// A call that needed a while from its turn to its sending counts from then.
func TestPacerCountsFromTheSending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 2)
		_, first, err := k.p.enter(patient, time.Minute, false)
		require.NoError(t, err)
		require.NoError(t, k.enter(patient, 1))
		time.Sleep(900 * time.Millisecond)
		k.p.sentNow(first)
		require.NoError(t, k.enter(patient, 2))
		k.run(2 * time.Second)
		assert.Equal(t, []time.Duration{0, second, 900*time.Millisecond + second}, []time.Duration{
			k.runs[0].at.Sub(epoch), k.runs[1].at.Sub(epoch).Truncate(25 * time.Millisecond), k.runs[2].at.Sub(epoch).Truncate(25 * time.Millisecond),
		})
		k.p.sentNow(nil)
		k.p.sentNow(&stamp{}) // one that is long forgotten
	})
}

// waiting counts the calls in line, urgent and patient.
func (k *track) waiting() []int {
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	return []int{len(k.p.waiting[urgent]), len(k.p.waiting[patient])}
}

// turns are the calls that had their turn, in its order.
func (k *track) turns() []*runner {
	var out []*runner
	for _, r := range k.runs {
		if !r.at.IsZero() {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *runner) int { return a.at.Compare(b.at) })
	return out
}

func TestPacerLetsCallsThroughWhileThereIsRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 10)
		for range 5 {
			require.NoError(t, k.enter(patient, 10))
			for _, r := range k.runs {
				assert.False(t, r.at.IsZero())
			}
			time.Sleep(second)
		}
	})
}

func TestPacerKeepsToTheLimitInAnySecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, limit := range []int{1, 3, 10} {
			k := newTrack(t, limit)
			require.NoError(t, k.enter(patient, limit-1))
			time.Sleep(900 * time.Millisecond)
			require.NoError(t, k.enter(patient, 4*limit))
			require.NoError(t, k.enter(urgent, limit))
			k.run(10 * time.Second)
			turns := k.turns()
			require.Len(t, turns, 6*limit-1)
			for i := limit; i < len(turns); i++ {
				assert.Greater(t, turns[i].at.Sub(turns[i-limit].at), time.Second, "limit %d, call %d", limit, i)
			}
		}
	})
}

func TestPacerWithoutALimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 0)
		require.NoError(t, k.enter(patient, 1000))
		assert.Len(t, k.turns(), 1000)
		assert.Empty(t, k.p.sent, "nothing is kept")
	})
}

func TestPacerLetsUrgentCallsGoFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 10)
		require.NoError(t, k.enter(patient, 10)) // no room any more
		k.runs = nil
		require.NoError(t, k.enter(patient, 40))
		require.NoError(t, k.enter(urgent, 40))
		k.run(20 * time.Second)
		turns := k.turns()
		require.Len(t, turns, 80)
		urgentLeft := 40
		for i, r := range turns {
			if r.class == urgent {
				urgentLeft--
			}
			if urgentLeft == 0 {
				break
			}
			logins := 0
			for _, other := range turns[i : i+10] {
				if other.class == patient {
					logins++
				}
			}
			if urgentLeft >= 10 {
				assert.Equal(t, 2, logins, "of the ten turns from %d on", i)
			}
		}
		require.NoError(t, k.enter(urgent, 5))
	})
}

func TestPacerRefusesWhoseTurnWouldComeTooLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 10)
		// The first ten go at once, then ten a second within 55 seconds.
		fit := 10 + 10*int(DefaultQueueTimeout/second)
		require.NoError(t, k.enter(patient, fit))
		err := k.enter(patient, 1)
		var queue *queueError
		require.ErrorAs(t, err, &queue)
		assert.EqualError(t, err, "rate_limit is 10 calls a second, and the turn would come after 55.4s, later than queue_timeout")
		require.NoError(t, k.enter(urgent, 1), "it goes before the logins")
		k.run(DefaultQueueTimeout + second)
		assert.Equal(t, fit+1, len(k.turns()), "all others had their turn") //nolint:testifylint // Len would print them all
	})
}

func TestPacerGivesUpWhenUrgentCallsKeepComing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 1)
		require.NoError(t, k.enter(patient, 1))
		done := make(chan error, 1)
		go k.wait(t.Context(), 3*time.Second, done)
		synctest.Wait()
		require.NoError(t, k.enter(urgent, 4)) // one a second, and four before a login
		time.Sleep(3 * time.Second)
		assert.ErrorContains(t, <-done, "later than queue_timeout")
		assert.Zero(t, k.waiting()[patient], "it has left the line")
	})
}

func TestPacerCallWhoseCallerHangsUpLeavesTheLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 1)
		require.NoError(t, k.enter(patient, 1))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go k.wait(ctx, time.Minute, done)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		assert.Equal(t, []int{0, 0}, k.waiting())
	})
}

func TestPacerGivesTheTurnByItsAlarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 1)
		require.NoError(t, k.enter(patient, 1))
		done := make(chan error, 1)
		go k.wait(t.Context(), time.Minute, done)
		synctest.Wait()
		time.Sleep(second)
		require.NoError(t, <-done)
	})
}

func TestPacerHoldsTheWholeAddressBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, limit := range []int{0, 10} {
			k := newTrack(t, limit)
			k.p.holdBack(7 * time.Second)
			k.p.holdBack(3 * time.Second) // the longer one counts
			require.NoError(t, k.enter(patient, 1))
			require.NoError(t, k.enter(urgent, 1))
			k.run(7*time.Second - 5*time.Millisecond)
			assert.Empty(t, k.turns())
			k.run(5 * time.Millisecond)
			assert.Len(t, k.turns(), 2)
			k.p.holdBack(time.Minute)
			assert.ErrorContains(t, k.enter(patient, 1), "the turn would come after 1m0s")
		}
	})
}

func TestPacerCallThatComesAgainGoesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newTrack(t, 1)
		require.NoError(t, k.enter(patient, 3))
		again, _, err := k.p.enter(patient, time.Minute, true)
		require.NoError(t, err)
		assert.Same(t, again, k.p.peek())
	})
}

func TestPacerTakesTheLowestLimitThatCounts(t *testing.T) {
	const address = "https://palette.example.com"
	process := NewProcess()
	c := newClient(t, process, Connection{Address: address, RequestTimeout: time.Second, RateLimit: 7})
	assert.Equal(t, 7, c.pacer.limit(), "the client's own, where no other counts")
	process.CountLimit("a", address, 10)
	process.CountLimit("b", address, 0)
	process.CountLimit("c", address, 3)
	process.CountLimit("d", "https://other.example.com", 1)
	assert.Equal(t, 3, c.pacer.limit())
	process.CountLimit("c", address, 4)
	assert.Equal(t, 4, c.pacer.limit())
	process.CountLimit("c", "https://other.example.com", 4)
	assert.Equal(t, 10, c.pacer.limit(), "its holder has gone to another address")
	process.UncountLimit("a")
	assert.Zero(t, c.pacer.limit())
	assert.False(t, c.pacer.limited())
}

func TestPausesGrowAndDiffer(t *testing.T) {
	for attempt, seconds := range []int{1, 2, 4, 8, 16, 32, 32, 32} {
		want := float64(seconds) * float64(time.Second)
		seen := map[time.Duration]bool{}
		for range 50 {
			pause := jittered(time.Second, attempt)
			assert.InDelta(t, want, float64(pause), want/4)
			seen[pause] = true
		}
		assert.Greater(t, len(seen), 1)
	}
	assert.Zero(t, jittered(0, 3))
}
