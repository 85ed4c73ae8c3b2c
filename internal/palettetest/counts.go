package palettetest

import "golang.org/x/time/rate"

// counts is what the stand-in has seen; Server.mu guards it.
type counts struct {
	calls         map[Endpoint]int
	rejected      int
	cookies       int
	failedLogins  int
	largestRevoke int
	buckets       map[resource]*rate.Limiter
}

// arrive counts a call of e, and refuses it where the limit says so; dropped during an outage.
func (s *Server) arrive(e Endpoint) (refusal *answer, dropped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.calls[e]++
	if s.down {
		return nil, true
	}
	if s.over(e) {
		s.counts.rejected++
		a := s.tooMany()
		return &a, false
	}
	return nil, false
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
