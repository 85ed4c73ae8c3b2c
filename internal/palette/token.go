package palette

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// DefaultTokenLife is how long a token lives that does not say so itself: Palette's
	// default (authTokenSettings, 15 to 1440 minutes).
	DefaultTokenLife = 15 * time.Minute
	// MaxTokenLife is the longest that a tenant can set (authTokenSettings, 1440 minutes).
	MaxTokenLife = 1440 * time.Minute
	// maxTokenLength bounds a token or an API key, in bytes, so that a lease with eight of them stays
	// well below the 1 MiB that Vault's raft storage takes for an entry.
	maxTokenLength = 16 << 10
)

// Token is an authorization token of Palette.
type Token struct {
	Raw Secret
	// Life is how long the token lives from its making on, always more than zero: exp
	// minus iat, so that a clock that differs from Palette's does no harm.
	Life time.Duration
	// ExpiresAt is the end of that life by our clock, counted from before the request was
	// sent: at that time the token is dead at Palette too.
	ExpiresAt time.Time
	// PasswordReset: Palette has answered IsPasswordReset to a system administrator's login.
	PasswordReset bool
}

// algorithms are those of RFC 7518 and 8037. The signature is Palette's business; the
// parser only wants to know which to expect.
var algorithms = []jose.SignatureAlgorithm{
	jose.HS256, jose.HS384, jose.HS512, jose.RS256, jose.RS384, jose.RS512,
	jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

// lifeOf reads how long a token lives. A token that is no JWT, or has no exp, says
// nothing: 15 minutes. One with exp and no iat is counted from now, by Palette's clock
// where that is known.
func lifeOf(raw Secret, now time.Time) time.Duration {
	parsed, err := jwt.ParseSigned(raw.Reveal(), algorithms)
	if err != nil {
		return DefaultTokenLife
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Expiry == nil {
		return DefaultTokenLife
	}
	if claims.IssuedAt == nil {
		return claims.Expiry.Time().Sub(now)
	}
	return claims.Expiry.Time().Sub(claims.IssuedAt.Time())
}

// tokenID is the form of a jti that is taken for a token's name.
var tokenID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// TokenID names a token, and opens nothing: the token's jti where it has one that is fit for a log, else
// a digest of the token.
func TokenID(raw Secret) string {
	var claims struct {
		ID string `json:"jti"`
	}
	if parts := strings.Split(raw.Reveal(), "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &claims) // what cannot be read names nothing
	}
	if tokenID.MatchString(claims.ID) && !strings.Contains(claims.ID, "eyJ") { // no token is the name of a token
		return claims.ID
	}
	sum := sha256.Sum256([]byte(raw.Reveal()))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

// userToken is the schema v1UserToken, the answer to a login and to a refresh. The answer to a system
// administrator's login has IsPasswordReset in place of isMfa.
type userToken struct {
	Authorization   Secret `json:"Authorization"`
	IsMFA           bool   `json:"isMfa"`
	IsPasswordReset bool   `json:"IsPasswordReset"`
}

// FitsHeader tells whether a text can be sent as a header's value as it stands: printable
// ASCII without spaces.
func FitsHeader(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// unusable says what keeps a token or an API key that an answer holds from being sent in a
// header, nothing where it can be.
func unusable(what string, s Secret) string {
	switch {
	case len(s) > maxTokenLength:
		return "the answer's " + what + " is longer than 16 KiB"
	case !FitsHeader(s.Reveal()):
		return "the answer's " + what + " holds characters that no " + what + " has"
	}
	return ""
}

// token reads the token out of the answer to a login or a refresh. Errors are *[Error],
// of kind Malformed, and *[MFAError].
func (c *Client) token(op string, a answer) (Token, error) {
	var says userToken
	if err := c.decode(op, a, &says); err != nil {
		return Token{}, err
	}
	raw := says.Authorization
	if says.IsMFA {
		return Token{}, &MFAError{Host: c.host, Token: raw}
	}
	if problem := unusable("token", raw); problem != "" {
		return Token{}, c.failure(op, Malformed, problem)
	}
	offset, _ := c.clock.offset()
	life := lifeOf(raw, a.sent.Add(offset))
	if life <= 0 {
		return Token{}, c.failure(op, Malformed, "the token is dead on arrival (its exp is not after its iat)")
	}
	return Token{Raw: raw, Life: life, ExpiresAt: a.sent.Add(life), PasswordReset: says.IsPasswordReset}, nil
}
