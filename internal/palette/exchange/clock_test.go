package exchange_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// Whose word a Date is: only an answer of Palette's form tells of Palette's clock.
func TestClockOfWhom(t *testing.T) {
	ahead := http.Header{"Date": {wiretest.Epoch.Add(time.Hour).Format(http.TimeFormat)}}
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
		{"Palette's error", with(wiretest.Own(403)), true},
		{"Palette's fault", with(wiretest.Own(500)), true},
		{"Palette's 429", with(wiretest.Own(429)), true},
		{"a gateway's page", with(wiretest.Page(401)), false},
		{"a gateway's JSON", with(wiretest.Theirs(403, `{"message":"no"}`)), false},
		{"a gateway's 429", with(wiretest.Page(429)), false},
		{"a portal", with(wiretest.Page(200)), false},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r, auth := wiretest.WithKey(t)
			r.Palette.Inject(palettetest.UserInfo, c.fault)
			var trace exchange.Trace
			_, _ = r.UserInfo(exchange.WithTrace(t.Context(), &trace), auth)
			offset, known := r.Process.ClockOffset(r.Conn.Address)
			assert.True(t, known, "the login has told")
			assert.Equal(t, []bool{c.tells, c.tells}, []bool{offset > 50*time.Minute, trace.HasOffset})
			_, known = r.Process.ClockOffset("https://other.example.com")
			assert.False(t, known)
		})
	}
}

// An answer of 204 has no form, and anybody may give it.
func TestClockIsNotToldByAnEmptyAnswer(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, auth := wiretest.WithKey(t)
		r.Palette.SetClock(5 * time.Minute)
		require.NoError(t, r.Revoke(t.Context(), auth.Token, []palette.Secret{auth.Token}))
		offset, _ := r.Process.ClockOffset(r.Conn.Address)
		assert.Zero(t, offset)
	})
}
