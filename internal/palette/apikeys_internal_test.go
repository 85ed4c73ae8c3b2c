package palette

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestKeyExpiryIsRoundedUp(t *testing.T) {
	epoch := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	east := time.FixedZone("", 2*60*60)
	for _, c := range []struct {
		given time.Time
		want  string
	}{
		{epoch, "2026-03-01T12:00:00Z"},
		{epoch.In(east), "2026-03-01T12:00:00Z"},
		{epoch.Add(time.Nanosecond), "2026-03-01T12:00:01Z"},
		{epoch.In(east).Add(999 * time.Millisecond), "2026-03-01T12:00:01Z"},
		{epoch.Add(-time.Nanosecond), "2026-03-01T12:00:00Z"},
	} {
		assert.Equal(t, c.want, wireExpiry(c.given), c.given)
	}
}
