package e2e

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// sharedLife gives a session six seconds in which its token is fresh, and twelve more for what
// is to come before the token dies.
const sharedLife = 18 * time.Second

// newShared is newFixture with a shared role.
func newShared(t *testing.T, v *server, life time.Duration) *fixture {
	t.Helper()
	f := newFixture(t, v, palettetest.WithLifetime(life))
	f.write("roles/app", map[string]any{"shared": true})
	return f
}

// burst reads creds of a role, n at once, of each fixture. The answers are in no order.
func burst(t *testing.T, n int, role string, of ...*fixture) []served {
	t.Helper()
	answers := make(chan served, n*len(of))
	var readers sync.WaitGroup
	for range n {
		for _, f := range of {
			readers.Go(func() {
				began := time.Now()
				secret, err := f.creds(role)
				answers <- served{secret, err, time.Since(began)}
			})
		}
	}
	readers.Wait()
	close(answers)
	var out []served
	for a := range answers {
		out = append(out, a)
	}
	return out
}

// served is the answer to a read, and how long it took.
type served struct {
	secret *api.Secret
	err    error
	took   time.Duration
}

// allTokens are the different tokens of a burst, none of whose reads may have failed.
func allTokens(t *testing.T, answers []served) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	for _, a := range answers {
		require.NoError(t, a.err)
		found[tokenOf(t, a.secret)] = true
	}
	return found
}

// session reads a config's session, nil where it has none. It must not show a token.
func (f *fixture) session(config string) map[string]any {
	f.t.Helper()
	secret, err := f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/sessions/"+config)
	require.NoError(f.t, err)
	if secret == nil {
		return nil
	}
	assert.NotContains(f.t, secret.Data, "token")
	shown := f.cli("read", "-format=json", f.mount+"/sessions/"+config)
	assert.Empty(f.t, leaksIn("a read of the session", shown, f.palette.Issued()))
	return secret.Data
}

// renewed renews a lease and returns its token.
func (f *fixture) renewed(lease string) string {
	f.t.Helper()
	secret, err := f.api.Sys().RenewWithContext(f.t.Context(), lease, 0)
	require.NoError(f.t, err)
	return tokenOf(f.t, secret)
}

func TestASharedRoleHandsOutOneSession(t *testing.T) {
	t.Parallel()
	f := newShared(t, sharedServer(t), palettetest.DefaultLifetime)
	f.write("roles/other", map[string]any{"shared": true, "renewable": false})
	f.write("roles/alone", map[string]any{"renewable": false})
	require.Nil(t, f.session("default"), "a session begins with the first read")

	logins := f.palette.Calls(palettetest.Login)
	answers := append(burst(t, 40, "app", f), burst(t, 10, "other", f)...)
	require.Len(t, allTokens(t, answers), 1)
	token, lease := tokenOf(t, answers[0].secret), answers[0].secret.LeaseID
	f.works(token)
	assert.Equal(t, logins+1, f.palette.Calls(palettetest.Login), "one login for 50 reads")
	assert.NotEqual(t, lease, answers[1].secret.LeaseID)
	expires := moment(t, answers[0].secret.Data["expires_at"])
	assert.WithinDuration(t, expires, time.Now().Add(time.Duration(answers[0].secret.LeaseDuration)*time.Second), soon,
		"a lease lasts as long as the token that it carries")
	assert.Equal(t, token, f.renewed(lease), "a renewal returns the session's present token")

	revokes := f.palette.Calls(palettetest.Revoke)
	f.cli("lease", "revoke", "-sync", lease)
	f.cli("lease", "revoke", "-sync", "-prefix", f.mount+"/creds/other")
	f.works(token)
	assert.Equal(t, revokes, f.palette.Calls(palettetest.Revoke), "others use the session")
	alone := tableRow(t, f.cli("read", f.mount+"/creds/alone"), "token")
	assert.NotEqual(t, token, alone)
	f.cli("lease", "revoke", "-sync", "-prefix", f.mount+"/creds/alone")
	f.dies(soon, alone)
	f.works(token)

	shown := f.session("default")
	require.NotNil(t, shown)
	assert.Equal(t, answers[0].secret.Data["expires_at"], shown["expires_at"])
	assert.Equal(t, "0", shown["refreshes"].(interface{ String() string }).String())
	assert.Equal(t, palettetest.DefaultUser.Email, shown["email"])
	assert.WithinDuration(t, time.Now(), moment(t, shown["issued_at"]), time.Minute)
	assert.Equal(t, []string{"default"}, names(f.cli("list", f.mount+"/sessions")))
	assert.Zero(t, f.palette.Calls(palettetest.Refresh))
}

// A deleted session is over at Palette and in Vault, and leases that it had go on with the
// next one.
func TestASharedSessionCanBeEnded(t *testing.T) {
	t.Parallel()
	f := newShared(t, sharedServer(t), palettetest.DefaultLifetime)
	read := f.read()
	f.cli("delete", f.mount+"/sessions/default")
	assert.False(t, f.palette.Alive(tokenOf(t, read)), "the delete answers when the token is dead")
	assert.Nil(t, f.session("default"))
	next := f.renewed(read.LeaseID)
	f.works(next)
	assert.NotEqual(t, tokenOf(t, read), next)
	assert.Equal(t, next, tokenOf(t, f.read()))
	f.cli("delete", f.mount+"/sessions/default")
	f.cli("delete", f.mount+"/sessions/default") // what is gone already is no error
	assert.Empty(t, f.palette.LiveTokens())
}

