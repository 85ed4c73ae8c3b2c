package answer

import (
	"encoding/base64"
	"strings"
	"testing"

	"vault-plugin-secrets-palette/internal/palette/secret"

	"github.com/stretchr/testify/assert"
)

// A token's name is its jti where that is fit for a log, else a digest; it never holds the token.
func TestTokenID(t *testing.T) {
	part := base64.RawURLEncoding.EncodeToString
	jwtOf := func(claims string) string {
		return part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(claims)) + ".c2lnbmF0dXJl"
	}
	for _, c := range []struct{ token, want string }{
		{jwtOf(`{"jti":"5f0e1d2c"}`), "5f0e1d2c"},
		{jwtOf(`{"jti":"5e3c7f60-0b1a-4c3f-9d2e-1a2b3c4d5e6f","exp":1}`), "5e3c7f60-0b1a-4c3f-9d2e-1a2b3c4d5e6f"},
		{jwtOf(`{"jti":"` + strings.Repeat("a", 128) + `"}`), strings.Repeat("a", 128)},
		{jwtOf(`{"jti":"` + strings.Repeat("a", 129) + `"}`), ""},
		{jwtOf(`{"jti":""}`), ""},
		{jwtOf(`{"jti":7}`), ""},
		{jwtOf(`{"jti":"a b"}`), ""},
		{jwtOf(`{"jti":"a\nb"}`), ""},
		{jwtOf(`{"jti":"<script>"}`), ""},
		{jwtOf(`{"jti":"eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"}`), ""},
		{jwtOf(`{}`), ""},
		{jwtOf(`not JSON`), ""},
		{"no-jwt-at-all", ""},
		{"a.%%%.c", ""},
		{"", ""},
	} {
		got := TokenID(secret.Text(c.token))
		if c.want != "" {
			assert.Equal(t, c.want, got, c.token)
			continue
		}
		assert.Regexp(t, "^sha256:[0-9a-f]{32}$", got, c.token)
		assert.Equal(t, got, TokenID(secret.Text(c.token)))
		assert.NotEqual(t, got, TokenID(secret.Text(c.token+"x")))
	}
}
