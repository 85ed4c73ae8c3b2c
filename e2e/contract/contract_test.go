package contract

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const expiry = "2999-01-02T03:04:05Z"

var admin = palettetest.User{
	Email: "admin@example.com", Org: "example", Password: "Correct-Horse-7-Battery", TenantAdmin: true, UID: "admin-uid",
}

// session is a scenario under way: names in braces in its calls stand for what earlier answers held.
type session struct {
	t      *testing.T
	url    string
	client *http.Client
	known  map[string]string
}

func (s *session) call(method, path, auth, body string, want int) {
	s.t.Helper()
	expand := func(text string) string {
		for name, value := range s.known {
			text = strings.ReplaceAll(text, "{"+name+"}", value)
		}
		return text
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+expand(path), strings.NewReader(expand(body)))
	require.NoError(s.t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if name, value, found := strings.Cut(expand(auth), ": "); found {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, want, response.StatusCode, "%s %s: %s", method, path, text)
	var answer map[string]any
	if json.Unmarshal(text, &answer) == nil {
		for _, name := range []string{"Authorization", "apiKey", "uid"} {
			if value, is := answer[name].(string); is && value != "" {
				s.known[name] = value
			}
		}
	}
}

// TestStandInKeepsTheContract goes through each call of the stand-in, accepted and refused.
func TestStandInKeepsTheContract(t *testing.T) {
	t.Parallel()
	standIn := palettetest.New(t, palettetest.WithUser(admin), palettetest.WithUser(palettetest.Console), palettetest.AllowLiveTokens())
	recorded := newRecorder(load(t), http.DefaultTransport)
	s := &session{t: t, url: standIn.URL(), client: &http.Client{Transport: recorded}, known: map[string]string{}}
	const (
		login    = "/v1/auth/authenticate"
		password = "/v1/users/password/change"
		revoke   = "/v1/users/auth/tokens/revoke"
		token    = "Authorization: {Authorization}"
		key      = "ApiKey: {apiKey}"
		right    = `{"emailId":"admin@example.com","org":"example","password":"Correct-Horse-7-Battery"}`
		rename   = `{"emailId":"admin@example.com","currentPassword":"Correct-Horse-7-Battery","newPassword":`
	)
	for _, step := range []struct {
		method, path, auth, body string
		status                   int
	}{
		{"POST", login, "", `{"emailId":"admin@example.com","org":"example","password":"wrong"}`, 401},
		{"POST", login, "", `{"emailId":"admin@example.com","unknown":1}`, 400},
		{"POST", login, "", ``, 415},
		{"POST", login + "?setCookie=perhaps", "", right, 400},
		{"POST", login, "", right, 200},
		{"POST", login + "?setCookie=false", "", right, 200},
		{"GET", "/v1/auth/refresh/{Authorization}?setCookie=false", "", "", 200},
		{"GET", "/v1/auth/refresh/{Authorization}", "", "", 200},
		{"GET", "/v1/auth/refresh/nothing?setCookie=false", "", "", 401},
		{"GET", "/v1/users/info", token, "", 200},
		{"GET", "/v1/users/info", "", "", 401},
		{"GET", "/v1/dashboard/projects/metadata", token, "", 200},
		{"GET", "/v1/dashboard/projects/metadata?name=Default", "", "", 401},
		{"GET", "/v1/apiKeys", token, "", 200},
		{"POST", "/v1/apiKeys", token, `{"metadata":{"name":"a"}}`, 400},
		{"POST", "/v1/apiKeys", token, `{"metadata":{"name":"a"},"spec":{"expiry":"` + expiry + `"}}`, 201},
		{"POST", "/v1/apiKeys", token, `{"metadata":{"name":"b","annotations":{"x":"y"},"labels":{"x":"y"}},` +
			`"spec":{"expiry":"` + expiry + `","userUid":"admin-uid"}}`, 201},
		{"GET", "/v1/apiKeys", key, "", 200},
		{"GET", "/v1/apiKeys", "", "", 401},
		{"GET", "/v1/apiKeys/{uid}", key, "", 200},
		{"GET", "/v1/apiKeys/nothing", token, "", 404},
		{"PUT", "/v1/apiKeys/{uid}", token, `{"metadata":{"name":"c"},"spec":{"expiry":"` + expiry + `"}}`, 204},
		{"PUT", "/v1/apiKeys/{uid}", token, `{"spec":{"expiry":"tomorrow"}}`, 400},
		{"PUT", "/v1/apiKeys/{uid}/state", token, `{"isActive":false}`, 204},
		{"PUT", "/v1/apiKeys/{uid}/state", token, `{"isActive":"no"}`, 400},
		{"PATCH", "/v1/apiKeys/{uid}", token, `{"isActive":true}`, 204},
		{"PATCH", "/v1/apiKeys/nothing", token, `{"isActive":true}`, 404},
		{"DELETE", "/v1/apiKeys/{uid}", token, "", 204},
		{"DELETE", "/v1/apiKeys/{uid}", token, "", 404},
		{"PATCH", password, token, rename + `"short"}`, 400},
		{"PATCH", password, token, rename + `"Another-Horse-8-Battery"}`, 204},
		{"POST", revoke, token, `{"tokens":["{Authorization}","{Authorization}"]}`, 400},
		{"POST", revoke, token, `{"tokens":["{Authorization}"]}`, 204},
		{"POST", revoke, token, `{"tokens":["{Authorization}"]}`, 401},
		{"POST", systemLoginPath, "", `{"username":"admin","password":"wrong"}`, 401},
		{"POST", systemLoginPath, "", `{"emailId":"admin","password":"Console-Horse-8-Battery"}`, 400},
		{"POST", systemLoginPath, "", `{"username":"admin","password":"Console-Horse-8-Battery"}`, 200},
		{"GET", "/v1/users/info", token, "", 200},
		{"GET", "/v1/apiKeys", token, "", 403},
	} {
		s.call(step.method, step.path, step.auth, step.body, step.status)
	}
	assert.Empty(t, recorded.broken)
	for _, operation := range []string{
		"v1Authenticate", "systemLogin", "v1AuthRefresh", "v1UsersAuthTokensRevoke", "v1UsersInfoGet", "V1UsersPasswordChange",
		"v1ProjectsMetadata", "v1ApiKeysList", "v1ApiKeysCreate", "v1ApiKeysUidGet", "v1ApiKeysUidUpdate", "v1ApiKeysUidState",
		"v1ApiKeysUidActiveState", "v1ApiKeysUidDelete",
	} {
		assert.Positive(t, recorded.accepted[operation], "%s was never accepted", operation)
		assert.Positive(t, recorded.refused[operation], "%s was never refused", operation)
	}
	t.Logf("checked against the document: %d calls of %d operations", total(recorded.accepted)+total(recorded.refused), len(recorded.accepted))
}

func total(counts map[string]int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}

// TestContractCanBreak shows that wrong pairs are found, and the right ones beside them are not.
func TestContractCanBreak(t *testing.T) {
	t.Parallel()
	const (
		login = `{"emailId":"a@example.com","org":"example","password":"p"}`
		token = `{"Authorization":"x","isMfa":false}`
		oops  = `{"code":"a","message":"b","ref":"c","details":{"field":"d"}}`
		made  = `{"apiKey":"x","uid":"y"}`
	)
	tests := []struct {
		name, method, path, request string
		status                      int
		response, breaks            string // breaks is part of the complaint
	}{
		{"right login", "POST", "/v1/auth/authenticate?setCookie=false", login, 200, token, ""},
		{"right system login", "POST", systemLoginPath, `{"username":"a","password":"p"}`, 200, `{"Authorization":"x","IsPasswordReset":true}`, ""},
		{"system login answered as a user's", "POST", systemLoginPath, `{"username":"a","password":"p"}`, 200, token, `"isMfa" is unsupported`},
		{"user's login accepted as a system login", "POST", systemLoginPath, login, 200, `{"Authorization":"x","IsPasswordReset":true}`, `"emailId" is unsupported`},
		{"right error", "POST", "/v1/auth/authenticate", login, 401, oops, ""},
		{"right error to a wrong request", "POST", "/v1/auth/authenticate", `{"user":1}`, 400, oops, ""},
		{"right revocation", "POST", "/v1/users/auth/tokens/revoke", `{"tokens":["a"]}`, 204, "", ""},
		{"unknown field accepted", "POST", "/v1/auth/authenticate", `{"emailId":"a","user":"b"}`, 200, token, `"user" is unsupported`},
		{"unknown field accepted, deep", "POST", "/v1/apiKeys", `{"spec":{"ttl":1}}`, 201, made, `"ttl" is unsupported`},
		{"missing field accepted", "PATCH", "/v1/users/password/change", `{"emailId":"a"}`, 204, "", `"newPassword" is missing`},
		{"no time accepted", "PUT", "/v1/apiKeys/u", `{"spec":{"expiry":"soon"}}`, 204, "", "date-time"},
		{"duplicates accepted", "POST", "/v1/users/auth/tokens/revoke", `{"tokens":["a","a"]}`, 204, "", "duplicate items"},
		{"wrong query accepted", "GET", "/v1/auth/refresh/x?setCookie=2", "", 200, token, "setCookie"},
		{"no body accepted", "POST", "/v1/auth/authenticate", "", 200, token, "value is required"},
		{"answer of a wrong type", "POST", "/v1/auth/authenticate", login, 200, `{"Authorization":1}`, "must be a string"},
		{"answer misspelt", "POST", "/v1/auth/authenticate", login, 200, `{"authorization":"x"}`, `"authorization" is unsupported`},
		{"answer is no time", "GET", "/v1/apiKeys/u", "", 200, `{"spec":{"expiry":"soon"}}`, "date-time"},
		{"answer lacks a field", "GET", "/v1/apiKeys", "", 200, `{}`, `"items" is missing`},
		{"answer is no JSON", "GET", "/v1/users/info", "", 200, `<html>`, "invalid"},
		{"another status", "POST", "/v1/apiKeys", `{}`, 200, made, "status is not supported"},
		{"202 for 204", "DELETE", "/v1/apiKeys/u", "", 202, "", "status is not supported"},
		{"a body with 204", "DELETE", "/v1/apiKeys/u", "", 204, made, "without a body"},
		{"error misspelt", "GET", "/v1/users/info", "", 401, `{"msg":"a"}`, `"msg" is unsupported`},
		{"error of a wrong type", "GET", "/v1/users/info", "", 401, `{"code":401}`, "must be a string"},
		{"error is no JSON", "GET", "/v1/users/info", "", 401, `oops`, "no JSON"},
		{"no such path", "GET", "/v1/projects/alerts", "", 200, `{}`, "no such call"},
		{"no such method", "POST", "/v1/users/info", "", 200, `{}`, "no such call"},
	}
	c := load(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			recorded := newRecorder(c, answering(tt.status, tt.response))
			request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://127.0.0.1"+tt.path, strings.NewReader(tt.request))
			require.NoError(t, err)
			request.Header.Set("Content-Type", "application/json")
			response, err := recorded.RoundTrip(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			if tt.breaks == "" {
				assert.Empty(t, recorded.broken)
				return
			}
			require.Len(t, recorded.broken, 1)
			assert.ErrorContains(t, recorded.broken[0], tt.breaks)
		})
	}
}

// answering is a transport that gives the same answer to everything.
func answering(status int, body string) http.RoundTripper {
	return transportFunc(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
