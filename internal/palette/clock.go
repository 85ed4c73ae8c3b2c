package palette

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
)

// MaxClockOffset is how far Palette's clock and ours may be apart for an API key to be given an expiry.
// Beyond it one of the two is wrong, and a key would live for as long as nobody meant.
const MaxClockOffset = 15 * time.Minute

// OnOurClock is a time of Palette's clock on ours, as far as Palette's answers have told of its clock.
func (c *Client) OnOurClock(at time.Time) time.Time {
	offset, _ := c.wire.ClockOffset()
	return at.Add(-offset)
}

// OnPalettesClock is a time of ours on Palette's clock, for the expiry of an API key. Where no answer of
// Palette's has told of its clock yet, OnPalettesClock asks for one. Errors are *[answer.Error]: of kind Skewed
// where the clocks are too far apart. No call that follows was made then.
func (c *Client) OnPalettesClock(ctx context.Context, auth Auth, at time.Time) (time.Time, error) {
	offset, known := c.wire.ClockOffset()
	if !known {
		if _, err := c.UserInfo(ctx, auth); err != nil {
			var e *answer.Error
			if errors.As(err, &e) && e.Verdict == answer.Unknown {
				e.Verdict = answer.NotDone // what was to be asked for was not
			}
			return time.Time{}, err
		}
		offset, _ = c.wire.ClockOffset() // without a Date there is nothing better than our own clock
	}
	if offset.Abs() > MaxClockOffset {
		way := "ahead of"
		if offset < 0 {
			way = "behind"
		}
		e := c.wire.Failure("name an API key's expiry", answer.Skewed, fmt.Sprintf("its clock is %s %s Vault's, more than %s apart: an expiry would be wrong by as much; set the clocks right",
			offset.Abs().Round(time.Second), way, MaxClockOffset))
		e.Verdict = answer.NotDone
		return time.Time{}, e
	}
	return at.Add(offset), nil
}
