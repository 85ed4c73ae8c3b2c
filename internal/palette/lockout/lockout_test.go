package lockout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// of is a login with a password: "op:x" an operator's, "set:x" one that a rotation has set now.
func of(password string) Login {
	l := Login{}
	if rest, is := strings.CutPrefix(password, "op:"); is {
		password, l.ByOperator = rest, true
	}
	if rest, is := strings.CutPrefix(password, "set:"); is {
		password, l.SetAt = rest, time.Now()
	}
	l.Password = DigestOf(password)
	return l
}

// errNo is what is told of failures.
var errNo = errors.New("no")

// try asks for a permit and gives it back with an outcome.
func (a *Account) try(t *testing.T, l Login, o Outcome) error {
	t.Helper()
	p, err := a.Acquire(t.Context(), l, time.Now().Add(time.Hour))
	if err == nil {
		p.Release(o, errNo)
	}
	return err
}

// step is a login at a time, what becomes of it where it goes out, and when it may go where not.
type step struct {
	at       time.Duration
	password string
	outcome  Outcome
	next     time.Duration // 0: it goes out
}

const (
	s, m = time.Second, time.Minute
	day  = 24 * time.Hour
)

func TestLoginMayGoOut(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a wrong password: three tries, spread", []step{
			{0, "x", Rejected, 0},
			{1 * s, "x", Worked, 5 * m},
			{5*m - s, "x", Worked, 5 * m},
			{5 * m, "x", Rejected, 0},
			{6 * m, "x", Worked, 10 * m},
			{10 * m, "x", Rejected, 0},
			{14 * m, "x", Worked, 15 * m},
			{15 * m, "x", Rejected, 0},
			{16 * m, "x", Worked, 20 * m},
		}},
		{"an operator may try another one", []step{
			{0, "x", Rejected, 0},
			{5 * m, "x", Rejected, 0},
			{10 * m, "x", Rejected, 0},
			{11 * m, "y", Worked, 15 * m},
			{11 * m, "op:y", Rejected, 0},
			{12 * m, "op:z", Worked, 15 * m},
			{15 * m, "op:z", Worked, 0},
		}},
		{"not the same one", []step{{0, "x", Rejected, 0}, {1 * m, "op:x", Worked, 5 * m}}},
		{"a success makes all good", []step{
			{0, "x", Rejected, 0}, {1 * s, "y", Worked, 0}, {2 * s, "x", Rejected, 0}, {3 * s, "y", Worked, 0}, {4 * s, "x", Rejected, 0},
		}},
		{"the one that works goes on beside an operator's mistakes", []step{
			{0, "x", Worked, 0}, {1 * s, "op:a", Rejected, 0}, {2 * s, "op:b", Rejected, 0}, {3 * s, "op:c", Rejected, 0}, {4 * s, "x", Worked, 0},
		}},
		{"also as the last of four, and no more", []step{
			{0, "x", Worked, 0},
			{1 * s, "op:a", Rejected, 0},
			{2 * s, "op:b", Rejected, 0},
			{3 * s, "op:c", Rejected, 0},
			{4 * s, "op:d", Rejected, 0},
			{5 * s, "x", Worked, 15*m + 1*s},
			{6 * s, "op:e", Worked, 15*m + 1*s},
			{15*m + 1*s, "x", Worked, 0},
		}},
		{"somebody's 401: soon again, then later", []step{
			{0, "x", Uncertain, 0},
			{4 * s, "x", Worked, 5 * s},
			{5 * s, "x", Uncertain, 0},
			{1 * m, "x", Worked, 2*m + 5*s},
			{2*m + 5*s, "x", Uncertain, 0},
			{5 * m, "x", Worked, 15 * m},
			{5 * m, "op:y", Worked, 0},
		}},
		{"somebody's 401 to a password that works", []step{
			{0, "x", Worked, 0}, {1 * s, "x", Uncertain, 0}, {2 * s, "x", Worked, 6 * s}, {6 * s, "x", Worked, 0}, {7 * s, "x", Uncertain, 0}, {12 * s, "x", Worked, 0},
		}},
		{"a password that worked is rejected", []step{
			{0, "x", Worked, 0},
			{1 * m, "x", Rejected, 0},
			{1*m + 14*s, "x", Worked, 1*m + 15*s},
			{1*m + 15*s, "x", Rejected, 0},
			{2 * m, "x", Worked, 3*m + 15*s},
			{3*m + 15*s, "x", Rejected, 0},
			{4 * m, "x", Worked, 16 * m},
			{16 * m, "x", Worked, 0},
		}},
		{"it has worked within a day", []step{{0, "x", Worked, 0}, {day, "x", Rejected, 0}, {day + s, "x", Worked, day + 5*m}}},
		{"a password that a rotation has set", []step{
			{0, "old", Worked, 0},
			{1 * s, "set:new", Rejected, 0},
			{2 * s, "set:new", Worked, 16 * s},
			{16 * s, "set:new", Rejected, 0},
			{17 * s, "set:new", Worked, 2*m + 16*s},
			{2*m + 16*s, "set:new", Worked, 0},
		}},
		{"each password has pauses of its own", []step{
			{0, "old", Worked, 0},
			{1 * s, "set:new", Rejected, 0},
			{1 * s, "old", Rejected, 0},
			{2 * s, "set:new", Worked, 16 * s},
			{2 * s, "old", Worked, 16 * s},
			{16 * s, "set:new", Worked, 0},
		}},
		{"a fault says nothing", []step{{0, "x", Failed, 0}, {0, "x", Failed, 0}, {0, "x", Abandoned, 0}, {0, "x", Failed, 0}, {0, "x", Failed, 0}, {0, "x", Failed, 0}}},
		{"a mix counts together", []step{
			{0, "x", Uncertain, 0}, {5 * s, "x", Rejected, 0}, {6 * s, "x", Worked, 5*m + 5*s}, {5*m + 5*s, "x", Uncertain, 0}, {8 * m, "x", Worked, 15 * m},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, start := new(Account), time.Now()
				for _, st := range c.steps {
					time.Sleep(st.at - time.Since(start))
					err := a.try(t, of(st.password), st.outcome)
					if st.next == 0 {
						require.NoError(t, err, "%+v", st)
						continue
					}
					var refused *Refused
					require.ErrorAs(t, err, &refused, "%+v", st)
					require.Equal(t, st.next, refused.Next.Sub(start), "%+v", st)
					require.ErrorIs(t, err, errNo)
				}
			})
		})
	}
}

func TestRefusalTellsWhenAnOperatorMayWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, start := new(Account), time.Now()
		for i := range MaxReadFailures {
			require.NoError(t, a.try(t, of(fmt.Sprint(i)), Rejected))
			time.Sleep(s)
		}
		var refused *Refused
		require.ErrorAs(t, a.try(t, of("x"), Worked), &refused)
		assert.Equal(t, []any{time.Time{}, 3}, []any{refused.NextWrite, refused.Failures})
		require.NoError(t, a.try(t, of("op:x"), Rejected))
		require.ErrorAs(t, a.try(t, of("op:y"), Worked), &refused)
		assert.Equal(t, []any{Window, 4}, []any{refused.NextWrite.Sub(start), refused.Failures})
		assert.Contains(t, refused.Error(), "no login goes out before "+refused.Next.UTC().Format(time.RFC3339))
	})
}

// Whatever comes, in any window no more than four logins that may have counted go out.
func TestFailuresAreNeverMoreThanFourInAWindow(t *testing.T) {
	passwords := []string{"x", "y", "op:x", "op:y", "op:z", "set:x"}
	for seed := range 50 {
		synctest.Test(t, func(t *testing.T) {
			a := new(Account)
			var failed []time.Time
			for i := range 2000 {
				n := (seed*7919 + i*i*31 + i*17) % 1009
				outcome := []Outcome{Rejected, Uncertain, Failed, Abandoned}[n%4]
				if a.try(t, of(passwords[n%len(passwords)]), outcome) == nil && (outcome == Rejected || outcome == Uncertain) {
					failed = append(failed, time.Now())
				}
				time.Sleep(time.Duration(n%37) * s)
			}
			require.Greater(t, len(failed), MaxFailures)
			for i := MaxFailures; i < len(failed); i++ {
				require.GreaterOrEqual(t, failed[i].Sub(failed[i-MaxFailures]), Window)
			}
		})
	}
}

// line is logins that ask for permits side by side.
type line struct {
	account *Account
	permits chan *Permit
	errs    chan error
}

// lines starts n logins.
func (a *Account) lines(ctx context.Context, n int, l Login, timeout time.Duration) *line {
	q := &line{a, make(chan *Permit, n), make(chan error, n)}
	for range n {
		go func() {
			p, err := a.Acquire(ctx, l, time.Now().Add(timeout))
			if err != nil {
				q.errs <- err
				return
			}
			q.permits <- p
		}()
	}
	synctest.Wait()
	return q
}

func TestConcurrencyOfLogins(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []step
		login  Login
		want   int
	}{
		{"before the password has worked", nil, of("x"), 1},
		{"when it has", []step{{0, "x", Worked, 0}}, of("x"), 3},
		{"without a limit", []step{{0, "x", Worked, 0}}, Login{Password: DigestOf("x"), Unlimited: true}, 20},
		{"without a limit, before it has worked", nil, Login{Password: DigestOf("x"), Unlimited: true}, 1},
		{"another password", []step{{0, "x", Worked, 0}}, of("op:y"), 1},
		{"after a rejection", []step{{0, "x", Worked, 0}, {0, "x", Rejected, 0}, {15 * s, "x", Abandoned, 0}}, of("x"), 1},
		{"after a rejection that is long ago", []step{{0, "x", Worked, 0}, {0, "x", Rejected, 0}, {time.Hour, "x", Abandoned, 0}}, of("x"), 1},
		{"after somebody's 401", []step{{0, "x", Worked, 0}, {0, "x", Uncertain, 0}, {15 * s, "x", Abandoned, 0}}, of("x"), 1},
		{"when it has worked again", []step{{0, "x", Worked, 0}, {0, "x", Rejected, 0}, {15 * s, "x", Worked, 0}}, of("x"), 3},
		{"after a fault", []step{{0, "x", Worked, 0}, {0, "x", Failed, 0}}, of("x"), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, start := new(Account), time.Now()
				for _, st := range c.before {
					time.Sleep(st.at - time.Since(start))
					require.NoError(t, a.try(t, of(st.password), st.outcome))
				}
				q := a.lines(t.Context(), 20, c.login, time.Hour)
				assert.Len(t, q.permits, c.want)
				assert.Len(t, a.waiters, 20-c.want)
				for range 20 {
					(<-q.permits).Release(Abandoned, nil)
					synctest.Wait()
				}
				assert.Empty(t, a.waiters)
			})
		})
	}
}

