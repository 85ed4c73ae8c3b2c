package palettesecrets

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/apikey"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// The key's expiry is the lease's end as Vault will grant it, and a minute.
func TestKeyExpiryIsTheLeasesEndAndAMinute(t *testing.T) {
	for _, c := range []struct {
		name      string
		role, ask fields
		mountMax  time.Duration
		issued    time.Duration // the lease's term
		increment time.Duration // after 10 minutes
		renewed   time.Duration
	}{
		{"by default an hour", nil, nil, month, time.Hour, 0, time.Hour},
		{"the role's ttl", fields{"ttl": "2h"}, nil, month, 2 * time.Hour, 0, 2 * time.Hour},
		{"the request's ttl", fields{"ttl": "2h"}, fields{"ttl": "20m"}, month, 20 * time.Minute, 0, 20 * time.Minute},
		{"a request too long", nil, fields{"ttl": "3h"}, month, time.Hour, 0, time.Hour},
		{"an odd increment", fields{"ttl": "2h"}, nil, month, 2 * time.Hour, 1234 * time.Second, 1234 * time.Second},
		{"an increment of a second", nil, nil, month, time.Hour, time.Second, time.Second},
		{"a huge increment", fields{"ttl": "2h"}, nil, month, 2 * time.Hour, 1000 * time.Hour, 2 * time.Hour},
		{"the role's max_ttl", fields{"ttl": "1h", "max_ttl": "65m"}, nil, month, time.Hour, time.Hour, 55 * time.Minute},
		{"the mount's maximum", nil, nil, 30 * time.Minute, 30 * time.Minute, time.Hour, 20 * time.Minute},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t)
			w.system.MaxLeaseTTLVal = c.mountMax
			w.write("roles/key", c.role)
			l := w.creds("key", c.ask)
			assert.Equal(t, c.issued, l.secret.TTL)
			assert.WithinDuration(t, time.Now().Add(c.issued+apikey.Grace), l.key().Expiry, 2*time.Second)
			time.Sleep(10 * time.Minute)
			require.NoError(t, l.renew(c.increment))
			// Vault takes the increment, where there is one, and cuts it by MaxTTL.
			ttl := l.secret.TTL
			if c.increment > 0 {
				ttl = min(c.increment, l.secret.MaxTTL-10*time.Minute)
			}
			assert.Equal(t, c.renewed, ttl)
			assert.WithinDuration(t, time.Now().Add(c.renewed+apikey.Grace), l.key().Expiry, 2*time.Second)
			l.mustRevoke()
			w.end()
		})
	}
}

// slow has the next call of an endpoint arrive at Palette so much later.
func (w *world) slow(e palettetest.Endpoint, by time.Duration) {
	gate := w.palette.Hold(e)
	go func() {
		<-gate.Arrived()
		time.Sleep(by)
		gate.Release()
	}()
}

// granted is how long Vault makes a renewed lease last from now on.
func (l *heldLease) granted(increment time.Duration) time.Duration {
	l.w.t.Helper()
	ttl, _, err := framework.CalculateTTL(l.w.system, increment, l.secret.TTL, 0, l.secret.MaxTTL, 0, l.secret.IssueTime)
	require.NoError(l.w.t, err)
	return ttl
}

// The lease counts from the answer, the key from before the waits.
func TestKeyOutlivesItsLeaseHoweverLongItsMakingTakes(t *testing.T) {
	for _, c := range []struct {
		name          string
		login, making time.Duration
		ask           fields
		lasts         time.Duration
	}{
		{"a moment", 0, 100 * time.Millisecond, nil, time.Hour},
		{"the session's login", 70 * time.Second, 0, nil, time.Hour - 70*time.Second},
		{"both calls", 70 * time.Second, 70 * time.Second, nil, time.Hour - 140*time.Second},
		{"a lease that is shorter than asked for", 0, 75 * time.Second, fields{"ttl": "20m"}, 20*time.Minute - 75*time.Second},
		{"almost all of the lease", 0, 79 * time.Second, fields{"ttl": "80s"}, time.Second},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t)
			w.write("config", fields{"request_timeout": 80, "verify_connection": false})
			w.slow(palettetest.Login, c.login)
			w.slow(palettetest.APIKeyCreate, c.making)
			l := w.creds("key", c.ask)
			assert.Equal(t, c.lasts, l.secret.TTL)
			assert.LessOrEqual(t, l.secret.TTL, l.secret.MaxTTL)
			assert.Equal(t, time.Now().Add(c.lasts).Format(time.RFC3339), l.data["expires_at"])
			assert.WithinDuration(t, time.Now().Add(c.lasts+apikey.Grace), l.key().Expiry, time.Second)
			l.mustRevoke()
			w.end()
		})
	}
}

