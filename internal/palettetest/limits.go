package palettetest

import (
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Palette's limits, for each source address and each resource. Source: the introduction of Palette's API, its table of
// calls a second and burst sizes (10 and 5, so that 50 calls go at once).
const (
	PublishedRate = 10
	// BurstFactor makes a bucket's size out of its rate.
	BurstFactor = 5
)

// resource is what Palette counts calls by.
type resource string

const (
	logins    resource = "/v1/auth/authenticate"
	sessions  resource = "/v1/auth"
	users     resource = "/v1/users"
	apiKeys   resource = "/v1/apiKeys"
	projects  resource = "/v1/projects"
	dashboard resource = "/v1/dashboard"
	// unlimited is what the table does not have.
	unlimited resource = ""
)

var resources = map[Endpoint]resource{
	Login: logins, SystemLogin: sessions, Refresh: sessions,
	Revoke: users, UserInfo: users, PasswordChange: users,
	APIKeyCreate: apiKeys, APIKeyList: apiKeys, APIKeyGet: apiKeys, APIKeyUpdate: apiKeys, APIKeyState: apiKeys, APIKeyDelete: apiKeys,
	Alerts: projects, ProjectsMetadata: dashboard,
}

// Resource is what Palette counts calls of e by: the prefix of its path in the table of limits; "" where there is none.
func Resource(e Endpoint) string { return string(resources[e]) }

// over tells whether a call of e is beyond its resource's limit. The lock is held. The buckets go by the machine's
// time, not by the stand-in's clock: setting a clock fills none.
func (s *Server) over(e Endpoint) bool {
	of := resources[e]
	if s.opts.rateLimit <= 0 || of == unlimited {
		return false
	}
	bucket := s.counts.buckets[of]
	if bucket == nil {
		burst := s.opts.burst
		if burst <= 0 {
			burst = BurstFactor * s.opts.rateLimit
		}
		bucket = rate.NewLimiter(rate.Limit(s.opts.rateLimit), burst)
		s.counts.buckets[of] = bucket
	}
	return !bucket.Allow()
}

// tooMany is the answer to a call beyond the limit. Palette documents no header that says when to come again.
func (s *Server) tooMany() answer {
	a := fail(http.StatusTooManyRequests, "TooManyRequests", "more requests than the limit allows")
	if s.opts.retryAfter > 0 {
		seconds := max(1, int((s.opts.retryAfter+time.Second-1)/time.Second))
		a.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	}
	return a
}

// SetRateLimit changes the calls a second of each resource and, with it, its burst; 0 is no limit. The buckets are full
// then.
func (s *Server) SetRateLimit(perSecond int) { s.setLimits(perSecond, 0) }

// SetBurst changes how many calls of a resource go at once. The buckets are full then.
func (s *Server) SetBurst(calls int) {
	s.mu.Lock()
	perSecond := s.opts.rateLimit
	s.mu.Unlock()
	s.setLimits(perSecond, calls)
}

func (s *Server) setLimits(perSecond, burst int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.rateLimit, s.opts.burst = perSecond, burst
	clear(s.counts.buckets)
}
