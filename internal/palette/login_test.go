package palette_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/lockout"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func wrong(password string, byOperator bool) palette.Login {
	login := wiretest.LoginOf(palettetest.DefaultUser)
	login.Password, login.ByOperator = palette.Secret(password), byOperator
	return login
}

// try logs in, and tells how often Palette was asked and what came of it.
func try(t *testing.T, r *wiretest.Rig, login palette.Login) (asked int, err error) {
	t.Helper()
	before := r.Palette.Calls(palettetest.Login)
	token, err := r.Login(t.Context(), login)
	if err == nil {
		require.NoError(t, r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw}))
	}
	return r.Palette.Calls(palettetest.Login) - before, err
}

// A wrong password that is tried on every read: three tries in 15 minutes, spread out.
func TestLoginWithAWrongPasswordThatEachReadTries(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.WithLockout())
		var tries []time.Duration
		for range 10_000 {
			asked, err := try(t, r, wrong("Wrong-Password-14", false))
			require.Equal(t, answer.Rejected, answer.KindOf(err))
			if asked > 0 {
				tries = append(tries, time.Since(wiretest.Epoch))
			} else {
				var e *answer.Error
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
		assert.False(t, r.Palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
	})
}

func TestFailedLoginsAreTheAccounts(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		other := palettetest.User{Email: "b@example.com", Org: "example", Password: "Correct-Horse-8-Battery"}
		r := wiretest.New(t, palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(other))
		_, err := try(t, r, wrong("Wrong-Password-14", false))
		require.Error(t, err)
		_, err = try(t, r, wiretest.LoginOf(other))
		require.NoError(t, err)
		second := wiretest.NewClient(t, r.Process, r.Conn)
		_, err = second.Login(t.Context(), wrong("Wrong-Password-14", false))
		var e *answer.Error
		require.ErrorAs(t, err, &e)
		assert.False(t, e.NextTry.IsZero(), "counted for the process, not for the client")
	})
}

func TestFaultsAreNoFailedLogins(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, fault := range []palettetest.Fault{{Status: 500}, {Drop: true}, {Garbage: true}, {MFA: true}, {NoToken: true}} {
			r := wiretest.New(t)
			r.Palette.Inject(palettetest.Login, fault)
			for range 10 {
				asked, _ := try(t, r, wiretest.LoginOf(palettetest.DefaultUser))
				require.Equal(t, 1, asked, "%+v", fault)
			}
		}
	})
}

// crowd logs in n times at once.
func crowd(t *testing.T, r *wiretest.Rig, n int, login palette.Login) []error {
	t.Helper()
	return wiretest.Crowd(n, func() error {
		token, err := r.Login(t.Context(), login)
		if err != nil {
			return err
		}
		return r.Revoke(t.Context(), token.Raw, []palette.Secret{token.Raw})
	})
}

// Of many that start together one goes alone; the others follow its outcome.
func TestOneLoginGoesAheadOfACrowd(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  palettetest.Fault
		login  palette.Login
		logins int
		kind   answer.Kind
	}{
		{"wrong password", palettetest.Fault{}, wrong("Wrong-Password-14", false), 1, answer.Rejected},
		{"down", palettetest.Fault{Status: 500}, wiretest.LoginOf(palettetest.DefaultUser), 1, answer.Unavailable},
		{"all is well", palettetest.Fault{}, wiretest.LoginOf(palettetest.DefaultUser), 64, 0},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r := wiretest.New(t)
			gate := r.Palette.Hold(palettetest.Login)
			if c.fault.Status != 0 {
				r.Palette.Inject(palettetest.Login, c.fault)
			}
			go func() {
				<-gate.Arrived()
				synctest.Wait() // all others are in line
				gate.Release()
			}()
			for _, err := range crowd(t, r, 64, c.login) {
				assert.Equal(t, c.kind, answer.KindOf(err))
			}
			assert.Equal(t, c.logins, r.Palette.Calls(palettetest.Login))
		})
	}
}

func TestLoginThatWaitsForOthers(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		gate := r.Palette.Hold(palettetest.Login)
		defer r.Palette.Close()
		ahead := make(chan error, 1)
		go func() {
			_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			ahead <- err
		}()
		<-gate.Arrived()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Login(ctx, wiretest.LoginOf(palettetest.DefaultUser))
		require.ErrorIs(t, err, context.Canceled)

		err = wiretest.After(t, time.Second, func() error {
			_, late := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
			return late
		})
		assert.Equal(t, answer.Limited, answer.KindOf(err))
		assert.ErrorContains(t, err, "whose outcome this one waits for")
		require.Error(t, <-ahead)
	})
}

