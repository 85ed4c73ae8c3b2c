package palette

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// createUntil makes a key that ends at a time of ours.
func (r *rig) createUntil(t *testing.T, auth Auth, at time.Time) (string, Secret, error) {
	t.Helper()
	expiry, err := r.OnPalettesClock(t.Context(), auth, at)
	if err != nil {
		return "", "", err
	}
	return r.CreateAPIKey(t.Context(), auth, NewAPIKey{Name: "new", Expiry: expiry})
}

func (r *rig) updateUntil(t *testing.T, auth Auth, uid string, at time.Time) error {
	t.Helper()
	expiry, err := r.OnPalettesClock(t.Context(), auth, at)
	if err != nil {
		return err
	}
	return r.UpdateAPIKey(t.Context(), auth, uid, NewAPIKey{Name: "new", Expiry: expiry})
}

// The expiry that a key gets is a time on Palette's clock, whatever that shows.
func TestKeyExpiryIsByPalettesClock(t *testing.T) {
	for _, offset := range []time.Duration{0, 3 * time.Minute, -5 * time.Minute, 299 * time.Millisecond, 90*time.Second + 700*time.Millisecond, 14*time.Minute + 59*time.Second, -14*time.Minute - 59*time.Second} {
		inBubble(t, offset.String(), func(t *testing.T) {
			r := newRig(t, palettetest.AllowLiveTokens(), palettetest.WithLifetime(72*time.Hour))
			auth := r.auth(t)
			r.key(t, auth, "there")
			r.palette.SetClock(offset)
			_, err := r.UserInfo(t.Context(), auth) // the newest answer counts
			require.NoError(t, err)
			const life = 2 * time.Minute
			uid, _, err := r.createUntil(t, auth, time.Now().Add(life))
			require.NoError(t, err)
			expiry := func() time.Time { return r.palette.Keys()[1].Expiry }
			assert.WithinDuration(t, epoch.Add(offset+life), expiry(), time.Second)
			time.Sleep(time.Minute)
			require.NoError(t, r.updateUntil(t, auth, uid, time.Now().Add(life)))
			assert.WithinDuration(t, epoch.Add(offset+time.Minute+life), expiry(), time.Second)
			// It dies by that clock, as long after as was meant.
			time.Sleep(life - time.Second)
			assert.Len(t, r.palette.LiveKeys(), 2)
			time.Sleep(2 * time.Second)
			assert.Len(t, r.palette.LiveKeys(), 1)
		})
	}
}

// Where no answer has told of Palette's clock yet, it is asked.
func TestKeyExpiryAsksForPalettesClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, auth := answering(t)
		r.palette.SetClock(10 * time.Minute)
		r.Client = newClient(t, newProcess(), r.conn)
		before := r.palette.Calls(palettetest.UserInfo)
		for range 3 {
			_, _, err := r.createUntil(t, auth, time.Now().Add(time.Hour))
			require.NoError(t, err)
		}
		assert.Equal(t, 1, r.palette.Calls(palettetest.UserInfo)-before)
		assert.WithinDuration(t, epoch.Add(10*time.Minute+time.Hour), r.palette.Keys()[1].Expiry, time.Second)

		for name, c := range map[string]struct {
			fault   palettetest.Fault
			auth    Auth
			kind    Kind
			verdict Verdict
		}{
			"a gateway answers": {page(401), auth, Foreign, NotDone},
			"it is down":        {palettetest.Fault{Drop: true}, auth, Unreachable, NotDone},
			"the token is dead": {palettetest.Fault{}, Auth{Token: "dead"}, Rejected, AuthDead},
		} {
			r.Client = newClient(t, newProcess(), r.conn)
			if name != "the token is dead" {
				r.palette.Inject(palettetest.UserInfo, c.fault)
			}
			made := len(r.palette.Keys())
			_, _, err := r.createUntil(t, c.auth, time.Now().Add(time.Hour))
			assert.Equal(t, []any{c.kind, c.verdict}, []any{KindOf(err), VerdictOf(err)}, name)
			assert.Len(t, r.palette.Keys(), made, name)
			r.palette.ClearAll()
		}
	})
}

