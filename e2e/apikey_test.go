package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// grace is how much longer a key lives than its lease, and about how exactly: Vault's
	// times and Palette's are whole seconds, and between the two lies an answer's way, which
	// a busy machine makes long. A key without its grace is a minute away.
	grace = time.Minute
	about = 8 * time.Second
	// periodic is Vault's beat, on which the engine ends what was broken off.
	periodic = time.Minute
)

// newKeys is newFixture whose role issues API keys.
func newKeys(t *testing.T, v *server, more map[string]any, opts ...palettetest.Option) *fixture {
	t.Helper()
	f := newMount(t, v, append([]palettetest.Option{palettetest.WithLifetime(palettetest.DefaultLifetime)}, opts...)...)
	f.write("config", f.login())
	data := map[string]any{"credential_type": "api_key"}
	for field, value := range more {
		data[field] = value
	}
	f.write("roles/app", data)
	return f
}

// readKey reads a credential of the role "app", whose key must work.
func (f *fixture) readKey() (read *api.Secret, key string) {
	f.t.Helper()
	read, err := f.creds("app")
	require.NoError(f.t, err)
	key, _ = read.Data["api_key"].(string)
	require.True(f.t, f.palette.KeyAlive(key), "the key must work at Palette")
	return read, key
}

// keyOf is the key of a lease as Palette knows it.
func (f *fixture) keyOf(read *api.Secret) palettetest.Key {
	f.t.Helper()
	for _, key := range f.palette.Keys() {
		if key.UID == read.Data["api_key_uid"] {
			return key
		}
	}
	require.Fail(f.t, "Palette does not know the lease's key")
	return palettetest.Key{}
}

// endOf is when Vault will end a lease.
func (f *fixture) endOf(lease string) time.Time {
	f.t.Helper()
	lookup, err := f.api.Sys().LookupWithContext(f.t.Context(), lease)
	require.NoError(f.t, err)
	end, err := time.Parse(time.RFC3339, lookup.Data["expire_time"].(string))
	require.NoError(f.t, err)
	return end
}

// makeKey makes an API key at Palette as an operator does, without the engine.
func (f *fixture) makeKey(name string) (uid, key string) {
	f.t.Helper()
	client, err := palette.NewClient(exchange.NewProcess(), palette.Connection{Address: f.palette.URL(), RequestTimeout: soon}, "operator", wiretest.Nobody{})
	require.NoError(f.t, err)
	defer client.Close()
	user := palettetest.DefaultUser
	session, err := client.Login(f.t.Context(), palette.Login{Email: user.Email, Org: user.Org, Password: palette.Secret(user.Password)})
	require.NoError(f.t, err)
	defer f.palette.EndSession(string(session.Raw))
	uid, made, err := client.CreateAPIKey(f.t.Context(), palette.Auth{Token: session.Raw}, palette.NewAPIKey{Name: name, Expiry: time.Now().Add(time.Hour)})
	require.NoError(f.t, err)
	return uid, string(made)
}

