package palettetest

import (
	"net/http"
	"time"
)

// ServeHTTP answers a request as a call that arrives over a connection. A test that plays the network between client
// and Palette hands its requests over with it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.http.Handler.ServeHTTP(w, r) }

// PlantToken makes a text that an earlier stand-in has issued a token of the account, in a session of its own. Its end
// is the exp in the text. It panics where there is no such account or no exp, which is a mistake in the test.
func (s *Server) PlantToken(email, org, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	expires, has := expiryOf(text)
	u := s.state.find(email, org)
	if u == nil || !has {
		panic("palettetest: PlantToken without an account or an exp")
	}
	now := s.now()
	s.state.tokens[text] = &token{text: text, session: &session{id: newID(), user: u, started: now}, issued: now, expires: expires}
	s.state.issued = append(s.state.issued, text)
}

// PlantKey makes an active API key of the account with a secret that an earlier stand-in has made. It panics where
// there is no such account, which is a mistake in the test.
func (s *Server) PlantKey(email, org, uid, name, secret string, expiry time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.state.find(email, org)
	if u == nil {
		panic("palettetest: PlantKey for an account that does not exist")
	}
	s.state.keys[uid] = &key{user: u, secret: secret, Key: Key{
		UID: uid, Name: name, UserUID: u.UID, Expiry: expiry.UTC(), Created: s.now().UTC(), Active: true,
	}}
	s.state.keyUIDs = append(s.state.keyUIDs, uid)
	s.state.keySecrets = append(s.state.keySecrets, secret)
}

// DeleteKey deletes an API key as Palette's console does. One that is not there is no mistake.
func (s *Server) DeleteKey(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.state.keys, uid)
}
