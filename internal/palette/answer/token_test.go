package answer

import (
	"strconv"
	"testing"
	"time"

	"vault-plugin-secrets-palette/internal/palette/secret"

	"github.com/stretchr/testify/assert"
)

func TestLifeIsReadOffTheToken(t *testing.T) {
	jwt := func(header, claims string) secret.Text { return secret.Text(jwtOf(header, claims)) }
	at := func(d time.Duration) string { return strconv.FormatInt(epoch.Add(d).Unix(), 10) }
	const hs = `{"alg":"HS256"}`
	for _, c := range []struct {
		name  string
		token secret.Text
		want  time.Duration
	}{
		{"iat and exp", jwt(hs, `{"iat":`+at(0)+`,"exp":`+at(time.Hour)+`}`), time.Hour},
		{"of a clock that is a day off", jwt(hs, `{"iat":`+at(24*time.Hour)+`,"exp":`+at(25*time.Hour)+`}`), time.Hour},
		{"RS256", jwt(`{"alg":"RS256"}`, `{"iat":1000,"exp":1060}`), time.Minute},
		{"no exp", jwt(hs, `{"iat":`+at(0)+`}`), DefaultTokenLife},
		{"no iat: by our clock", jwt(hs, `{"exp":`+at(time.Minute)+`}`), time.Minute},
		{"no iat, and over", jwt(hs, `{"exp":`+at(-time.Minute)+`}`), -time.Minute},
		{"exp before iat", jwt(hs, `{"iat":1000,"exp":900}`), -100 * time.Second},
		{"claims of another type", jwt(hs, `{"exp":"later"}`), DefaultTokenLife},
		{"claims that are no JSON", jwt(hs, `later`), DefaultTokenLife},
		{"an algorithm that nobody knows", jwt(`{"alg":"XX1"}`, `{"iat":1000,"exp":1060}`), DefaultTokenLife},
		{"no JWT", "opaque", DefaultTokenLife},
	} {
		assert.Equal(t, c.want, lifeOf(c.token, epoch), c.name)
	}
}