func TestKeyWhoseMakingShortensTheLeaseIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.write("config", fields{"request_timeout": 80, "verify_connection": false})
		w.slow(palettetest.APIKeyCreate, time.Minute)
		resp := w.read("creds/key", fields{"ttl": "20m"})
		warns(t, resp, "ttl is 20m0s, but the key's life allows 19m0s")
		(&heldLease{w: w, secret: resp.Secret, data: resp.Data}).mustRevoke()
		w.end()
	})
}

func TestKeyWhoseMakingTakesAsLongAsItsLeaseIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.write("config", fields{"request_timeout": 80, "verify_connection": false})
		w.slow(palettetest.APIKeyCreate, 79*time.Second+time.Millisecond)
		w.fault(logical.ReadOperation, "creds/key", fields{"ttl": "80s"}, http.StatusServiceUnavailable, "took as long as the lease would last", "try again")
		assert.Equal(t, 1, w.palette.Calls(palettetest.APIKeyDelete))
		w.end()
	})
}

func TestKeyOutlivesItsLeaseHoweverLongItsRenewalTakes(t *testing.T) {
	for _, c := range []struct {
		increment, takes, lasts time.Duration
	}{
		{0, 75 * time.Second, time.Hour - 75*time.Second},
		{20 * time.Minute, 0, 20 * time.Minute},
		{20 * time.Minute, 75 * time.Second, 20*time.Minute - 75*time.Second},
		{time.Hour, 75 * time.Second, time.Hour - 75*time.Second},
		{time.Second, 0, time.Second},
		{time.Second, 5 * time.Second, time.Second}, // by the grace
	} {
		bubble(t, c.increment.String()+" in "+c.takes.String(), func(t *testing.T) {
			w := issuing(t)
			w.write("config", fields{"request_timeout": 80, "verify_connection": false})
			l := w.creds("key")
			w.slow(palettetest.APIKeyUpdate, c.takes)
			require.NoError(t, l.renew(c.increment))
			lasts := l.granted(c.increment)
			assert.InDelta(t, c.lasts.Seconds(), lasts.Seconds(), 1)
			assert.True(t, l.key().Expiry.After(time.Now().Add(lasts)), "the key dies before its lease")
			l.mustRevoke()
			w.end()
		})
	}
}

func TestKeyRenewalThatTakesAsLongAsMaxTTLAllowsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.write("roles/key", fields{"max_ttl": "30m"})
		l := w.creds("key")
		time.Sleep(30*time.Minute - 5*time.Second)
		w.slow(palettetest.APIKeyUpdate, 5*time.Second)
		requireCoded(t, l.renew(), http.StatusBadRequest, "as long as the role's max_ttl allows", "read creds/key again")
		l.mustRevoke()
		w.end()
	})
}

// A renewal whose answer is lost has moved the key's expiry, and nobody knows.
func TestKeyOfALostRenewalIsDeleted(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, l *heldLease)
	}{
		{"at the lease's end", func(_ *world, l *heldLease) { l.mustRevoke() }},
		{"by a Vault that is late", func(w *world, l *heldLease) { time.Sleep(10 * time.Minute); l.mustRevoke() }},
		{"when Palette is back", func(w *world, l *heldLease) {
			w.palette.Down(true)
			require.Error(w.t, l.revoke())
			for range 10 {
				w.minute()
			}
			l.mustRevoke()
			w.palette.Down(false)
			w.minute()
		}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t)
			l := w.creds("key")
			time.Sleep(55 * time.Minute)
			w.palette.Inject(palettetest.APIKeyUpdate, palettetest.Fault{DropAfter: true, Times: 1})
			requireCoded(t, l.renew(), http.StatusBadGateway)
			time.Sleep(5 * time.Minute)
			c.end(w, l)
			w.end()
		})
	}
}

// No renewal moves a key's expiry further than the mount's maximum.
func TestKeyThatIsSurelyDeadNeedsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.system.MaxLeaseTTLVal = 2 * time.Hour
		l, pending := w.creds("key"), w.creds("key")
		w.palette.Down(true)
		require.Error(t, pending.revoke())
		time.Sleep(61 * time.Minute)
		requireCoded(t, l.renew(), http.StatusBadRequest, "is dead")
		require.NoError(t, w.periodic())
		assert.Equal(t, 1, w.pending(), "a renewal may have been lost")
		time.Sleep(2 * time.Hour)
		calls := w.palette.TotalCalls()
		require.NoError(t, w.periodic())
		assert.Zero(t, w.pending())
		l.mustRevoke()
		assert.Equal(t, calls, w.palette.TotalCalls())
	})
}
