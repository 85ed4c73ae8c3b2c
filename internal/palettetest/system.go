package palettetest

import (
	"maps"
	"net/http"
)

// Console is a system administrator. A stand-in has it where it is given WithUser(Console).
var Console = User{Username: "admin", Password: "Console-Horse-8-Battery"}

// systemRequest is the body of a system administrator's login. Source: Palette's documentation of the system console.
type systemRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// systemToken is the answer to it. Source: as systemRequest.
type systemToken struct {
	Authorization   string `json:"Authorization,omitempty"`
	IsPasswordReset bool   `json:"IsPasswordReset"`
}

// systemLogin is POST /v1/auth/syslogin: a new session of a system administrator and its first token. The OpenAPI document
// does not have it, nor does the documentation know a query.
func (s *Server) systemLogin(c *call) answer {
	if c.URL.RawQuery != "" {
		return badRequest("the call takes no query")
	}
	var request systemRequest
	if refusal := c.decode(&request); refusal != nil {
		return *refusal
	}
	if request.Username == "" || request.Password == "" {
		return badRequest("username and password are required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.state.system(request.Username)
	if u == nil || u.Passkey { // which disables the call; its answer is an assumption
		s.counts.failedLogins++
		return *wrongCredentials()
	}
	a := s.enterAs(c, u, request.Password, false)
	if token, is := a.body.(userToken); is {
		a.body = systemToken{token.Authorization, u.PasswordReset}
	}
	return a
}

// system is the system administrator of that name, taken with its case (assumption), or nil.
func (st *state) system(username string) *user {
	for _, u := range st.users {
		if u.Username != "" && u.Username == username {
			return u
		}
	}
	return nil
}

// WithSystemRefusal answers a system administrator's calls of these endpoints with an error of that status. What
// Palette lets such a token do is not documented. By default it may ask for its user, be refreshed and be revoked, as
// other tokens. What else the stand-in has is for tenants, and is answered 403 (assumption).
func WithSystemRefusal(status int, endpoints ...Endpoint) Option {
	return func(s *settings) {
		s.systemRefusals = maps.Clone(s.systemRefusals)
		if s.systemRefusals == nil {
			s.systemRefusals = make(map[Endpoint]int)
		}
		for _, e := range endpoints {
			s.systemRefusals[e] = status
		}
	}
}

// SetSystemRefusal changes that; status 0 lets the calls be made.
func (s *Server) SetSystemRefusal(status int, endpoints ...Endpoint) {
	s.set(WithSystemRefusal(status, endpoints...))
}

// barred is the refusal of a call to a system administrator; nil where the user may make it. The lock is held.
func (s *Server) barred(c *call, u *user) *answer {
	if u.Username == "" {
		return nil
	}
	status, told := s.opts.systemRefusals[c.endpoint]
	if !told && c.endpoint != UserInfo && c.endpoint != Refresh && c.endpoint != Revoke {
		status = http.StatusForbidden
	}
	if status == 0 {
		return nil
	}
	a := fail(status, "SystemAdministrator", "the call is not for system administrators")
	return &a
}