func TestAnAPIKeysLife(t *testing.T) {
	t.Parallel()
	f := newKeys(t, sharedServer(t), map[string]any{"project_uid": "5f1a2b3c", "description": "for the tests", "renewable": true})
	logins := f.palette.Calls(palettetest.Login)
	read, key := f.readKey()
	made := f.keyOf(read)
	assert.Equal(t, time.Hour, time.Duration(read.LeaseDuration)*time.Second, "without a ttl a lease lasts an hour")
	assert.True(t, read.Renewable)
	assert.True(t, strings.HasPrefix(made.Name, "vault-app-"), made.Name)
	assert.Equal(t, made.Name, read.Data["api_key_name"])
	assert.Equal(t, "for the tests", made.Annotations["description"])
	assert.Equal(t, "5f1a2b3c", read.Data["project_uid"])
	assert.Equal(t, f.palette.URL(), read.Data["address"])
	assert.Equal(t, palettetest.DefaultUser.Org, read.Data["org"])
	assert.NotContains(t, read.Data, "token")

	ends := func(name string) {
		t.Helper()
		expiry := f.keyOf(read).Expiry
		assert.WithinDuration(t, f.endOf(read.LeaseID).Add(grace), expiry, about, name)
	}
	assert.WithinDuration(t, moment(t, read.Data["expires_at"]).Add(grace), made.Expiry, about)
	ends("after the issue")
	for _, increment := range []int{37, 1, 3601, 0, 1234, 90000, 59} {
		renewed, err := f.api.Sys().RenewWithContext(t.Context(), read.LeaseID, increment)
		require.NoError(t, err)
		ends(fmt.Sprintf("after a renewal by %d s", increment))
		lasts := time.Duration(renewed.LeaseDuration) * time.Second
		assert.WithinDuration(t, time.Now().Add(lasts+grace), f.keyOf(read).Expiry, about, "%d", increment)
		assert.Equal(t, key, renewed.Data["api_key"], "the key stays the same")
		assert.True(t, f.palette.KeyAlive(key))
	}
	assert.Equal(t, logins+1, f.palette.Calls(palettetest.Login), "the session that manages the keys")
	f.readKey()
	assert.Equal(t, logins+1, f.palette.Calls(palettetest.Login))
	f.cli("lease", "revoke", "-sync", read.LeaseID)
	assert.False(t, f.palette.KeyAlive(key))
	require.Len(t, f.palette.LiveKeys(), 1)
}