func TestThoseWhoWaitFollowTheOutcome(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome Outcome
		permits int
		err     func(error) bool
	}{
		{"it works", Worked, 3, nil},
		{"it is abandoned", Abandoned, 1, nil},
		{"it is rejected", Rejected, 0, func(err error) bool { var r *Refused; return errors.As(err, &r) && errors.Is(err, errNo) }},
		{"somebody answers", Uncertain, 0, func(err error) bool { var r *Refused; return errors.As(err, &r) }},
		{"it meets a fault", Failed, 0, func(err error) bool { return err == errNo }}, //nolint:errorlint // as it was told
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := new(Account)
				first, err := a.Acquire(t.Context(), of("x"), time.Now().Add(s))
				require.NoError(t, err)
				q := a.lines(t.Context(), 10, of("x"), time.Hour)
				first.Release(c.outcome, errNo)
				synctest.Wait()
				assert.Len(t, q.permits, c.permits)
				if c.err != nil {
					require.Len(t, q.errs, 10)
					for range 10 {
						assert.True(t, c.err(<-q.errs))
					}
					return
				}
				for range 10 {
					(<-q.permits).Release(Abandoned, nil)
					synctest.Wait()
				}
			})
		})
	}
}

// A fault on one way to Palette is no answer to a login on another one.
func TestFaultIsSharedOnItsWayOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, mended := new(Account), of("x")
		mended.Way = "another"
		first, err := a.Acquire(t.Context(), of("x"), time.Now().Add(s))
		require.NoError(t, err)
		q, other := a.lines(t.Context(), 3, of("x"), time.Hour), a.lines(t.Context(), 1, mended, time.Hour)
		first.Release(Failed, errNo)
		synctest.Wait()
		assert.Len(t, q.errs, 3)
		(<-other.permits).Release(Worked, nil)
	})
}

func TestWaiterMayHangUpOrRunOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(Account)
		first, err := a.Acquire(t.Context(), of("x"), time.Now().Add(s))
		require.NoError(t, err)
		ctx, hangUp := context.WithCancel(t.Context())
		gone, late, patient := a.lines(ctx, 1, of("x"), time.Hour), a.lines(t.Context(), 1, of("x"), m), a.lines(t.Context(), 1, of("x"), time.Hour)
		hangUp()
		require.ErrorIs(t, <-gone.errs, context.Canceled)
		time.Sleep(m)
		require.ErrorIs(t, <-late.errs, ErrTimeout)
		first.Release(Worked, nil)
		(<-patient.permits).Release(Worked, nil)
		assert.Equal(t, 0, a.inFlight)
	})
}

// Who would wait too long does not join the line.
func TestWaitersMayBeTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := new(Account), of("x")
		l.Expect = func(ahead int) error {
			if ahead >= 3 {
				return errNo
			}
			return nil
		}
		first, err := a.Acquire(t.Context(), l, time.Now().Add(s))
		require.NoError(t, err)
		q := a.lines(t.Context(), 10, l, time.Hour)
		assert.Len(t, q.errs, 7)
		assert.Equal(t, errNo, <-q.errs)
		first.Release(Worked, nil)
		for range 3 {
			(<-q.permits).Release(Worked, nil)
		}
	})
}

// A permit that is given to somebody who is just going goes to the next one.
func TestPermitIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(Account)
		w := &waiter{of("x"), make(chan error, 1)}
		a.inFlight = 1
		w.ready <- nil
		q := a.lines(t.Context(), 1, of("x"), time.Hour)
		assert.Empty(t, q.permits)
		require.ErrorIs(t, a.withdraw(w, ErrTimeout), ErrTimeout)
		synctest.Wait()
		(<-q.permits).Release(Abandoned, nil)
	})
}

func TestPermitIsCheckedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(Account)
		require.NoError(t, a.try(t, of("x"), Worked))
		q := a.lines(t.Context(), 2, of("x"), time.Hour)
		first, second := <-q.permits, <-q.permits
		require.NoError(t, second.Check())
		first.Release(Rejected, errNo)
		require.ErrorIs(t, second.Check(), errNo)
		second.Release(Abandoned, nil)
	})
}
