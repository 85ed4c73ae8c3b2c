package palette

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func wrong(password string, byOperator bool) Login {
	login := loginOf(palettetest.DefaultUser)
	login.Password, login.ByOperator = Secret(password), byOperator
	return login
}

// try logs in, and tells how often Palette was asked and what came of it.
func (r *rig) try(t *testing.T, login Login) (asked int, err error) {
	t.Helper()
	before := r.palette.Calls(palettetest.Login)
	token, err := r.Login(t.Context(), login)
	if err == nil {
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
	}
	return r.palette.Calls(palettetest.Login) - before, err
}

// A wrong password that is tried on every read: three tries in 15 minutes, spread out.
func TestGuardSpreadsFailedLogins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.WithLockout())
		var tries []time.Duration
		for range 10_000 {
			asked, err := r.try(t, wrong("Wrong-Password-14", false))
			require.Equal(t, Rejected, KindOf(err))
			if asked > 0 {
				tries = append(tries, time.Since(epoch))
			} else {
				var e *Error
				require.ErrorAs(t, err, &e)
				require.True(t, e.NextTry.After(time.Now()))
				require.NotEmpty(t, e.Message, "what Palette said")
			}
			time.Sleep(90 * time.Millisecond) // 10,000 reads in 15 minutes
		}
		assert.Len(t, tries, 3)
		for i := 1; i < len(tries); i++ {
			assert.GreaterOrEqual(t, tries[i]-tries[i-1], failureSpacing)
		}
		assert.False(t, r.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
	})
}

// The fourth try is kept for an operator with another password; a fifth there is not.
func TestGuardKeepsOneTryForAnotherPassword(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.WithLockout())
		for i := range 3 {
			asked, _ := r.try(t, wrong("Wrong-Password-14", false))
			require.Equal(t, 1, asked, i)
			time.Sleep(failureSpacing - 2*time.Second)
			asked, _ = r.try(t, wrong("Wrong-Password-14", true))
			require.Zero(t, asked, "the same password, written again")
			if i < 2 {
				time.Sleep(2 * time.Second)
			}
		}
		var e *Error
		asked, err := r.try(t, wrong("Another-Wrong-14", false))
		assert.Zero(t, asked, "a read")
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 3, e.Failures)
		assert.Zero(t, e.NextWrite, "an operator may at once")
		asked, _ = r.try(t, wrong("Another-Wrong-14", true))
		assert.Equal(t, 1, asked, "an operator")
		asked, err = r.try(t, wrong("A-Third-Wrong-14", true))
		assert.Zero(t, asked)
		require.ErrorAs(t, err, &e)
		assert.WithinDuration(t, epoch.Add(lockoutWindow), e.NextTry, 0, "when the first failure is 15 minutes old")
		assert.Equal(t, e.NextTry, e.NextWrite)
		assert.Equal(t, 4, e.Failures)
		assert.Equal(t, 4, r.palette.FailedLogins())
		assert.False(t, r.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))

		time.Sleep(2 * time.Second)
		asked, err = r.try(t, wrong(palettetest.DefaultUser.Password, true))
		assert.Equal(t, 1, asked)
		require.NoError(t, err)
	})
}

func TestGuardIsClearedByALoginThatWorks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		for range 10 {
			_, err := r.try(t, wrong("Wrong-Password-14", false))
			require.Error(t, err)
			asked, err := r.try(t, loginOf(palettetest.DefaultUser))
			require.NoError(t, err, "another password than the one that failed is tried at once")
			require.Equal(t, 1, asked)
		}
	})
}

func TestGuardCountsByAccount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		other := palettetest.User{Email: "b@example.com", Org: "example", Password: "Correct-Horse-8-Battery"}
		r := newRig(t, palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(other))
		_, err := r.try(t, wrong("Wrong-Password-14", false))
		require.Error(t, err)
		_, err = r.try(t, loginOf(other))
		require.NoError(t, err)
		second := newClient(t, r.process, r.conn)
		_, err = second.Login(t.Context(), wrong("Wrong-Password-14", false))
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.False(t, e.NextTry.IsZero(), "counted for the process, not for the client")
	})
}

func TestGuardCountsRejectionsOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, fault := range []palettetest.Fault{{Status: 500}, {Drop: true}, {Garbage: true}, {MFA: true}, {NoToken: true}} {
			r := newRig(t)
			r.palette.Inject(palettetest.Login, fault)
			for range 10 {
				asked, _ := r.try(t, loginOf(palettetest.DefaultUser))
				require.Equal(t, 1, asked, "%+v", fault)
			}
		}
	})
}

// crowd logs in n times at once.
func (r *rig) crowd(t *testing.T, n int, login Login) []error {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			token, err := r.Login(t.Context(), login)
			if errs[i] = err; err == nil {
				errs[i] = r.Revoke(t.Context(), token.Raw, []Secret{token.Raw})
			}
		})
	}
	all.Wait()
	return errs
}

