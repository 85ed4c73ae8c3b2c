package palettetest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// claims are what a token has in it. sessionId is an assumption; Palette says only that a session has an id.
type claims struct {
	jwt.Claims
	SessionID string `json:"sessionId"`
	Email     string `json:"email"`
	TenantUID string `json:"tenantUid"`
}

// userToken is the OpenAPI document's v1UserToken.
type userToken struct {
	Authorization string `json:"Authorization,omitempty"`
	IsMfa         bool   `json:"isMfa"`
}

func newSigner() (jose.Signer, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // see newID
	options := (&jose.SignerOptions{}).WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, options)
	if err != nil {
		return nil, fmt.Errorf("making the signer of tokens: %w", err)
	}
	return signer, nil
}

// answerToken issues a token in the session and answers it as login and refresh do. The lock is held.
func (s *Server) answerToken(c *call, in *session, setCookie bool) answer {
	if c.fault.NoToken {
		return ok(http.StatusOK, userToken{})
	}
	mfa := in.user.MFA || c.fault.MFA
	t, err := s.issue(in, c.fault)
	if err != nil {
		return fail(http.StatusInternalServerError, "InternalError", err.Error())
	}
	t.mfa = mfa
	a := ok(http.StatusOK, userToken{Authorization: t.text, IsMfa: mfa})
	if setCookie {
		s.counts.cookies++
		a.cookie = &http.Cookie{
			Name: "Authorization", Value: t.text, Path: "/",
			HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode,
		}
	}
	return a
}

// issue makes a token. Its times are whole seconds, as in a JWT, so it dies up to a second before its full life is
// over, counted from the answer.
func (s *Server) issue(in *session, f Fault) (*token, error) {
	issued := s.now().Truncate(time.Second)
	t := &token{session: in, issued: issued, expires: issued.Add(s.opts.lifetime).Truncate(time.Second)}
	if f.Expired {
		t.expires = issued
	}
	if f.Token != "" {
		t.text = f.Token
		if expires, has := expiryOf(f.Token); has {
			t.expires = expires
		}
	} else {
		text, err := s.sign(t)
		if err != nil {
			return nil, err
		}
		t.text = text
	}
	s.state.tokens[t.text] = t
	s.state.issued = append(s.state.issued, t.text)
	return t, nil
}

func (s *Server) sign(t *token) (string, error) {
	u := t.session.user
	text, err := jwt.Signed(s.signer).Claims(claims{
		Claims: jwt.Claims{
			Subject:  u.UID,
			ID:       newID(),
			IssuedAt: jwt.NewNumericDate(t.issued),
			Expiry:   jwt.NewNumericDate(t.expires),
		},
		SessionID: t.session.id,
		Email:     u.Email,
		TenantUID: s.state.tenants[u.Org],
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return text, nil
}

// expiryOf reads exp off a token that a test made up; whoever signed it.
func expiryOf(text string) (time.Time, bool) {
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256})
	if err != nil {
		return time.Time{}, false
	}
	var c jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil || c.Expiry == nil {
		return time.Time{}, false
	}
	return c.Expiry.Time(), true
}

// setCookie reads the query parameter of that name, which defaults to true.
func (c *call) setCookie() (bool, *answer) {
	query := c.URL.Query()
	if !query.Has("setCookie") {
		return true, nil
	}
	set, err := strconv.ParseBool(query.Get("setCookie"))
	if err != nil {
		a := badRequest("setCookie must be true or false")
		return false, &a
	}
	return set, nil
}

// tokenUser is the user of the call's Authorization header. The lock is held.
func (s *Server) tokenUser(c *call) (*user, *answer) {
	text := c.Header.Get("Authorization")
	switch {
	case text == "":
		return nil, unauthorized("the Authorization header is missing")
	case strings.HasPrefix(strings.ToLower(text), "bearer "):
		return nil, unauthorized("the Authorization header takes the token alone, without Bearer")
	}
	t := s.state.tokens[text]
	if t == nil || !t.alive(s.now()) {
		return nil, unauthorized("the token is invalid or has expired")
	}
	return t.session.user, s.barred(c, t.session.user)
}

// caller is the user of the call's Authorization or ApiKey header. Where both are sent the token counts
// (assumption). The lock is held.
func (s *Server) caller(c *call) (*user, *answer) {
	secret := c.Header.Get("ApiKey")
	if c.Header.Get("Authorization") != "" || secret == "" {
		return s.tokenUser(c)
	}
	for _, k := range s.state.keys {
		if k.secret == secret && s.opens(k) {
			return k.user, nil
		}
	}
	return nil, unauthorized("the API key is invalid or has expired")
}
