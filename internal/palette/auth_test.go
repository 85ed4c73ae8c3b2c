package palette_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// authenticated are the calls that take an Auth, with secrets in all that they send.
var authenticated = []struct {
	name string
	call func(*testing.T, *palette.Client, palette.Auth) error
}{
	{"user info", func(t *testing.T, c *palette.Client, a palette.Auth) error {
		_, err := c.UserInfo(t.Context(), a)
		return err
	}},
	{"password", func(t *testing.T, c *palette.Client, a palette.Auth) error {
		return c.ChangePassword(t.Context(), a, palette.PasswordChange{"vault@example.com", "Leaky-old", "Leaky-old-and-\"new&"})
	}},
	{"create", func(t *testing.T, c *palette.Client, a palette.Auth) error {
		_, _, err := c.CreateAPIKey(t.Context(), a, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch})
		return err
	}},
	{"update", func(t *testing.T, c *palette.Client, a palette.Auth) error {
		return c.UpdateAPIKey(t.Context(), a, "u", palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch})
	}},
	{"delete", func(t *testing.T, c *palette.Client, a palette.Auth) error {
		return c.DeleteAPIKey(t.Context(), a, "u")
	}},
	{"list", func(t *testing.T, c *palette.Client, a palette.Auth) error {
		_, err := c.ListAPIKeys(t.Context(), a)
		return err
	}},
}

// Each call, by each form of Auth, against a server that puts all that it was sent into an
// error: the headers are as Palette wants them, and no secret comes out.
func TestCallsAuthenticateAndLeakNothing(t *testing.T) {
	for _, c := range []struct {
		name       string
		auth       palette.Auth
		token, key string
	}{
		{"token", palette.Auth{Token: "Leaky-token"}, "Leaky-token", ""},
		{"key", palette.Auth{APIKey: "Leaky/key+="}, "", "Leaky/key+="},
		{"both", palette.Auth{Token: "Leaky-token", APIKey: "Leaky/key+="}, "Leaky-token", ""},
		{"none", palette.Auth{}, "", ""},
	} {
		for _, made := range authenticated {
			t.Run(c.name+" "+made.name, func(t *testing.T) {
				var got http.Header
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got = r.Header
					body, _ := io.ReadAll(r.Body)
					w.WriteHeader(http.StatusForbidden)
					said := strings.Join([]string{"you sent", r.Header.Get("Authorization"), r.Header.Get("ApiKey"), string(body)}, " ")
					_ = json.NewEncoder(w).Encode(map[string]string{"code": said, "message": said, "ref": said, "apiKey": "Leaky-made"})
				}))
				defer s.Close()
				client := wiretest.NewClient(t, exchange.NewProcess(), palette.Connection{Address: s.URL, RequestTimeout: time.Minute})
				err := made.call(t, client, c.auth)
				require.ErrorContains(t, err, "you sent")
				assert.Equal(t, answer.Rejected, answer.KindOf(err))
				assert.NotContains(t, err.Error(), "Leaky")
				assert.NotContains(t, err.Error(), "and-")
				assert.Equal(t, []string{c.token, c.key}, []string{got.Get("Authorization"), got.Get("ApiKey")})
			})
		}
	}
}

// A key that comes under another status than Palette's is not quoted.
func TestKeyInAnUnexpectedAnswerIsNotQuoted(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"apiKey":"Leaky-key","uid":"u","message":"made Leaky-key"}`)
	}))
	defer s.Close()
	client := wiretest.NewClient(t, exchange.NewProcess(), palette.Connection{Address: s.URL, RequestTimeout: time.Minute})
	_, _, err := client.CreateAPIKey(t.Context(), palette.Auth{Token: "t"}, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch})
	require.ErrorContains(t, err, "this is not Palette's answer (status 200, ")
	assert.Equal(t, answer.Foreign, answer.KindOf(err))
	assert.NotContains(t, err.Error(), "Leaky")
}
