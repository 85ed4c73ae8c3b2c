package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// request sends a request below the mount as it stands, without the CLI or the client,
// which would change some of these and repeat others.
func (f *fixture) request(method, path, body string) (status int, answer string) {
	f.t.Helper()
	f.asked.call(method, f.mount+"/"+path, body)
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.vault.Address+"/v1/"+f.mount+"/"+path, strings.NewReader(body))
	require.NoError(f.t, err)
	req.Header.Set("X-Vault-Token", f.vault.Token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	return resp.StatusCode, string(text)
}

// hiddenValue is given in forms that are refused, and must not come back.
const hiddenValue = "Hidden-Value-4-Nobody"

func TestWrongInputIs400(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.vault.watchText(hiddenValue)
	for _, row := range []struct {
		name, method, path, body string
		status                   int
		says                     []string
	}{
		{"unknown field of config", "PUT", "config", `{"addr":"https://palette.example.com"}`, 400, []string{"addr", "address"}},
		{"unknown field of a role", "PUT", "roles/app", `{"tll":"5m"}`, 400, []string{"tll"}},
		{"unknown field of creds", "PUT", "creds/app", `{"tll":"5m"}`, 400, []string{"tll"}},
		{"unknown query of creds", "GET", "creds/app?tll=5m", "", 400, []string{"tll"}},
		{"repeated query", "GET", "creds/app?ttl=5s&ttl=6s", "", 400, []string{"ttl"}},
		{"ttl of half a second", "GET", "creds/app?ttl=500ms", "", 400, []string{"ttl", "500ms"}},
		{"ttl longer than max_ttl", "PUT", "roles/app", `{"ttl":"2h","max_ttl":"1h"}`, 400, []string{"ttl", "2h0m0s", "max_ttl", "1h0m0s"}},
		{"renewable is no boolean", "PUT", "roles/app", `{"renewable":"perhaps"}`, 400, []string{"renewable", "perhaps"}},
		{"unknown role", "GET", "creds/nobody", "", 400, []string{"nobody"}},
		{"unknown config", "PUT", "roles/app", `{"config_name":"nowhere"}`, 400, []string{"config_name", "nowhere"}},
		{"plain http", "PUT", "config", `{"address":"http://palette.example.com"}`, 400, []string{"address", "https://"}},
		{"request_timeout of an hour", "PUT", "config", `{"request_timeout":"1h"}`, 400, []string{"request_timeout", "1h0m0s"}},
		{"rate_limit below zero", "PUT", "config", `{"rate_limit":-1}`, 400, []string{"rate_limit", "-1"}},
		{"rate_burst without a limit", "PUT", "config", `{"rate_limit":0,"rate_burst":5}`, 400, []string{"rate_burst", "rate_limit=0"}},
		{"rate_limit is no number", "PUT", "config", `{"rate_limit":"many"}`, 400, []string{"rate_limit", "many"}},
		{"queue_timeout of an hour", "PUT", "config", `{"queue_timeout":"1h"}`, 400, []string{"queue_timeout", "1h0m0s"}},
		{"shared is no boolean", "PUT", "roles/app", `{"shared":"perhaps"}`, 400, []string{"shared", "perhaps"}},
		{"other org without the password", "PUT", "config", `{"org":"other"}`, 400, []string{"password", "org"}},
		{"password as an array", "PUT", "config", `{"password":["` + hiddenValue + `"]}`, 400, []string{"password", "must be a string"}},
		{"password as an object", "PUT", "config", `{"password":{"value":"` + hiddenValue + `"}}`, 400, []string{"password", "must be a string"}},
		{"client key as an array", "PUT", "config", `{"client_key":["` + hiddenValue + `"]}`, 400, []string{"client_key", "must be a string"}},
		{"client key that is none", "PUT", "config", `{"client_cert":"x","client_key":"` + hiddenValue + `"}`, 400, []string{"client_key"}},
		{"read of config/", "GET", "config/", "", 405, nil},
		{"delete of config/", "DELETE", "config/", "", 405, nil},
		{"write of a session", "PUT", "sessions/default", `{}`, 405, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, answer := f.request(row.method, row.path, row.body)
			assert.Equal(t, row.status, status, answer)
			for _, text := range row.says {
				assert.Contains(t, answer, text)
			}
			assert.NotContains(t, answer, hiddenValue)
		})
	}
	f.read() // nothing of all that was stored
}

