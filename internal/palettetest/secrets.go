package palettetest

import "slices"

// Passwords are all passwords that accounts have had, those of New among them, in the order in which they were set.
func (s *Server) Passwords() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.state.passwords)
}

// KeySecrets are all API keys (the secrets, not the uids) ever made, deleted ones too, in the order of making.
func (s *Server) KeySecrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.state.keySecrets)
}
