package palettesecrets

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// Palette's clock goes its own way: a key outlives its lease by a minute there, and what the engine shows
// is by Vault's.
func TestKeyOutlivesItsLeaseOnPalettesClock(t *testing.T) {
	for _, offset := range []time.Duration{3 * time.Minute, 5 * time.Minute, -3 * time.Minute, -14 * time.Minute, 30*time.Second + 400*time.Millisecond} {
		bubble(t, offset.String(), func(t *testing.T) {
			w := issuing(t, palettetest.WithLifetime(24*time.Hour))
			w.palette.SetClock(offset)
			l := w.creds("key", fields{"ttl": "2m"})
			assert.Equal(t, 2*time.Minute, l.secret.TTL)
			assert.Equal(t, time.Now().Add(2*time.Minute).UTC().Format(time.RFC3339), l.data["expires_at"])
			end := time.Now().Add(offset + 2*time.Minute)
			assert.WithinDuration(t, end.Add(time.Minute), l.key().Expiry, 2*time.Second)
			time.Sleep(time.Minute)
			l.mustRenew()
			assert.WithinDuration(t, end.Add(2*time.Minute), l.key().Expiry, 2*time.Second)
			time.Sleep(2*time.Minute + 50*time.Second)
			l.key() // alive
			time.Sleep(15 * time.Second)
			assert.Empty(t, w.palette.LiveKeys(), "and dies by itself")
			l.mustRevoke()
			w.remove("sessions/default")
		})
	}
}

// In a process that has not heard of Palette's clock yet, users/info is asked first.
func TestKeyOfAConfigWithAnAPIKeyAsksForTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		w.palette.SetClock(4 * time.Minute)
		w.process = exchange.NewProcess().WithDial(palettetest.Dial)
		w.b.clean(t.Context())
		w.mount()
		asked := w.palette.Calls(palettetest.UserInfo)
		l := w.creds("k", fields{"ttl": "1m"})
		assert.WithinDuration(t, time.Now().Add(4*time.Minute+2*time.Minute), l.key().Expiry, time.Second)
		l.mustRenew()
		assert.Equal(t, 1, w.palette.Calls(palettetest.UserInfo)-asked)
		l.mustRevoke()
	})
}

func TestClocksThatAreTooFarApartAreToldOf(t *testing.T) {
	for _, offset := range []time.Duration{16 * time.Minute, -time.Hour} {
		bubble(t, offset.String(), func(t *testing.T) {
			w := issuing(t, palettetest.WithLifetime(24*time.Hour))
			l := w.creds("key")
			w.palette.SetClock(offset)
			w.check()
			w.fault(read, "creds/key", nil, http.StatusBadGateway, "its clock is", "set the clocks right")
			requireCoded(t, l.renew(), http.StatusBadGateway, "its clock is")
			assert.Zero(t, w.wals())
			l.mustRevoke() // what ends a key needs no clock
			assert.Empty(t, w.palette.LiveKeys())
			w.palette.SetClock(0)
			w.check()
			w.creds("key").mustRevoke()
			w.remove("sessions/default")
		})
	}
}

// A rotation's key, and one whose making was interrupted, are Palette's too.
func TestKeysOfRotationsAndInterruptionsAreByPalettesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		w.palette.SetClock(10 * time.Minute)
		w.write("config/k", fields{"rotation_period": "24h"})
		w.read("check/k")
		require.NoError(t, w.rotateKey())
		live := w.palette.LiveKeys()
		require.Len(t, live, 1)
		assert.WithinDuration(t, time.Now().Add(10*time.Minute+48*time.Hour), live[0].Expiry, 2*time.Second)
		assert.Equal(t, time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339), w.read("config/k").Data["api_key_expires_at"])

		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
		w.fault(read, "creds/k", nil, http.StatusBadGateway)
		require.Len(t, w.palette.LiveKeys(), 2)
		w.minute()
		w.minute()
		assert.Len(t, w.palette.LiveKeys(), 1, "found by its name and its expiry as sent")
	})
}

func TestCheckWarnsOfAnotherClock(t *testing.T) {
	for _, c := range []struct {
		offset time.Duration
		warns  string
	}{
		{0, ""},
		{29 * time.Second, ""},
		{-29 * time.Second, ""},
		{31 * time.Second, "Palette's clock is 32s ahead of Vault's"},
		{-90 * time.Second, "Palette's clock is 1m30s behind Vault's"},
		{time.Hour, "Palette's clock is 1h0m1s ahead of Vault's"},
	} {
		bubble(t, c.offset.String(), func(t *testing.T) {
			w := configured(t)
			w.palette.SetClock(c.offset)
			resp := w.read("check")
			assert.Equal(t, true, resp.Data["ok"])
			assert.InDelta(t, c.offset.Seconds(), resp.Data["clock_offset"], 1)
			if c.warns == "" {
				assert.Empty(t, resp.Warnings)
				return
			}
			require.Len(t, resp.Warnings, 1)
			assert.Contains(t, resp.Warnings[0], c.warns)
		})
	}
}

// The clock of somebody in between is not Palette's.
func TestCheckWarnsOfNobodysClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Foreign: true, Status: 401, Body: "<html>", Header: http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}})
		resp := w.read("check")
		assert.Equal(t, []any{true, "failed"}, []any{resp.Data["ok"], resp.Data["revocation"]})
		require.Len(t, resp.Warnings, 1)
		assert.Contains(t, resp.Warnings[0], "somebody between Vault and Palette answers")
		w.palette.ClearAll()
		w.minute()
		assert.Empty(t, w.palette.LiveTokens())
	})
}
