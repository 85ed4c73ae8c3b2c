package palettetest

import (
	"net/http"
	"slices"
	"time"
)

// loginRequest is the OpenAPI document's v1AuthLogin.
type loginRequest struct {
	EmailID  string `json:"emailId"`
	Org      string `json:"org"`
	Password string `json:"password"`
}

// login is POST /v1/auth/authenticate: a new session and its first token.
func (s *Server) login(c *call) answer {
	setCookie, refusal := c.setCookie()
	if refusal != nil {
		return *refusal
	}
	var request loginRequest
	if refusal = c.decode(&request); refusal != nil {
		return *refusal
	}
	if request.EmailID == "" || request.Password == "" {
		return badRequest("emailId and password are required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, refusal := s.account(request)
	if refusal != nil {
		return *refusal
	}
	return s.enterAs(c, u, request.Password, setCookie)
}

// enterAs answers a login of an account that there is. The lock is held.
func (s *Server) enterAs(c *call, u *user, password string, setCookie bool) answer {
	now := s.now()
	if now.Before(u.suspended) {
		return fail(http.StatusForbidden, "AccountSuspended", "the account is suspended after failed logins")
	}
	if !s.accepts(u, password) {
		s.loginFailed(u, now)
		return *wrongCredentials()
	}
	u.failures = nil
	return s.answerToken(c, &session{id: newID(), user: u, started: now}, setCookie)
}

// account finds who logs in. The organization may be left out by a user who is in one alone.
func (s *Server) account(request loginRequest) (*user, *answer) {
	if request.Org != "" {
		if u := s.state.find(request.EmailID, request.Org); u != nil {
			return u, nil
		}
		s.counts.failedLogins++
		return nil, wrongCredentials()
	}
	switch found := s.state.withEmail(request.EmailID); len(found) {
	case 0:
		s.counts.failedLogins++
		return nil, wrongCredentials()
	case 1:
		return found[0], nil
	default:
		a := badRequest("org is required: the user is in several organizations")
		return nil, &a
	}
}

// loginFailed counts a wrong password, and suspends the account where the lockout is on.
func (s *Server) loginFailed(u *user, now time.Time) {
	s.counts.failedLogins++
	if !s.opts.lockout {
		return
	}
	u.failures = slices.DeleteFunc(u.failures, func(t time.Time) bool { return now.Sub(t) >= LockoutTime })
	u.failures = append(u.failures, now)
	if len(u.failures) >= LockoutFailures {
		u.failures, u.suspended = nil, now.Add(LockoutTime)
	}
}

// wrongCredentials does not tell whether the account exists.
func wrongCredentials() *answer {
	a := fail(http.StatusUnauthorized, "InvalidCredentials", "the account or the password is wrong")
	return &a
}