// Palette may send no Date, or one that cannot be read: there is nothing better than our own clock then.
func TestKeyExpiryWithoutADate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, auth := answering(t)
		r.Client = newClient(t, newProcess(), r.conn)
		r.palette.Inject(palettetest.UserInfo, palettetest.Fault{Header: http.Header{"Date": {"yesterday"}}})
		_, _, err := r.createUntil(t, auth, time.Now().Add(time.Hour))
		require.NoError(t, err)
		assert.WithinDuration(t, epoch.Add(time.Hour), r.palette.Keys()[1].Expiry, 0)
	})
}

func TestClocksThatAreTooFarApart(t *testing.T) {
	for _, offset := range []time.Duration{15*time.Minute + 2*time.Second, -16 * time.Minute, 24 * time.Hour} {
		inBubble(t, offset.String(), func(t *testing.T) {
			r, _ := answering(t)
			r.palette.SetLifetime(72 * time.Hour)
			r.palette.SetClock(offset)
			auth := r.auth(t)
			uid := r.palette.Keys()[0].UID
			_, _, err := r.createUntil(t, auth, time.Now().Add(time.Hour))
			for _, failed := range []error{err, r.updateUntil(t, auth, uid, time.Now().Add(time.Hour))} {
				assert.Equal(t, []any{Skewed, NotDone}, []any{KindOf(failed), VerdictOf(failed)})
				assert.ErrorContains(t, failed, "its clock is "+offset.Abs().String()+map[bool]string{true: " ahead of", false: " behind"}[offset > 0]+" Vault's, more than 15m0s apart")
				assert.Nil(t, Refusal(failed))
			}
			assert.Len(t, r.palette.Keys(), 1)
			require.NoError(t, r.DeleteAPIKey(t.Context(), auth, uid), "what ends a key needs no clock")
		})
	}
}

// Whose word a Date is: only an answer of Palette's form tells of Palette's clock.
func TestClockOfWhom(t *testing.T) {
	ahead := http.Header{"Date": {epoch.Add(time.Hour).Format(http.TimeFormat)}}
	with := func(f palettetest.Fault) palettetest.Fault {
		f.Header = ahead
		return f
	}
	for _, c := range []struct {
		name  string
		fault palettetest.Fault
		tells bool
	}{
		{"a success", with(palettetest.Fault{}), true},
		{"Palette's error", with(own(403)), true},
		{"Palette's fault", with(own(500)), true},
		{"Palette's 429", with(own(429)), true},
		{"a gateway's page", with(page(401)), false},
		{"a gateway's JSON", with(theirs(403, `{"message":"no"}`)), false},
		{"a gateway's 429", with(page(429)), false},
		{"a portal", with(page(200)), false},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			r, auth := answering(t)
			r.palette.Inject(palettetest.UserInfo, c.fault)
			var trace Trace
			_, _ = r.UserInfo(WithTrace(t.Context(), &trace), auth)
			offset, known := r.process.ClockOffset(r.conn.Address)
			assert.True(t, known, "the login has told")
			assert.Equal(t, []bool{c.tells, c.tells}, []bool{offset > 50*time.Minute, trace.HasOffset})
			_, known = r.process.ClockOffset("https://other.example.com")
			assert.False(t, known)
		})
	}
}

// An answer of 204 has no form, and anybody may give it.
func TestClockIsNotToldByAnEmptyAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, auth := answering(t)
		r.palette.SetClock(5 * time.Minute)
		require.NoError(t, r.Revoke(t.Context(), auth.Token, []Secret{auth.Token}))
		offset, _ := r.process.ClockOffset(r.conn.Address)
		assert.Zero(t, offset)
	})
}

func TestClockIsNotToldByOlderAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, at := new(clock), time.Now()
		time.Sleep(time.Minute)
		date := func(offset time.Duration) http.Header {
			return http.Header{"Date": {time.Now().Add(offset).UTC().Format(http.TimeFormat)}}
		}
		c.note(date(time.Hour), time.Now(), time.Now())
		c.note(date(0), at, at)
		offset, known := c.offset()
		assert.True(t, known)
		assert.Equal(t, time.Hour, offset)
		time.Sleep(time.Hour)
		offset, _ = c.offset()
		assert.Equal(t, time.Hour, offset, "the clocks go on")
	})
}
