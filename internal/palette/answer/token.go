package answer

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

	"vault-plugin-secrets-palette/internal/palette/secret"
	"vault-plugin-secrets-palette/internal/palette/transport"
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
	Raw secret.Text
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
func lifeOf(raw secret.Text, now time.Time) time.Duration {
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

// TokenID names a token, and opens nothing. It is the token's jti where that is fit for a log, else a
// digest of the token.
func TokenID(raw secret.Text) string {
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
	Authorization   secret.Text `json:"Authorization"`
	IsMFA           bool        `json:"isMfa"`
	IsPasswordReset bool        `json:"IsPasswordReset"`
}

// Unusable says what keeps a token or an API key that an answer holds from being sent in a
// header, nothing where it can be.
func Unusable(what string, s secret.Text) string {
	switch {
	case len(s) > maxTokenLength:
		return "the answer's " + what + " is longer than 16 KiB"
	case !transport.FitsHeader(s.Reveal()):
		return "the answer's " + what + " holds characters that no " + what + " has"
	}
	return ""
}

// ReadToken reads the token out of the answer to a login or a refresh, whose form its rule has looked at.
// offset is how far Palette's clock is before ours, 0 where that is not known. Errors are *[Error], of
// kind Malformed, and *[MFAError].
func ReadToken(op, host string, a *Reply, offset time.Duration) (Token, error) {
	var says userToken
	_ = json.Unmarshal(a.Body, &says) // isToken has done the same
	raw := says.Authorization
	if says.IsMFA {
		return Token{}, &MFAError{Host: host, Token: raw}
	}
	problem, life := Unusable("token", raw), lifeOf(raw, a.Sent.Add(offset))
	if problem == "" && life <= 0 {
		problem = "the token is dead on arrival (its exp is not after its iat)"
	}
	if problem != "" {
		return Token{}, &Error{Op: op, Host: host, Kind: Malformed, Cause: problem}
	}
	return Token{Raw: raw, Life: life, ExpiresAt: a.Sent.Add(life), PasswordReset: says.IsPasswordReset}, nil
}

// MFAError says that Palette wants a second factor of the account. Its token is of no use (an assumption:
// the document only says that isMfa "indicates the authentication flow using MFA"). Token is what came
// along, for a revocation; perhaps empty.
type MFAError struct {
	Host  string
	Token secret.Text
}

// Error implements error.
func (e *MFAError) Error() string {
	return "Palette (" + e.Host + ") asks the account for a second factor"
}
