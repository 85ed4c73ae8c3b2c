package palettetest

import (
	"net/http"
	"strconv"
	"time"
)

// counts is what the stand-in has seen; Server.mu guards it.
type counts struct {
	calls         map[Endpoint]int
	rejected      int
	cookies       int
	failedLogins  int
	largestRevoke int
	// window holds when the calls of the last second were let in, oldest first.
	window []time.Time
}

// arrive counts a call of e, and refuses it where the limit says so; dropped during an outage.
func (s *Server) arrive(e Endpoint) (refusal *answer, dropped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.calls[e]++
	if s.down {
		return nil, true
	}
	if s.opts.rateLimit <= 0 {
		return nil, false
	}
	now := time.Now()
	window := s.counts.window
	for len(window) > 0 && now.Sub(window[0]) >= time.Second {
		window = window[1:]
	}
	if len(window) < s.opts.rateLimit {
		s.counts.window = append(window, now)
		return nil, false
	}
	s.counts.window = window
	s.counts.rejected++
	// A place is free when the call a limit's length back is a second old; the header takes whole seconds.
	free := window[len(window)-s.opts.rateLimit].Add(time.Second).Sub(now)
	seconds := max(1, int((free+time.Second-1)/time.Second))
	a := fail(http.StatusTooManyRequests, "TooManyRequests", "more requests than the limit allows")
	a.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	return &a, false
}

// Calls is how many calls of e have arrived, those dropped or answered 429 among them.
func (s *Server) Calls(e Endpoint) int {
	return s.count(func(c *counts) int { return c.calls[e] })
}

// TotalCalls is how many calls have arrived at all endpoints and at paths that are none.
func (s *Server) TotalCalls() int {
	return s.count(func(c *counts) int {
		total := 0
		for _, n := range c.calls {
			total += n
		}
		return total
	})
}

// Rejected429 is how many calls the rate limit has refused. Injected 429s are not among them.
func (s *Server) Rejected429() int { return s.count(func(c *counts) int { return c.rejected }) }

// CookiesSet is how many answers carried the token in a cookie.
func (s *Server) CookiesSet() int { return s.count(func(c *counts) int { return c.cookies }) }

// FailedLogins is how many logins were refused for a wrong password.
func (s *Server) FailedLogins() int { return s.count(func(c *counts) int { return c.failedLogins }) }

// LargestRevoke is the most tokens that one revocation named.
func (s *Server) LargestRevoke() int { return s.count(func(c *counts) int { return c.largestRevoke }) }

func (s *Server) count(read func(*counts) int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return read(&s.counts)
}