// A login that had its permit while all was well, and whose account has gone bad while it waited
// for its turn, is not sent.
func TestLoginIsCheckedWhenItsTurnHasCome(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.AllowLiveTokens())
		r.Use(t, palette.Connection{Address: r.Palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Minute, RateLimit: 2})
		r.LogIn(t)
		for range 10 { // no room any more
			r.LogIn(t)
		}
		r.Palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
		before := r.Palette.Calls(palettetest.Login)
		for _, err := range crowd(t, r, 3, wiretest.LoginOf(palettetest.DefaultUser)) {
			require.Equal(t, answer.Rejected, answer.KindOf(err))
		}
		assert.Equal(t, 1, r.Palette.Calls(palettetest.Login)-before)
	})
}

// A change of the password at Palette meets as many logins as are under way.
func TestLoginsUnderWayWhenThePasswordChanges(t *testing.T) {
	for name, c := range map[string]struct{ limit, failed int }{"with a limit": {100, lockout.MaxReadFailures}, "without": {0, 40}} {
		wiretest.InBubble(t, name, func(t *testing.T) {
			r := wiretest.New(t, palettetest.AllowLiveTokens())
			r.Use(t, palette.Connection{Address: r.Palette.URL(), RequestTimeout: 10 * time.Second, QueueTimeout: time.Minute, RateLimit: c.limit})
			r.LogIn(t)
			r.Palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
			gate := r.Palette.Hold(palettetest.Login)
			time.AfterFunc(time.Second, gate.Release)
			for _, err := range crowd(t, r, 40, wiretest.LoginOf(palettetest.DefaultUser)) {
				assert.Equal(t, answer.Rejected, answer.KindOf(err))
			}
			assert.Equal(t, c.failed, r.Palette.FailedLogins())
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
		kind   answer.Kind
		next   time.Duration
	}{
		{"a gateway's page", wiretest.Page(401), false, 0, answer.Foreign, 5 * time.Second},
		{"a gateway's page to one that works", wiretest.Page(401), true, 0, answer.Foreign, 5 * time.Second},
		{"an empty 401", wiretest.Theirs(401, ""), true, 0, answer.Foreign, 5 * time.Second},
		{"Palette's own", wiretest.Own(401), false, 0, answer.Rejected, 5 * time.Minute},
		{"Palette's own to one that works", wiretest.Own(401), true, 0, answer.Rejected, 15 * time.Second},
		{"Palette's own after a rotation", wiretest.Own(401), false, time.Minute, answer.Rejected, 15 * time.Second},
		{"Palette's own a day after a rotation", wiretest.Own(401), false, 24 * time.Hour, answer.Rejected, 5 * time.Minute},
		{"a suspended account", wiretest.Own(403), true, 0, answer.Rejected, 15 * time.Second},
		{"a proxy's 407", wiretest.Page(407), true, 0, answer.Foreign, 0},
		{"a balancer's 502", wiretest.Page(502), false, 0, answer.Foreign, 0},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r := wiretest.New(t)
			login := wiretest.LoginOf(palettetest.DefaultUser)
			if c.setAgo > 0 {
				login.SetAt = time.Now().Add(-c.setAgo)
			}
			if c.worked {
				_, err := try(t, r, login)
				require.NoError(t, err)
			}
			c.fault.Times = 1
			r.Palette.Inject(palettetest.Login, c.fault)
			_, first := try(t, r, login)
			require.Equal(t, c.kind, answer.KindOf(first))
			if c.next > 0 {
				asked, err := try(t, r, login)
				var e *answer.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, []any{0, c.kind, first.Error()}, []any{asked, e.Kind, e.Error()})
				assert.WithinDuration(t, time.Now().Add(c.next), e.NextTry, 0)
				assert.Equal(t, 1, e.Failures)
				time.Sleep(c.next - time.Nanosecond)
				asked, _ = try(t, r, login)
				assert.Zero(t, asked)
				time.Sleep(time.Nanosecond)
			}
			asked, err := try(t, r, login)
			require.NoError(t, err)
			assert.Equal(t, 1, asked)
		})
	}
}

// A gateway that answers 401 for hours meets four logins in 15 minutes at the most, an operator's
// among them, since Palette may have counted each.
func TestLoginAtAGatewayThatAnswers401ForHours(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.WithLockout())
		_, err := try(t, r, wiretest.LoginOf(palettetest.DefaultUser))
		require.NoError(t, err)
		r.Palette.Inject(palettetest.Login, wiretest.Page(401))
		var tries []time.Time
		for i := range 10_000 {
			if asked, _ := try(t, r, wrong(palettetest.DefaultUser.Password+map[bool]string{true: "-another"}[i%100 == 0], i%100 == 0)); asked > 0 {
				tries = append(tries, time.Now())
			}
			time.Sleep(time.Second)
		}
		assert.Greater(t, len(tries), 20)
		for i := lockout.MaxFailures; i < len(tries); i++ {
			assert.GreaterOrEqual(t, tries[i].Sub(tries[i-lockout.MaxFailures]), lockout.Window)
		}
		r.Palette.ClearAll()
		time.Sleep(lockout.Window)
		_, err = try(t, r, wiretest.LoginOf(palettetest.DefaultUser))
		require.NoError(t, err)
	})
}