// Of many that start together one goes alone; the others follow its outcome.
func TestGuardSendsOneAheadOfACrowd(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  palettetest.Fault
		login  Login
		logins int
		kind   Kind
	}{
		{"wrong password", palettetest.Fault{}, wrong("Wrong-Password-14", false), 1, Rejected},
		{"down", palettetest.Fault{Status: 500}, loginOf(palettetest.DefaultUser), 1, Unavailable},
		{"all is well", palettetest.Fault{}, loginOf(palettetest.DefaultUser), 64, 0},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			r := newRig(t)
			gate := r.palette.Hold(palettetest.Login)
			if c.fault.Status != 0 {
				r.palette.Inject(palettetest.Login, c.fault)
			}
			go func() {
				<-gate.Arrived()
				synctest.Wait() // all others are in line
				gate.Release()
			}()
			for _, err := range r.crowd(t, 64, c.login) {
				assert.Equal(t, c.kind, KindOf(err))
			}
			assert.Equal(t, c.logins, r.palette.Calls(palettetest.Login))
		})
	}
}

func TestGuardWhoeverWaitsMayHangUpOrRunOutOfPatience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		gate := r.palette.Hold(palettetest.Login)
		defer r.palette.Close()
		ahead := make(chan error, 1)
		go func() {
			_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
			ahead <- err
		}()
		<-gate.Arrived()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Login(ctx, loginOf(palettetest.DefaultUser))
		require.ErrorIs(t, err, context.Canceled)

		err = after(t, time.Second, func() error {
			_, late := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
			return late
		})
		assert.Equal(t, Limited, KindOf(err))
		assert.ErrorContains(t, err, "whose outcome this one waits for")
		require.Error(t, <-ahead)
	})
}

// A login that was admitted while all was well, and whose account has gone bad while it
// waited for its turn, is not sent.
func TestGuardAsksOnceMoreWhenTheTurnHasCome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.Client = newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Minute, RateLimit: 2})
		token := r.login(t) // proven
		r.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
		r.palette.SetRateLimit(0)
		first := make(chan error, 3)
		gate := r.palette.Hold(palettetest.Login)
		for range 3 {
			go func() {
				_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
				first <- err
			}()
		}
		<-gate.Arrived()
		synctest.Wait() // one is under way, two are in line
		gate.Release()
		require.Equal(t, Rejected, KindOf(<-first))
		time.Sleep(second)
		for range 2 {
			require.Equal(t, Rejected, KindOf(<-first))
		}
		assert.Equal(t, 1, r.palette.FailedLogins())
		time.Sleep(second)
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []Secret{token.Raw}))
	})
}

func TestGuardLetsOthersGoOnWhenALoginBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		g := r.process.guard(account{r.conn.Address, "example", "vault@example.com"})
		assert.Panics(t, func() {
			_, _ = g.login(loginOf(palettetest.DefaultUser), func(p *place) (Token, error) {
				require.NoError(t, p.take(t.Context(), loginOf(palettetest.DefaultUser), true, time.Now()))
				panic("a bug")
			})
		})
		_, err := r.try(t, loginOf(palettetest.DefaultUser))
		require.NoError(t, err)
	})
}

// Under load logins go out side by side, by a ramp. When the password changes at Palette
// then, those under way may all fail: three at most, where there is a rate limit.
func TestGuardBoundsTheLoginsUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, limit := range []int{0, 100} {
			r := newRig(t, palettetest.WithLockout())
			r.Client = newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: 10 * time.Second, QueueTimeout: time.Minute, RateLimit: limit})
			gate := r.palette.HoldAfter(palettetest.Login)
			done := make(chan error, 40)
			for range 40 {
				go func() {
					_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
					done <- err
				}()
			}
			<-gate.Arrived() // one alone
			synctest.Wait()  // 39 wait for its outcome
			r.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
			gate.Release()
			worked := 0
			for range 40 {
				if <-done == nil {
					worked++
				}
			}
			assert.Equal(t, 1, worked)
			assert.LessOrEqual(t, r.palette.FailedLogins(), maxReadFailures, "the one that worked lets two more go")
			assert.False(t, r.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
			time.Sleep(15 * time.Minute)
		}
	})
}

// Wrong passwords that an operator has tried do not keep reads from the one that works.
func TestGuardLetsThePasswordThatWorkedGoOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		_, err := r.try(t, loginOf(palettetest.DefaultUser))
		require.NoError(t, err)
		for _, typo := range []string{"Wrong-Password-14", "Wrong-Password-15", "Wrong-Password-16"} {
			_, err = r.try(t, wrong(typo, true))
			require.Error(t, err)
		}
		asked, err := r.try(t, loginOf(palettetest.DefaultUser))
		require.NoError(t, err)
		assert.Equal(t, 1, asked)
	})
}

// A detached login whose caller hangs up while it waits for its turn is not sent, and those
// who wait for its outcome are not told of it.
func TestDetachedLoginThatStillWaitsIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.Client = newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Minute, RateLimit: 1})
		require.Error(t, r.Revoke(t.Context(), "nobody's", []Secret{"nobody's"})) // takes the turn of this second
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error, 2)
		login := func(ctx context.Context) {
			token, err := r.Login(ctx, loginOf(palettetest.DefaultUser))
			if err == nil {
				time.Sleep(15 * time.Minute)
				assert.NotEmpty(t, token.Raw)
			}
			done <- err
		}
		go login(Detach(ctx))
		synctest.Wait()
		go login(Detach(t.Context()))
		synctest.Wait() // it waits for the outcome
		hangUp()
		require.ErrorIs(t, <-done, context.Canceled)
		time.Sleep(second)
		require.NoError(t, <-done)
		assert.Equal(t, 1, r.palette.Calls(palettetest.Login))
		assert.Equal(t, waiting(Alone(Detach(ctx))), context.Background(), "made for several, no one's end ends it")
	})
}
