package palettetest

import "time"

// Lag is how long a change takes to be known everywhere at Palette. That there is one is public reports' word, not the
// documentation's.
type Lag struct {
	// For is how long after it was made a new password is refused, and a new API key.
	For time.Duration
	// OldPassword lets the password before the change log in meanwhile, as a replica that lags behind does. Without it
	// none does.
	OldPassword bool
}

// SetLag changes how long changes take. It counts for those that were made before, too.
func (s *Server) SetLag(lag Lag) { s.set(func(o *settings) { o.lag = lag }) }

// lags tells whether a change of that time, by the machine's, is not known everywhere. The lock is held.
func (s *Server) lags(changed time.Time) bool {
	return !changed.IsZero() && time.Since(changed) < s.opts.lag.For
}

// accepts tells whether a login with a password works. The lock is held.
func (s *Server) accepts(u *user, password string) bool {
	if s.lags(u.changed) {
		return s.opts.lag.OldPassword && password == u.before
	}
	return password == u.Password
}

// changePasswordOf changes a password. The lock is held.
func (s *Server) changePasswordOf(u *user, password string) {
	u.before, u.changed = u.Password, time.Now()
	u.Password = password
	s.state.passwords = append(s.state.passwords, password)
}
