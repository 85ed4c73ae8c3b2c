package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// tokenLife is short, so that tests see tokens die.
	tokenLife = 10 * time.Second
	// soon is how long something may take that ought to come at once. It is no measure of the
	// engine: on a machine that has ten times as much to do as it can, a second becomes ten.
	soon = 30 * time.Second
	// often is the pause between two looks at something that is awaited.
	often = 50 * time.Millisecond
)

// fixture is a mount of the engine, configured for a stand-in of its own.
type fixture struct {
	t       *testing.T
	vault   *server
	api     *api.Client
	palette *palettetest.Server
	mount   string
	// asked is what the test has asked of Vault.
	asked *history
}

// newFixture mounts the engine, and writes "config" and the role "app". At the test's end
// the mount goes, which must leave no token alive. Once the server has ended, its logs are
// searched for the secrets of all fixtures.
func newFixture(t *testing.T, v *server, opts ...palettetest.Option) *fixture {
	t.Helper()
	f := newMount(t, v, opts...)
	f.write("config", f.login())
	f.write("roles/app", map[string]any{"renewable": true})
	return f
}

// newMount is newFixture without config and role.
func newMount(t *testing.T, v *server, opts ...palettetest.Option) *fixture {
	t.Helper()
	palette := palettetest.New(t, append([]palettetest.Option{palettetest.WithLifetime(tokenLife)}, opts...)...)
	watchPalette(v, palette)
	return mountFor(t, v, palette, mountName(t))
}

// mountFor mounts the engine for a stand-in, until the test's end.
func mountFor(t *testing.T, v *server, palette *palettetest.Server, mount string) *fixture {
	t.Helper()
	f := &fixture{t: t, palette: palette, mount: mount, asked: new(history)}
	f.asked.tells(t, mount)
	f.at(v)
	require.NoError(t, v.Mount(t.Context(), f.mount))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), soon)
		defer cancel()
		client, err := f.vault.Client() // whose calls are no part of what the test has asked
		require.NoError(t, err)
		require.NoError(t, client.Sys().UnmountWithContext(ctx, f.mount))
	})
	return f
}

// mountName makes a mount's path of the test's name.
func mountName(t *testing.T) string {
	return strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-"))
}

// at leads a fixture to a server, and to another node as a load balancer does with its clients.
func (f *fixture) at(v *server) {
	f.t.Helper()
	client, err := v.Client()
	require.NoError(f.t, err)
	f.vault, f.api = v, client.WithRequestCallbacks(f.asked.request)
}

// login is a config for the stand-in, without a limit: the tests of pacing set theirs.
func (f *fixture) login() map[string]any { return f.loginAs(palettetest.DefaultUser) }

// loginAs is login for another account.
func (f *fixture) loginAs(user palettetest.User) map[string]any {
	return map[string]any{"address": f.palette.URL(), "email": user.Email, "org": user.Org, "password": user.Password, "rate_limit": 0}
}

// write writes to a path below the mount.
func (f *fixture) write(path string, data map[string]any) {
	f.t.Helper()
	_, err := f.api.Logical().WriteWithContext(f.t.Context(), f.mount+"/"+path, data)
	require.NoError(f.t, err)
}

// creds reads a credential of a role.
func (f *fixture) creds(role string) (*api.Secret, error) {
	return f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/creds/"+role)
}

// rotate asks for a rotation, "rotate-root" or one of a config's name.
func (f *fixture) rotate(path string) error {
	_, err := f.api.Logical().WriteWithContext(f.t.Context(), f.mount+"/"+path, nil)
	return err
}

// read reads a credential of the role "app", whose token must work.
func (f *fixture) read() *api.Secret {
	f.t.Helper()
	secret, err := f.creds("app")
	require.NoError(f.t, err)
	f.works(tokenOf(f.t, secret))
	return secret
}

// tokenOf is the token in the answer to a read or a renewal.
func tokenOf(t *testing.T, secret *api.Secret) string {
	t.Helper()
	require.NotNil(t, secret)
	token, _ := secret.Data["token"].(string)
	require.NotEmpty(t, token)
	return token
}

// cli runs the vault CLI, which must succeed, and returns what it prints, warnings too.
func (f *fixture) cli(args ...string) string {
	f.t.Helper()
	f.asked.add("vault " + strings.Join(args, " "))
	out, err := f.vault.CLI(f.t.Context(), "", args...)
	require.NoError(f.t, err)
	require.Zero(f.t, out.Code, "vault %s\n%s", strings.Join(args, " "), out.Stderr)
	return out.Stdout + out.Stderr
}

// tableRow is a value in the table that the vault CLI prints.
func tableRow(t *testing.T, output, key string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + key + `\s+(\S.*)$`).FindStringSubmatch(output)
	require.NotNil(t, found, "no %q in what vault printed", key)
	return strings.TrimSpace(found[1])
}

// status calls Palette with a token.
func (f *fixture) status(token string) int {
	f.t.Helper()
	status, err := callPalette(f.t.Context(), f.palette.URL(), token)
	require.NoError(f.t, err)
	return status
}

// works checks that a token opens Palette.
func (f *fixture) works(token string) {
	f.t.Helper()
	require.Equal(f.t, http.StatusOK, f.status(token), "the token must work at Palette")
}

// dies waits for tokens to be dead.
func (f *fixture) dies(within time.Duration, tokens ...string) {
	f.t.Helper()
	for _, token := range tokens {
		require.Eventually(f.t, func() bool {
			status, err := callPalette(f.t.Context(), f.palette.URL(), token)
			return err == nil && status == http.StatusUnauthorized
		}, within, often, "the token must die at Palette")
	}
}

// callPalette asks Palette who a token is, and returns the status.
func callPalette(ctx context.Context, address, token string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/v1/users/info", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// moment reads an expires_at.
func moment(t *testing.T, text any) time.Time {
	t.Helper()
	s, _ := text.(string)
	at, err := time.Parse(time.RFC3339, s)
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
	return at
}

// hasGivenUp waits until the server has ended a request whose caller has hung up. That
// takes it a moment, and an answer that comes within it is lost.
func (f *fixture) hasGivenUp(path string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		for line := range strings.Lines(f.vault.Audit()) {
			if strings.Contains(line, `"type":"response"`) && strings.Contains(line, `"path":"`+f.mount+"/"+path+`"`) &&
				strings.Contains(line, "context canceled") {
				return true
			}
		}
		return false
	}, soon, often, "the server must end the request")
}

// leaseEnds waits until Vault knows a lease no more.
func (f *fixture) leaseEnds(id string, within time.Duration) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		_, err := f.api.Sys().LookupWithContext(f.t.Context(), id)
		return err != nil && strings.Contains(err.Error(), "invalid lease")
	}, within, often, "the lease must end")
}

// irrevocable is how many leases the server has given up.
func (v *server) irrevocable(t *testing.T) string {
	t.Helper()
	client, err := v.Client()
	require.NoError(t, err)
	secret, err := client.Logical().ReadWithDataWithContext(t.Context(), "sys/leases", map[string][]string{"type": {"irrevocable"}})
	require.NoError(t, err)
	require.NotNil(t, secret)
	return fmt.Sprint(secret.Data["lease_count"])
}
