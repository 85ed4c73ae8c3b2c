package palette

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/lockout"
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
func TestLoginWithAWrongPasswordThatEachReadTries(t *testing.T) {
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
			assert.GreaterOrEqual(t, tries[i]-tries[i-1], lockout.Spacing)
		}
		assert.False(t, r.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
	})
}

func TestFailedLoginsAreTheAccounts(t *testing.T) {
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

func TestFaultsAreNoFailedLogins(t *testing.T) {
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
	return r.crowdOf(t, n, func() error {
		token, err := r.Login(t.Context(), login)
		if err != nil {
			return err
		}
		return r.Revoke(t.Context(), token.Raw, []Secret{token.Raw})
	})
}

// crowdOf makes n calls at once.
func (r *rig) crowdOf(t *testing.T, n int, call func() error) []error {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = call() })
	}
	all.Wait()
	return errs
}

// Of many that start together one goes alone; the others follow its outcome.
func TestOneLoginGoesAheadOfACrowd(t *testing.T) {
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

func TestLoginThatWaitsForOthers(t *testing.T) {
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

// A login that had its permit while all was well, and whose account has gone bad while it waited
// for its turn, is not sent.
func TestLoginIsCheckedWhenItsTurnHasCome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.AllowLiveTokens())
		r.Client = newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Minute, RateLimit: 2})
		r.login(t)
		for range 10 { // no room any more
			r.login(t)
		}
		r.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
		before := r.palette.Calls(palettetest.Login)
		for _, err := range r.crowd(t, 3, loginOf(palettetest.DefaultUser)) {
			require.Equal(t, Rejected, KindOf(err))
		}
		assert.Equal(t, 1, r.palette.Calls(palettetest.Login)-before)
	})
}

// A change of the password at Palette meets as many logins as are under way.
func TestLoginsUnderWayWhenThePasswordChanges(t *testing.T) {
	for name, c := range map[string]struct{ limit, failed int }{"with a limit": {100, lockout.MaxReadFailures}, "without": {0, 40}} {
		inBubble(t, name, func(t *testing.T) {
			r := newRig(t, palettetest.AllowLiveTokens())
			r.Client = newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: 10 * time.Second, QueueTimeout: time.Minute, RateLimit: c.limit})
			r.login(t)
			r.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
			gate := r.palette.Hold(palettetest.Login)
			time.AfterFunc(time.Second, gate.Release)
			for _, err := range r.crowd(t, 40, loginOf(palettetest.DefaultUser)) {
				assert.Equal(t, Rejected, KindOf(err))
			}
			assert.Equal(t, c.failed, r.palette.FailedLogins())
		})
	}
}

// What a caller is told of a login that is not sent, and when it is again: by each kind of 401.
func TestLoginThatIsWithheld(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  palettetest.Fault
		worked bool // before
		setAgo time.Duration
		kind   Kind
		next   time.Duration
	}{
		{"a gateway's page", page(401), false, 0, Foreign, 5 * time.Second},
		{"a gateway's page to one that works", page(401), true, 0, Foreign, 5 * time.Second},
		{"an empty 401", theirs(401, ""), true, 0, Foreign, 5 * time.Second},
		{"Palette's own", own(401), false, 0, Rejected, 5 * time.Minute},
		{"Palette's own to one that works", own(401), true, 0, Rejected, 15 * time.Second},
		{"Palette's own after a rotation", own(401), false, time.Minute, Rejected, 15 * time.Second},
		{"Palette's own a day after a rotation", own(401), false, 24 * time.Hour, Rejected, 5 * time.Minute},
		{"a suspended account", own(403), true, 0, Rejected, 15 * time.Second},
		{"a proxy's 407", page(407), true, 0, Foreign, 0},
		{"a balancer's 502", page(502), false, 0, Foreign, 0},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			r := newRig(t)
			login := loginOf(palettetest.DefaultUser)
			if c.setAgo > 0 {
				login.SetAt = time.Now().Add(-c.setAgo)
			}
			if c.worked {
				_, err := r.try(t, login)
				require.NoError(t, err)
			}
			c.fault.Times = 1
			r.palette.Inject(palettetest.Login, c.fault)
			_, first := r.try(t, login)
			require.Equal(t, c.kind, KindOf(first))
			if c.next > 0 {
				asked, err := r.try(t, login)
				var e *Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, []any{0, c.kind, first.Error()}, []any{asked, e.Kind, e.Error()})
				assert.WithinDuration(t, time.Now().Add(c.next), e.NextTry, 0)
				assert.Equal(t, 1, e.Failures)
				time.Sleep(c.next - time.Nanosecond)
				asked, _ = r.try(t, login)
				assert.Zero(t, asked)
				time.Sleep(time.Nanosecond)
			}
			asked, err := r.try(t, login)
			require.NoError(t, err)
			assert.Equal(t, 1, asked)
		})
	}
}

