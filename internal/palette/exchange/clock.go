package exchange

import (
	"net/http"
	"sync"
	"time"

	"vault-plugin-secrets-palette/internal/palette/transport"
)

// clock is what is known of the clock of a Palette: the Date header of its newest answer. The answer of
// somebody in between says nothing, since they have a clock of their own.
type clock struct {
	mu sync.Mutex
	// date is the header's, and at the time of our clock that it belongs to; zero where none is known.
	date, at time.Time
}

// note takes in the Date of an answer, and tells the offset: how far Palette's clock is before ours.
func (c *clock) note(header http.Header, sent, received time.Time) (offset time.Duration, ok bool) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return 0, false
	}
	at := sent.Add(received.Sub(sent) / 2) // the answer was made between the two
	// The header is cut to the second. Where the clocks may agree as far as it tells, they do.
	known := date
	if !date.After(received) && date.Add(time.Second).After(sent) {
		known = at
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.date.IsZero() || !at.Before(c.at) {
		c.date, c.at = known.Round(0), at
	}
	return date.Add(time.Second / 2).Sub(at), true // on average half a second is missing
}

// offset is how far Palette's clock is before ours now. It goes by the time that has passed since the
// answer, so that setting our clock changes it.
func (c *clock) offset() (offset time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.date.IsZero() {
		return 0, false
	}
	now := time.Now()
	return c.date.Add(now.Sub(c.at)).Sub(now.Round(0)), true
}

// ClockOffset is how far the clock of the Palette at an address is before ours (negative: behind). It
// goes by the newest answer to this process; false where there was none.
func (p *Process) ClockOffset(address string) (time.Duration, bool) { return p.clock(address).offset() }

func (p *Process) clock(address string) *clock {
	address = transport.NormalAddress(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clocks[address]
	if !ok {
		c = new(clock)
		p.clocks[address] = c
	}
	return c
}

// ClockOffset is how far Palette's clock is before ours, as [Process.ClockOffset] tells.
func (c *Client) ClockOffset() (time.Duration, bool) { return c.clock.offset() }