// A key dies at Palette a minute after its lease even where Vault does not come to end it.
func TestKeysAreOfTheLeasesLength(t *testing.T) {
	t.Parallel()
	f := newKeys(t, sharedServer(t), map[string]any{"ttl": "17m", "max_ttl": "29m"})
	for _, row := range []struct {
		args  string
		lasts time.Duration
	}{{"", 17 * time.Minute}, {"?ttl=61s", 61 * time.Second}, {"?ttl=3h", 17 * time.Minute}} {
		status, text := f.request(http.MethodGet, "creds/app"+row.args, "")
		require.Equal(t, http.StatusOK, status, text)
		var answer struct {
			LeaseID  string         `json:"lease_id"`
			Duration int            `json:"lease_duration"`
			Data     map[string]any `json:"data"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &answer))
		assert.Equal(t, row.lasts, time.Duration(answer.Duration)*time.Second, row.args)
		read := &api.Secret{LeaseID: answer.LeaseID, Data: answer.Data}
		assert.WithinDuration(t, f.endOf(read.LeaseID).Add(grace), f.keyOf(read).Expiry, about, row.args)
	}
}

// 200 keys, each of which dies a minute after its lease at the latest, and is gone when it
// is revoked.
func TestManyKeysAreRevokedByPrefix(t *testing.T) {
	t.Parallel()
	f := newKeys(t, sharedServer(t), nil)
	logins := f.palette.Calls(palettetest.Login)
	var made sync.Mutex
	ends := make(map[string]time.Time)
	var reading sync.WaitGroup
	const atOnce = 10
	for range atOnce {
		reading.Go(func() {
			for range manyLeases / atOnce {
				read, err := f.creds("app")
				if !assert.NoError(t, err) {
					return
				}
				made.Lock()
				ends[fmt.Sprint(read.Data["api_key_uid"])] = time.Now().Add(time.Duration(read.LeaseDuration) * time.Second)
				made.Unlock()
			}
		})
	}
	reading.Wait()
	keys := f.palette.LiveKeys()
	require.Len(t, keys, manyLeases)
	names := make(map[string]bool)
	for _, key := range keys {
		names[key.Name] = true
		assert.WithinDuration(t, ends[key.UID].Add(grace), key.Expiry, about)
	}
	assert.Len(t, names, manyLeases, "each has a name of its own")
	began := time.Now()
	f.cli("lease", "revoke", "-prefix", f.mount+"/creds/app")
	require.Eventually(t, func() bool { return len(f.palette.Keys()) == 0 }, soon, often)
	t.Logf("%d keys were gone within %.1f s", manyLeases, time.Since(began).Seconds())
	assert.LessOrEqual(t, f.palette.Calls(palettetest.Login), logins+1, "one session manages them all")
	assert.Equal(t, "0", f.vault.irrevocable(t))
}

// A key that Palette has made and the engine has not answered for is found by its name.
func TestAKeyWhoseMakerDiesIsDeleted(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.InMemory)
	f := newKeys(t, v, nil)
	f.readKey()
	held := f.palette.HoldAfter(palettetest.APIKeyCreate)
	defer held.Release()
	answer := make(chan error, 1)
	go func() {
		_, err := f.creds("app")
		answer <- err
	}()
	<-held.Arrived()
	require.Positive(t, v.KillPlugins())
	held.Release()
	require.Error(t, <-answer)
	require.Len(t, f.palette.LiveKeys(), 2)
	began := time.Now()
	// The engine's process begins with Vault's beat at the latest, and looks for it then.
	require.Eventually(t, func() bool { return len(f.palette.LiveKeys()) == 1 }, periodic+soon, often)
	t.Logf("the lost key was deleted after %.0f s", time.Since(began).Seconds())
	read := f.firstRead("creds/app")
	assert.True(t, f.palette.KeyAlive(fmt.Sprint(read.Data["api_key"])), "keys that a lease holds are left alone")
	require.Len(t, f.palette.LiveKeys(), 2)
}

// An Agent extends the lease and leaves the template alone: the key in the file lives on,
// past its first expiry.
func TestAnAgentKeepsAKey(t *testing.T) {
	t.Parallel()
	// The Agent renews at two thirds of it: a renewal may take four seconds.
	const ttl = 12 * time.Second
	f := newKeys(t, sharedServer(t), map[string]any{"ttl": int(ttl.Seconds())})
	dir := t.TempDir()
	put := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	put("token", f.vault.Token)
	put("agent.hcl", `
auto_auth {
  method "token_file" {
    config = { token_file_path = "token" }
  }
}
template {
  contents    = "{{ with secret \"`+f.mount+`/creds/app\" }}PALETTE_TOKEN={{ .Data.api_key }}{{ end }}"
  destination = "palette.env"
}
`)
	began := time.Now()
	p := start(t, dir, f.vault.Env(), f.vault.Vault(), "agent", "-config=agent.hcl")
	file := filepath.Join(dir, "palette.env")
	require.Eventually(t, func() bool { return tokenIn(file) != "" }, soon, often, "the Agent must fill its file")
	first := f.palette.LiveKeys()
	require.Len(t, first, 1)
	for deadline := first[0].Expiry.Add(2 * ttl); time.Now().Before(deadline); time.Sleep(4 * often) {
		require.True(t, f.palette.KeyAlive(tokenIn(file)), "the file never holds a dead key")
	}
	updates := f.palette.Calls(palettetest.APIKeyUpdate)
	t.Logf("%d renewals within %.0f s", updates, time.Since(began).Seconds())
	assert.Equal(t, 1, f.palette.Calls(palettetest.APIKeyCreate), "one key for all of the time")
	assert.GreaterOrEqual(t, updates, int((grace+3*ttl)/ttl))
	require.Zero(t, p.end(t))
	assert.Empty(t, leaksIn("what the Agent said", p.said(), f.palette.KeySecrets()))
}

// A config may hold an API key instead of a login.
func TestAConfigWithAnAPIKey(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t), palettetest.AllowLiveTokens()) // the config's own key
	uid, key := f.makeKey("by hand")
	f.write("config", map[string]any{"address": f.palette.URL(), "api_key": key, "api_key_uid": uid, "rate_limit": 0})
	shown := f.config("config")
	assert.Equal(t, true, shown["api_key_set"])
	assert.Equal(t, false, shown["password_set"])
	status, answer := f.request(http.MethodPut, "roles/token", `{"credential_type":"token"}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, `field \"credential_type\" is \"token\", but config \"default\" holds an API key`)
	f.write("roles/app", map[string]any{"credential_type": "api_key", "ttl": "10m"})
	read, of := f.readKey()

	f.write("rotate-root", nil)
	assert.False(t, f.palette.KeyAlive(key), "the old key is deleted")
	assert.True(t, f.palette.KeyAlive(of), "a lease's key goes on")
	require.Len(t, f.palette.LiveKeys(), 2)
	shown = f.config("config")
	assert.NotEqual(t, uid, shown["api_key_uid"])
	assert.Contains(t, shown, "last_rotated")
	assert.Contains(t, shown, "api_key_expires_at")
	_, err := f.api.Sys().RenewWithContext(t.Context(), read.LeaseID, 0)
	require.NoError(t, err)
	f.cli("lease", "revoke", "-sync", read.LeaseID)
	f.readKey()
	require.Len(t, f.palette.LiveKeys(), 2)
	f.write("rotate-root", nil)
	f.readKey()
	assert.Zero(t, f.palette.Calls(palettetest.Login)-1, "but for the login by hand")

	status, answer = f.request(http.MethodPut, "config", `{"api_key":"`+hiddenValue+`"}`)
	f.vault.watchText(hiddenValue)
	assert.Equal(t, http.StatusBadRequest, status, answer)
	assert.Contains(t, answer, "nothing is stored")
	assert.NotContains(t, answer, hiddenValue)
	f.readKey()
}

// What cannot issue keys is refused when it is written.
func TestAKeyRolesFieldsAreChecked(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	for _, row := range []struct{ body, says string }{
		{`{"credential_type":"key"}`, `field \"credential_type\" is \"key\"`},
		{`{"credential_type":"api_key","name_template":"{{ .Nothing }}"}`, `field \"name_template\"`},
		{`{"credential_type":"api_key","name_template":"always the same"}`, "two names could be the same"},
		{`{"credential_type":"token","user_uid":"5f1a2b3c"}`, "are for credential_type=api_key"},
	} {
		status, answer := f.request(http.MethodPut, "roles/keys", row.body)
		assert.Equal(t, http.StatusBadRequest, status, row.body)
		assert.Contains(t, answer, row.says)
	}
}

// A key for another user takes a tenant administrator.
func TestAKeyForAnotherUser(t *testing.T) {
	t.Parallel()
	plain := palettetest.User{Email: "plain@example.com", Org: "example", Password: "Plain-Horse-9-Battery", UID: "5f1a2b3c"}
	admin := palettetest.User{Email: "admin@example.com", Org: "example", Password: "Admin-Horse-3-Battery", TenantAdmin: true}
	f := newMount(t, sharedServer(t), palettetest.WithUser(plain), palettetest.WithUser(admin), palettetest.WithLifetime(palettetest.DefaultLifetime))
	f.write("config", f.loginAs(admin))
	f.write("config/plain", f.loginAs(plain))
	f.write("roles/app", map[string]any{"credential_type": "api_key", "user_uid": plain.UID, "name_template": "{{ .RoleName }}-{{ random 8 }}"})
	f.write("roles/plain", map[string]any{"credential_type": "api_key", "user_uid": "another", "config_name": "plain"})
	read, _ := f.readKey()
	assert.Equal(t, plain.UID, f.keyOf(read).UserUID)
	assert.Regexp(t, `^app-[A-Za-z0-9]{8}$`, read.Data["api_key_name"])
	_, err := f.api.Sys().RenewWithContext(t.Context(), read.LeaseID, 100)
	require.NoError(t, err)
	status, answer := f.request(http.MethodGet, "creds/plain", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, "only a tenant administrator makes keys for others")
}