// When a third of the token's life is over, the next read brings the session's next one.
func TestASharedSessionIsKeptFresh(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name              string
		arrange           func(f *fixture, token string)
		logins, refreshes int
		warning           string
	}{
		{"by a refresh", nil, 0, 1, ""},
		{"after faults that pass", func(f *fixture, _ string) {
			f.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: http.StatusServiceUnavailable, Times: 2})
		}, 0, 3, ""},
		{"by a login where it is over", func(f *fixture, token string) { f.palette.EndSession(token) }, 1, 1, ""},
		{"not while Palette is ill", func(f *fixture, _ string) {
			f.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: http.StatusInternalServerError})
		}, 0, 1, "could not be refreshed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newShared(t, sharedServer(t), sharedLife)
			first := f.read()
			token := tokenOf(t, first)
			if row.arrange != nil {
				row.arrange(f, token)
			}
			logins := f.palette.Calls(palettetest.Login)
			expires := moment(t, first.Data["expires_at"])
			require.Eventually(t, func() bool { return time.Until(expires) < sharedLife*2/3 }, sharedLife, often)

			answers := burst(t, 20, "app", f)
			found := allTokens(t, answers)
			require.Len(t, found, 1, "one call for all who wait")
			assert.Equal(t, row.warning != "", found[token], "whether it is the token of before")
			assert.Equal(t, row.logins, f.palette.Calls(palettetest.Login)-logins)
			assert.Equal(t, row.refreshes, f.palette.Calls(palettetest.Refresh))
			renewed, err := f.api.Sys().RenewWithContext(t.Context(), first.LeaseID, 0)
			require.NoError(t, err)
			assert.True(t, found[tokenOf(t, renewed)], "a renewal returns the session's present token")
			f.works(tokenOf(t, renewed))
			for _, warnings := range [][]string{answers[0].secret.Warnings, notVaults(renewed.Warnings)} {
				if row.warning == "" {
					assert.Empty(t, warnings)
				} else {
					require.Len(t, warnings, 1)
					assert.Contains(t, warnings[0], row.warning)
				}
			}
			f.palette.ClearAll()
		})
	}
}

// What makes a config another login, or removes it, ends its session at once.
func TestWhatEndsASharedSession(t *testing.T) {
	t.Parallel()
	other := palettetest.User{Email: "other@example.com", Org: "other", Password: palettetest.DefaultUser.Password}
	rewritten := func(fields map[string]any) func(*fixture) {
		return func(f *fixture) {
			data := f.login()
			maps.Copy(data, fields)
			f.write("config", data)
		}
	}
	for _, row := range []struct {
		name string
		// elsewhere: the config is led to another Palette.
		elsewhere bool
		end       func(f *fixture)
		ends      bool
	}{
		{"another org", false, rewritten(map[string]any{"org": other.Org}), true},
		{"another email", false, rewritten(map[string]any{"email": other.Email}), true},
		{"another address", true, nil, true},
		{"the config's deletion", false, func(f *fixture) { f.cli("delete", f.mount+"/config") }, true},
		{"the mount's", false, func(f *fixture) { f.cli("secrets", "disable", f.mount) }, true},
		{"the same login", false, rewritten(map[string]any{"request_timeout": "20s"}), false},
		{"the role's deletion", false, func(f *fixture) { f.cli("delete", f.mount+"/roles/app") }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newShared(t, sharedServer(t), palettetest.DefaultLifetime)
			for _, user := range []palettetest.User{
				{Email: palettetest.DefaultUser.Email, Org: other.Org, Password: other.Password},
				{Email: other.Email, Org: palettetest.DefaultUser.Org, Password: other.Password},
			} {
				f.palette.AddUser(user)
			}
			token := tokenOf(t, f.read())
			if row.elsewhere {
				second := palettetest.New(t)
				f.vault.watch(second.Issued)
				// The mount goes first: the session at the second one ends with it.
				t.Cleanup(func() {
					require.NoError(t, f.api.Sys().UnmountWithContext(context.WithoutCancel(t.Context()), f.mount))
				})
				rewritten(map[string]any{"address": second.URL()})(f)
				next, err := f.creds("app")
				require.NoError(t, err)
				assert.True(t, second.Alive(tokenOf(t, next)))
			} else {
				row.end(f)
			}
			assert.Equal(t, row.ends, !f.palette.Alive(token), "whether the session is over")
		})
	}
}

// notVaults leaves out a warning of Vault's own: it counts in whole seconds, each truncated,
// so that a renewal during which a second begins is cut by one.
func notVaults(warnings []string) []string {
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool { return strings.Contains(w, "exceeded the effective max_ttl") })
}