// A rotation's new password that Palette does not know everywhere yet is taken within 30 s.
func TestLoginWithANewPasswordThatPaletteIsSlowToKnow(t *testing.T) {
	for name, lag := range map[string]palettetest.Lag{"nobody knows it": {For: 4 * time.Second}, "a replica has the old one": {For: 10 * time.Second, OldPassword: true}} {
		wiretest.InBubble(t, name, func(t *testing.T) {
			r := wiretest.New(t, palettetest.WithLockout(), palettetest.AllowLiveTokens())
			auth := r.Auth(t)
			require.NoError(t, r.ChangePassword(t.Context(), auth, changeOf(palette.Secret(palettetest.DefaultUser.Password), freshPassword)))
			r.Palette.SetLag(lag)
			login := wrong(freshPassword, false)
			login.SetAt = time.Now()
			_, err := try(t, r, login)
			for err != nil {
				require.Less(t, time.Since(login.SetAt), 30*time.Second)
				time.Sleep(time.Second)
				_, err = try(t, r, login)
			}
			assert.Equal(t, 1, r.Palette.FailedLogins())
		})
	}
}

func TestLoginThatBreaksOffLetsOthersGoOn(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.AllowLiveTokens())
		observer := &panicky{}
		r.Client = wiretest.Observed(t, r.Process, r.Conn, observer)
		assert.Panics(t, func() { _, _ = r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser)) })
		observer.calm = true
		_, err := try(t, r, wiretest.LoginOf(palettetest.DefaultUser))
		require.NoError(t, err)
	})
}

// panicky is an Observer with a bug.
type panicky struct {
	wiretest.Nobody
	calm bool
}

func (p *panicky) Called(string, exchange.Outcome, time.Duration) {
	if !p.calm {
		panic("a bug")
	}
}

// A detached login whose caller hangs up while it waits for its turn is not sent, and those
// who wait behind it are not told of it.
func TestDetachedLoginThatStillWaitsIsNotSent(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.AllowLiveTokens())
		r.Use(t, palette.Connection{Address: r.Palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Minute, RateLimit: 1, RateBurst: 1})
		_, err := r.Login(t.Context(), wrong("Wrong-Password-14", true)) // takes the turn of this second, and lets one at a time go
		require.Error(t, err)
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error, 2)
		login := func(ctx context.Context) {
			_, late := r.Login(ctx, wiretest.LoginOf(palettetest.DefaultUser))
			done <- late
		}
		go login(exchange.Detach(ctx))
		synctest.Wait()
		go login(exchange.Detach(t.Context()))
		synctest.Wait() // it waits for the permit
		hangUp()
		require.ErrorIs(t, <-done, context.Canceled)
		require.NoError(t, <-done)
		assert.Equal(t, 2, r.Palette.Calls(palettetest.Login))
		assert.Equal(t, exchange.Waiting(exchange.Alone(exchange.Detach(ctx))), context.Background(), "made for several, no one's end ends it")
	})
}

// A wrong password that is tried under several spellings does not suspend the account.
func TestSpellingsDoNotGetAnAccountSuspended(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.WithLockout())
		for _, email := range []string{"vault@example.com", "Vault@example.com", "VAULT@example.com", "vault@Example.com", "vault@EXAMPLE.com", "vAult@example.com"} {
			for _, password := range []palette.Secret{"Wrong-Password-1", "Wrong-Password-2"} {
				_, err := r.Login(t.Context(), palette.Login{Email: email, Org: palettetest.DefaultUser.Org, Password: password, ByOperator: true})
				assert.NotNil(t, answer.Refusal(err), "%v", err)
			}
		}
		assert.False(t, r.Palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
		assert.LessOrEqual(t, r.Palette.Calls(palettetest.Login), 4)
	})
}

// A login that would wait longer than queue_timeout behind others of its account is told at once.
func TestLoginBehindTooManyOthers(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		r.Use(t, palette.Connection{Address: r.Palette.URL(), RequestTimeout: time.Second, QueueTimeout: time.Second, RateLimit: 1, RateBurst: 1})
		refused := 0
		for _, err := range crowd(t, r, 20, wiretest.LoginOf(palettetest.DefaultUser)) {
			if err != nil {
				refused++
				assert.Equal(t, []any{answer.Limited, answer.HeldBack}, []any{answer.KindOf(err), answer.VerdictOf(err)}, "%v", err)
			}
		}
		assert.GreaterOrEqual(t, refused, 17)
		time.Sleep(palettetest.DefaultLifetime)
	})
}