// A gateway that answers 401 for hours meets four logins in 15 minutes at the most, an operator's
// among them, since Palette may have counted each.
func TestLoginAtAGatewayThatAnswers401ForHours(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.WithLockout())
		_, err := r.try(t, loginOf(palettetest.DefaultUser))
		require.NoError(t, err)
		r.palette.Inject(palettetest.Login, page(401))
		var tries []time.Time
		for i := range 10_000 {
			if asked, _ := r.try(t, wrong(palettetest.DefaultUser.Password+map[bool]string{true: "-another"}[i%100 == 0], i%100 == 0)); asked > 0 {
				tries = append(tries, time.Now())
			}
			time.Sleep(time.Second)
		}
		assert.Greater(t, len(tries), 20)
		for i := lockout.MaxFailures; i < len(tries); i++ {
			assert.GreaterOrEqual(t, tries[i].Sub(tries[i-lockout.MaxFailures]), lockout.Window)
		}
		r.palette.ClearAll()
		time.Sleep(lockout.Window)
		_, err = r.try(t, loginOf(palettetest.DefaultUser))
		require.NoError(t, err)
	})
}

// A rotation's new password that Palette does not know everywhere yet is taken within 30 s.
func TestLoginWithANewPasswordThatPaletteIsSlowToKnow(t *testing.T) {
	for name, lag := range map[string]palettetest.Lag{"nobody knows it": {For: 4 * time.Second}, "a replica has the old one": {For: 10 * time.Second, OldPassword: true}} {
		inBubble(t, name, func(t *testing.T) {
			r := newRig(t, palettetest.WithLockout(), palettetest.AllowLiveTokens())
			auth := r.auth(t)
			require.NoError(t, r.ChangePassword(t.Context(), auth, changeOf(Secret(palettetest.DefaultUser.Password), freshPassword)))
			r.palette.SetLag(lag)
			login := wrong(freshPassword, false)
			login.SetAt = time.Now()
			_, err := r.try(t, login)
			for err != nil {
				require.Less(t, time.Since(login.SetAt), 30*time.Second)
				time.Sleep(time.Second)
				_, err = r.try(t, login)
			}
			assert.Equal(t, 1, r.palette.FailedLogins())
		})
	}
}

func TestLoginThatBreaksOffLetsOthersGoOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.AllowLiveTokens())
		observer := &panicky{}
		r.Client = observed(t, r.process, r.conn, observer)
		assert.Panics(t, func() { _, _ = r.Login(t.Context(), loginOf(palettetest.DefaultUser)) })
		observer.calm = true
		_, err := r.try(t, loginOf(palettetest.DefaultUser))
		require.NoError(t, err)
	})
}

// panicky is an Observer with a bug.
type panicky struct {
	unobserved
	calm bool
}

func (p *panicky) Called(string, Outcome, time.Duration) {
	if !p.calm {
		panic("a bug")
	}
}

// A detached login whose caller hangs up while it waits for its turn is not sent, and those
// who wait behind it are not told of it.
func TestDetachedLoginThatStillWaitsIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.AllowLiveTokens())
		r.Client = newClient(t, r.process, Connection{Address: r.palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Minute, RateLimit: 1, RateBurst: 1})
		_, err := r.Login(t.Context(), wrong("Wrong-Password-14", true)) // takes the turn of this second, and lets one at a time go
		require.Error(t, err)
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error, 2)
		login := func(ctx context.Context) {
			_, late := r.Login(ctx, loginOf(palettetest.DefaultUser))
			done <- late
		}
		go login(Detach(ctx))
		synctest.Wait()
		go login(Detach(t.Context()))
		synctest.Wait() // it waits for the permit
		hangUp()
		require.ErrorIs(t, <-done, context.Canceled)
		require.NoError(t, <-done)
		assert.Equal(t, 2, r.palette.Calls(palettetest.Login))
		assert.Equal(t, waiting(Alone(Detach(ctx))), context.Background(), "made for several, no one's end ends it")
	})
}
