package palettetest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	alice = palettetest.User{Email: "alice@example.com", Org: "example", Password: "Alice-Has-1-Secret", UID: "uid-alice"}
	admin = palettetest.User{
		Email: "admin@example.com", Org: "example", Password: "Admin-Has-2-Secrets", UID: "uid-admin", TenantAdmin: true,
	}
	// other has alice's email in another organization.
	other = palettetest.User{Email: "alice@example.com", Org: "other", Password: "Other-Has-3-Secrets", UID: "uid-other"}
)

// epoch is when the tests in bubbles begin.
var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// bubble runs a test by fake time, from epoch on.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(epoch))
		test(t)
	})
}

// inBubble is a subtest in a bubble of its own.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { bubble(t, test) })
}

func now() time.Time { return time.Now().UTC() }

// fixture is a stand-in with a client. What it leaves alive is nobody's concern.
type fixture struct {
	*palettetest.Server
	t      *testing.T
	client *http.Client
}

// newFixture is for bubbles: its stand-in listens in memory.
func newFixture(t *testing.T, opts ...palettetest.Option) *fixture {
	t.Helper()
	return onSocket(t, append([]palettetest.Option{palettetest.InMemory()}, opts...)...)
}

// onSocket is a fixture for tests that are about sockets and TLS.
func onSocket(t *testing.T, opts ...palettetest.Option) *fixture {
	t.Helper()
	f := &fixture{t: t, client: newClient(t, nil)}
	base := []palettetest.Option{
		palettetest.AllowLiveTokens(),
		palettetest.WithUser(alice), palettetest.WithUser(admin), palettetest.WithUser(other),
	}
	f.Server = palettetest.New(t, append(base, opts...)...)
	return f
}

// newClient doesn't follow redirects, nor keep connections: a dropped GET on a kept one is sent again by net/http.
func newClient(t *testing.T, transport *http.Transport) *http.Client {
	t.Helper()
	if transport == nil {
		transport = &http.Transport{DisableKeepAlives: true, DialContext: palettetest.Dial}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	text   string
}

func (r reply) decode(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.text), &v), r.text)
	return v
}

func (r reply) str(t *testing.T, field string) string {
	t.Helper()
	s, _ := r.decode(t)[field].(string)
	return s
}

// send makes a call; auth is sent as the Authorization header, or as ApiKey where it starts with "key:".
func (f *fixture) send(method, path, auth, body string) (reply, error) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.URL()+path, strings.NewReader(body))
	require.NoError(f.t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if secret, isKey := strings.CutPrefix(auth, "key:"); isKey {
		request.Header.Set("ApiKey", secret)
	} else if auth != "" {
		request.Header.Set("Authorization", auth)
	}
	return f.roundTrip(request)
}

func (f *fixture) roundTrip(request *http.Request) (reply, error) {
	response, err := f.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, header: response.Header, text: string(text)}, err
}

// must is send for calls that get an answer.
func (f *fixture) must(method, path, auth, body string) reply {
	f.t.Helper()
	r, err := f.send(method, path, auth, body)
	require.NoError(f.t, err)
	return r
}

func loginBody(email, org, password string) string {
	body, _ := json.Marshal(map[string]string{"emailId": email, "org": org, "password": password})
	return string(body)
}

func (f *fixture) tryLogin(email, org, password string) reply {
	f.t.Helper()
	return f.must("POST", "/v1/auth/authenticate?setCookie=false", "", loginBody(email, org, password))
}

func (f *fixture) login(u palettetest.User) string {
	f.t.Helper()
	r := f.tryLogin(u.Email, u.Org, u.Password)
	require.Equal(f.t, 200, r.status, r.text)
	return r.str(f.t, "Authorization")
}

func (f *fixture) tryRefresh(token string) reply {
	f.t.Helper()
	return f.must("GET", "/v1/auth/refresh/"+token+"?setCookie=false", "", "")
}

func (f *fixture) refresh(token string) string {
	f.t.Helper()
	r := f.tryRefresh(token)
	require.Equal(f.t, 200, r.status, r.text)
	return r.str(f.t, "Authorization")
}

func (f *fixture) revoke(auth string, tokens ...string) reply {
	f.t.Helper()
	body, _ := json.Marshal(map[string][]string{"tokens": tokens})
	return f.must("POST", "/v1/users/auth/tokens/revoke", auth, string(body))
}

// wantAlive checks which of the tokens open something, by what the server says of itself and by a call.
func (f *fixture) wantAlive(want bool, tokens ...string) {
	f.t.Helper()
	status := map[bool]int{true: 200, false: 401}[want]
	for _, token := range tokens {
		assert.Equal(f.t, want, f.Alive(token))
		assert.Equal(f.t, status, f.must("GET", "/v1/users/info", token, "").status)
		assert.Equal(f.t, want, slices.Contains(f.LiveTokens(), token))
	}
}

type tokenClaims struct {
	jwt.Claims
	SessionID string `json:"sessionId"`
	Email     string `json:"email"`
}

func parse(t *testing.T, token string) tokenClaims {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	require.NoError(t, err)
	var c tokenClaims
	require.NoError(t, parsed.UnsafeClaimsWithoutVerification(&c))
	return c
}

// wantError checks the form of an error answer.
func wantError(t *testing.T, r reply, status int, code string) {
	t.Helper()
	assert.Equal(t, status, r.status, r.text)
	assert.Equal(t, code, r.str(t, "code"))
	assert.NotEmpty(t, r.str(t, "message"))
	assert.NotEmpty(t, r.str(t, "ref"))
	assert.Contains(t, r.decode(t), "details")
	assert.Equal(t, "application/json", r.header.Get("Content-Type"))
}