// Each row has an account of its own: one that Palette has rejected is left in peace for a
// while.
func TestWhatPaletteSays(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.vault.watchText(hiddenValue)
	host := strings.TrimPrefix(f.palette.URL(), "http://")
	fault := func(fault palettetest.Fault) func() {
		return func() { f.palette.Inject(palettetest.Login, fault) }
	}
	const wrong = `{"password":"` + hiddenValue + `"}`
	for i, row := range []struct {
		name, method, path, body string
		arrange                  func()
		status                   int
		says                     []string
	}{
		{"wrong password", "PUT", "config/ci-1.2", wrong, nil, 400, []string{"ci-1.2", "InvalidCredentials", "ref", "verify_connection=false"}},
		{"login refused", "GET", "creds/ci", "", fault(palettetest.Fault{Status: 401}), 400, []string{"ci-1.2", "InjectedFault"}},
		{"login forbidden, which Vault's clients would take for a bad Vault token", "GET", "creds/ci", "", fault(palettetest.Fault{Status: 403}), 400, []string{"InjectedFault"}},
		{"second factor", "GET", "creds/ci", "", fault(palettetest.Fault{MFA: true}), 400, []string{"second factor"}},
		{"down, read", "GET", "creds/ci", "", func() { f.palette.Down(true) }, 502, []string{host}},
		{"down, config", "PUT", "config/ci-1.2", `{"request_timeout":"31s"}`, func() { f.palette.Down(true) }, 502, []string{host}},
		{"500", "GET", "creds/ci", "", fault(palettetest.Fault{Status: 500}), 502, []string{host, "500"}},
		{"503, after which a login is not sent again", "GET", "creds/ci", "", fault(palettetest.Fault{Status: 503, Times: 1}), 502, []string{host, "503"}},
		{"a page", "GET", "creds/ci", "", fault(palettetest.Fault{Garbage: true}), 502, []string{host, "status 200, text/html"}},
		{"a gateway", "GET", "creds/ci", "", fault(palettetest.Fault{Foreign: true, Status: 401, Body: "<html>"}), 502, []string{host, "this is not Palette's answer", "status 401, text/html"}},
		{"huge", "GET", "creds/ci", "", fault(palettetest.Fault{Huge: true}), 502, []string{host, "1 MiB"}},
		{"no token", "GET", "creds/ci", "", fault(palettetest.Fault{NoToken: true}), 502, []string{host, "JSON of another form"}},
		{"dead on arrival", "GET", "creds/ci", "", fault(palettetest.Fault{Expired: true}), 502, []string{host, "dead on arrival"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			user := palettetest.User{Email: fmt.Sprintf("row-%d@example.com", i), Org: palettetest.DefaultUser.Org, Password: palettetest.DefaultUser.Password}
			f.palette.AddUser(user)
			f.write("config/ci-1.2", f.loginAs(user))
			f.write("roles/ci", map[string]any{"config_name": "ci-1.2"})
			if row.arrange != nil {
				row.arrange()
			}
			defer f.palette.Down(false)
			defer f.palette.ClearAll()
			status, answer := f.request(row.method, row.path, row.body)
			assert.Equal(t, row.status, status, answer)
			if row.status == http.StatusBadRequest {
				assert.Contains(t, answer, user.Email)
			}
			for _, text := range row.says {
				assert.Contains(t, answer, text)
			}
			for _, secret := range []string{hiddenValue, user.Password, "<html>"} {
				assert.NotContains(t, answer, secret)
			}
			shown := f.cli("read", f.mount+"/config/ci-1.2")
			assert.Equal(t, "30", tableRow(t, shown, "request_timeout"), "what Palette rejects is not stored")
		})
	}
	f.write("config/ci-1.2", map[string]any{"queue_timeout": "50s"}) // with the stored password, which still is the right one
	f.read()
}

// A redirect must take neither password nor token anywhere.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(elsewhere.Close)
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	id := f.read().LeaseID
	for _, status := range []int{301, 302, 303, 307, 308} {
		redirect := palettetest.Fault{Status: status, Redirect: elsewhere.URL + "/v1/auth/authenticate"}
		f.palette.Inject(palettetest.Login, redirect)
		f.palette.Inject(palettetest.Refresh, redirect)
		got, answer := f.request("GET", "creds/app", "")
		assert.Equal(t, http.StatusBadGateway, got)
		assert.Contains(t, answer, "redirect")
		out, err := f.vault.CLI(t.Context(), "", "lease", "renew", id)
		require.NoError(t, err)
		assert.Contains(t, out.Stderr, "redirect")
	}
	assert.Zero(t, visits.Load())
	f.palette.ClearAll()
}

// A caller's cancellation is honoured at once; the figure is for unit tests, which have a
// clock of their own.
func TestAReadCanBeCancelled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	gate := f.palette.Hold(palettetest.Login)
	defer gate.Release()
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() {
		_, err := f.api.Logical().ReadWithContext(ctx, f.mount+"/creds/app")
		returned <- err
	}()
	<-gate.Arrived()
	cancel()
	require.ErrorIs(t, <-returned, context.Canceled)
	f.hasGivenUp("creds/app")
}
