package palettesecrets

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

func warningsOf(resp *logical.Response) []string {
	if resp == nil {
		return nil
	}
	return resp.Warnings
}

// A config that becomes another kind, another user, or goes: a warning names the roles, and says what
// becomes of their leases.
func TestAConfigWriteSaysWhatItBreaks(t *testing.T) {
	const another, reads = `config "ci" is another user at Palette now`, "reads of roles"
	other := palettetest.User{Email: "other@example.com", Org: "example", Password: "Correct-Horse-8-Battery"}
	for _, c := range []struct {
		name  string
		write func(w *world) *logical.Response
		texts []string // none: no warning
		nots  []string
	}{
		{"a key instead of a login", func(w *world) *logical.Response {
			return w.write("config/ci", given(w.byHand("own", 700*time.Hour), fields{"rotation_period": "24h"}))
		}, []string{reads + ` "fleet", "token" are refused`, "credential_type=api_key", another, `leases that roles "fleet", "keys", "token"`, "can no longer be renewed", "can still be revoked", "shared session has ended", `leases of role "fleet" carry`}, []string{`"elsewhere"`}},
		{"another email", func(w *world) *logical.Response {
			return w.write("config/ci", fields{"email": other.Email, "password": other.Password})
		}, []string{another, `"fleet", "keys", "token"`, "shared session has ended"}, []string{"refused from now on"}},
		{"another address", func(w *world) *logical.Response {
			return w.write("config/ci", w.login(fields{"address": "https://palette.example.com", "verify_connection": false}))
		}, []string{another}, nil},
		{"another org", func(w *world) *logical.Response {
			return w.write("config/ci", w.login(fields{"org": "another", "verify_connection": false}))
		}, []string{another}, nil},
		{"gone", func(w *world) *logical.Response { return w.must(del, "config/ci", nil) }, []string{`config "ci" is gone`, reads + ` "fleet", "keys", "token" fail`, "can still be revoked", "shared session has ended"}, nil},
		{"a time limit", func(w *world) *logical.Response { return w.write("config/ci", fields{"request_timeout": 9}) }, nil, nil},
		{"the same user and password", func(w *world) *logical.Response { return w.write("config/ci", w.login()) }, nil, nil},
		{"a new one", func(w *world) *logical.Response { return w.write("config/new", w.login()) }, nil, nil},
		{"one without roles", func(w *world) *logical.Response {
			w.write("config/new", w.login())
			return w.must(del, "config/new", nil)
		}, nil, nil},
		{"one that is not there", func(w *world) *logical.Response { return w.must(del, "config/never", nil) }, nil, nil},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(other), palettetest.WithUser(admin), palettetest.AllowLiveTokens())
			w.secrets = append(w.secrets, other.Password, admin.Password)
			w.write("config", w.login())
			w.write("config/ci", w.login())
			for role, data := range map[string]fields{"token": {"renewable": true}, "fleet": {"shared": true, "renewable": true}, "keys": {"credential_type": "api_key"}} {
				w.write("roles/"+role, given(data, fields{"config_name": "ci"}))
			}
			w.write("roles/elsewhere", fields{"renewable": true})
			said := strings.Join(warningsOf(c.write(w)), "\n")
			if len(c.texts) == 0 {
				assert.Empty(t, said)
			}
			for _, text := range c.texts {
				assert.Contains(t, said, text)
			}
			for _, text := range c.nots {
				assert.NotContains(t, said, text)
			}
		})
	}
}

// Of an API key, Palette tells whose it is.
func TestAnotherUsersKeyIsAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.write("config/k", given(w.byHand("own", 100*time.Hour), fields{"rotation_period": "99h", "api_key_uid": "own"}))
		w.write("roles/k", fields{"config_name": "k", "credential_type": "api_key"})
		assert.Empty(t, warningsOf(w.write("config/k", given(w.byHand("second", 100*time.Hour), fields{"api_key_uid": "second"}))), "the same user's")
		w.palette.PlantKey(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "theirs", "theirs", "Key-Of-Another-User", time.Now().Add(100*time.Hour))
		said := warningsOf(w.write("config/k", fields{"api_key": "Key-Of-Another-User", "api_key_uid": "theirs"}))
		require.Len(t, said, 1)
		assert.Contains(t, said[0], `config "k" is another user at Palette now: leases that role "k" issued`)
		w.remove("config/k")
		time.Sleep(100 * time.Hour)
	})
}

func TestARoleWriteSaysWhatItBreaks(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, then fields
		texts       []string
	}{
		{"max_ttl where there was none", nil, fields{"max_ttl": "1h"}, []string{`max_ttl of role "app" is 1h0m0s now`, "refused for leases that are older"}},
		{"a shorter max_ttl", fields{"max_ttl": "24h"}, fields{"max_ttl": 3600}, []string{`max_ttl of role "app" is 1h0m0s now`, "keeps its present end"}},
		{"a longer max_ttl", fields{"max_ttl": "1h"}, fields{"max_ttl": "2h"}, nil},
		{"no max_ttl", fields{"max_ttl": "1h"}, fields{"max_ttl": 0}, nil},
		{"a shorter ttl", fields{"ttl": "10m"}, fields{"ttl": "5m"}, []string{`ttl of role "app" is 5m0s now, after 10m0s`}},
		{"a longer ttl", fields{"ttl": "5m"}, fields{"ttl": "10m"}, nil},
		{"both", fields{"ttl": "10m", "max_ttl": "2h"}, fields{"ttl": "5m", "max_ttl": "1h"}, []string{"max_ttl of role", "; ttl of role"}},
		{"another user's config", nil, fields{"config_name": "other"}, []string{`role "app" names another user's config now`, "can no longer be renewed"}},
		{"the same user's config", nil, fields{"config_name": "same"}, nil},
		{"a description", nil, fields{"project_uid": "5f0e1d"}, nil},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			w.write("config/same", w.login())
			w.write("config/other", w.login(fields{"org": "other", "verify_connection": false}))
			w.write("roles/app", given(fields{"renewable": true}, c.first))
			said := "; " + strings.Join(warningsOf(w.write("roles/app", given(fields{"renewable": true}, c.then))), "; ")
			assert.Equal(t, len(c.texts) == 0, said == "; ", said)
			for _, text := range c.texts {
				assert.Contains(t, said, text)
			}
			said = strings.Join(warningsOf(w.must(del, "roles/app", nil)), "\n")
			assert.Contains(t, said, `role "app" is gone`)
			assert.Contains(t, said, "can still be revoked")
			assert.Empty(t, warningsOf(w.must(del, "roles/app", nil)), "it is gone already")
		})
	}
}

// Many roles are not all named, and a storage that fails then keeps nothing from being done.
func TestWarningsAboutManyRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for i := range 30 {
			w.write(fmt.Sprintf("roles/r%02d", i), fields{"renewable": true})
		}
		said := warningsOf(w.must(del, "config", nil))
		require.Len(t, said, 1)
		assert.Contains(t, said[0], `"r08" and 21 others`)
		w.write("config", w.login())
		w.storage.failOn("list", store.RolePrefix)
		assert.Empty(t, warningsOf(w.must(del, "config", nil)))
		w.storage.heal()
		assert.Nil(t, w.read("config"))
		assert.Contains(t, w.log.String(), "could not be listed")
	})
}
