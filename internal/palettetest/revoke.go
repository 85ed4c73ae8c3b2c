package palettetest

import "net/http"

// revokeRequest is the OpenAPI document's v1AuthTokenRevoke.
type revokeRequest struct {
	Tokens []string `json:"tokens"`
}

// revoke is POST /v1/users/auth/tokens/revoke: all of the named tokens die, or none.
func (s *Server) revoke(c *call) answer {
	if s.opts.noRevoke {
		return fail(http.StatusNotFound, "ResourceNotFound", "no such path")
	}
	var request revokeRequest
	if refusal := c.decode(&request); refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.largestRevoke = max(s.counts.largestRevoke, len(request.Tokens))
	u, refusal := s.tokenUser(c)
	if refusal != nil {
		return *refusal
	}
	named, refusal := s.revocable(u, request.Tokens)
	if refusal != nil {
		return *refusal
	}
	for _, t := range named {
		t.revoked = true
		if s.opts.revokeScope == BySession {
			t.session.ended = true
		}
	}
	return ok(http.StatusNoContent, nil)
}

// revocable finds the tokens that u may end; it refuses them all for one that is wrong.
func (s *Server) revocable(u *user, texts []string) ([]*token, *answer) {
	refuse := func(a answer) ([]*token, *answer) { return nil, &a }
	if len(texts) == 0 {
		return refuse(badRequest("tokens is required"))
	}
	now := s.now()
	seen := make(map[string]bool, len(texts))
	var named []*token
	for _, text := range texts {
		if seen[text] {
			return refuse(badRequest("tokens must be unique"))
		}
		seen[text] = true
		t := s.state.tokens[text]
		switch {
		case t != nil && t.session.user != u:
			return refuse(fail(http.StatusForbidden, "OperationForbidden", "a token belongs to another user"))
		case t != nil && t.alive(now):
			named = append(named, t)
		case s.opts.strictRevoke:
			return refuse(badRequest("a token is unknown or has expired"))
		}
	}
	return named, nil
}
