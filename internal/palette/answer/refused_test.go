package answer

import (
	"net/http"
	"testing"
	"time"

	"vault-plugin-secrets-palette/internal/palette/transport"

	"github.com/stretchr/testify/assert"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRetryAfterInBothForms(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"3": 3 * time.Second,
		epoch.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		epoch.Add(-time.Minute).Format(http.TimeFormat): 0,
		"-1":   0,
		"soon": 0,
		"":     0,
	} {
		assert.Equal(t, want, RetryAfter(header, epoch), header)
	}
}

func TestErrorSaysWhatIsKnown(t *testing.T) {
	e := &Error{Op: "log in", Host: "palette.example.com:443"}
	assert.EqualError(t, e, "could not log in at Palette (palette.example.com:443)")
	e.Status, e.Message, e.Code, e.Ref, e.Cause = 400, "no", "X", "r-1", "because"
	assert.EqualError(t, e, `could not log in at Palette (palette.example.com:443): it answered 400: because (Palette's message "no", code "X", ref "r-1")`)
}

func TestErrorOfAnAnswerThatIsTooLong(t *testing.T) {
	r := &Reply{Status: 200, Body: make([]byte, MaxBody+1), Overlong: true}
	assert.Equal(t, Foreign, RuleOf("list_api_keys").Judge(r))
	assert.ErrorContains(t, RuleOf("list_api_keys").Error("list", "palette.example.com:443", r), "more than 32 MiB")
}

func TestErrorOfAPortWithoutTLS(t *testing.T) {
	assert.True(t, (&Error{Cause: "the proxy (p:1): " + transport.NoTLS}).NoTLS())
	assert.False(t, (&Error{Cause: transport.ClosedAfterHandshake}).NoTLS())
}
