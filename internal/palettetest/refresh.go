package palettetest

// refresh is GET /v1/auth/refresh/{token}: a new token of the same session; the old one lives on to its own exp.
func (s *Server) refresh(c *call) answer {
	setCookie, refusal := c.setCookie()
	if refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.state.tokens[c.PathValue("token")]
	now := s.now()
	if t == nil || !t.alive(now) {
		return *unauthorized("the token is invalid or has expired")
	}
	if barred := s.barred(c, t.session.user); barred != nil {
		return *barred
	}
	if limit := s.opts.sessionTimeout; limit > 0 && now.Sub(t.session.started) > limit {
		return *unauthorized("the session has timed out")
	}
	return s.answerToken(c, t.session, setCookie)
}
