package palettetest

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// state is what Palette would keep in its database; Server.mu guards it.
type state struct {
	users    []*user
	tenants  map[string]string // organization to the tenant's uid
	projects map[string]string // organization to the uid of its project
	tokens   map[string]*token // every token ever issued
	issued   []string
	keys     map[string]*key // uid to key; deleted ones are gone
	keyUIDs  []string        // in the order of making, deleted ones too
	// passwords and keySecrets are all there have been.
	passwords, keySecrets []string
}

type user struct {
	User
	before    string      // the password before the last change
	changed   time.Time   // when that was, by the machine's time
	failures  []time.Time // failed logins within LockoutTime
	suspended time.Time   // until then
}

type session struct {
	id      string
	user    *user
	started time.Time
	ended   bool
}

type token struct {
	text            string
	session         *session
	issued, expires time.Time
	revoked         bool
	mfa             bool // Palette wants a second factor: it opens nothing
}

func newState() state {
	return state{tenants: map[string]string{}, projects: map[string]string{}, tokens: map[string]*token{}, keys: map[string]*key{}}
}

// alive: RFC 7519 section 4.1.4 has a token die at its exp, not after it.
func (t *token) alive(now time.Time) bool {
	return !t.mfa && !t.revoked && !t.session.ended && now.Before(t.expires)
}

// now is the time by the stand-in's clock.
func (s *Server) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// SetClock puts the stand-in's clock ahead of the machine's by d, or behind it where d is negative. From now on it counts for
// the Date of answers, for the times in tokens and for all that expires.
func (s *Server) SetClock(d time.Duration) { s.offset.Store(int64(d)) }

// find is the user of that email, which is taken without case (assumption), and organization, or the system administrator
// of that name, or nil.
func (st *state) find(email, org string) *user {
	for _, u := range st.users {
		if u.Username == "" && strings.EqualFold(u.Email, email) && u.Org == org {
			return u
		}
	}
	if org == "" {
		return st.system(email)
	}
	return nil
}

func (st *state) byUID(uid string) *user {
	for _, u := range st.users {
		if u.UID == uid {
			return u
		}
	}
	return nil
}

// withEmail lists the users of that email, of all organizations.
func (st *state) withEmail(email string) []*user {
	var found []*user
	for _, u := range st.users {
		if strings.EqualFold(u.Email, email) {
			found = append(found, u)
		}
	}
	return found
}

// AddUser adds an account, or replaces the one of that email and organization and ends nothing.
func (s *Server) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.UID == "" {
		u.UID = newID()
	}
	if s.state.tenants[u.Org] == "" {
		s.state.tenants[u.Org], s.state.projects[u.Org] = newID(), newID()
	}
	s.state.passwords = append(s.state.passwords, u.Password)
	if old := s.state.find(cmp.Or(u.Username, u.Email), u.Org); old != nil {
		old.User = u
		return
	}
	s.state.users = append(s.state.users, &user{User: u})
}

// User is the account of that email and organization as it is now, password and uid included; false if there is none.
func (s *Server) User(email, org string) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.state.find(email, org); u != nil {
		return u.User, true
	}
	return User{}, false
}

// SetPassword changes a password as an administrator does: no policy, and sessions go on. It panics where there is no
// such account, which is a mistake in the test.
func (s *Server) SetPassword(email, org, newPassword string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.state.find(email, org)
	if u == nil {
		panic("palettetest: SetPassword for an account that does not exist")
	}
	s.changePasswordOf(u, newPassword)
}

// Suspended reports whether failed logins have suspended the account at present.
func (s *Server) Suspended(email, org string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.state.find(email, org)
	return u != nil && s.now().Before(u.suspended)
}

// LiveTokens are the tokens that open something now, in the order of issue.
func (s *Server) LiveTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []string
	now := s.now()
	for _, text := range s.state.issued {
		if s.state.tokens[text].alive(now) {
			live = append(live, text)
		}
	}
	return live
}

// Alive reports whether the token opens something now.
func (s *Server) Alive(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.state.tokens[token]
	return t != nil && t.alive(s.now())
}

// Issued are all tokens ever answered, in the order of issue.
func (s *Server) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.state.issued)
}

// EndSession ends the session of a token with all its tokens, as Palette's console does.
func (s *Server) EndSession(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.state.tokens[token]; t != nil {
		t.session.ended = true
	}
}
