package advice

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/store"
)

func login(email string) *store.Config {
	c := store.NewConfig("https://palette.example.com")
	c.Email, c.Password = email, "p"
	return c
}

func keyed(user string) *store.Config {
	c := store.NewConfig("https://palette.example.com")
	c.APIKey, c.UserUID = palette.Secret("key of "+user), user
	return c
}

func roles(kinds ...string) (out []store.Named) {
	for i, kind := range kinds {
		r := &store.Role{CredentialType: store.CredentialToken, Shared: strings.HasPrefix(kind, "shared")}
		if strings.HasSuffix(kind, "key") {
			r.CredentialType = store.CredentialAPIKey
		}
		out = append(out, store.Named{Name: fmt.Sprintf("%s%d", kind, i), Role: r})
	}
	return out
}

// What a write of a config breaks, by what it was and is, and by its roles.
func TestConfigWritten(t *testing.T) {
	const refused, another, session, keys = "reads of", "is another user", "shared session has ended", "share have ended"
	for name, c := range map[string]struct {
		old, next *store.Config
		roles     []store.Named
		says      []string
	}{
		"a new config":                 {nil, login("a@example.com"), roles("token"), nil},
		"the same":                     {login("a@example.com"), login("a@example.com"), roles("token"), nil},
		"another spelling":             {login("a@example.com"), login("A@Example.com"), roles("token"), nil},
		"another user without roles":   {login("a@example.com"), login("b@example.com"), nil, nil},
		"another user":                 {login("a@example.com"), login("b@example.com"), roles("token", "key"), []string{another, `roles "token0", "key1"`}},
		"another user, a shared role":  {login("a@example.com"), login("b@example.com"), roles("shared"), []string{another, session}},
		"another user, a shared key":   {login("a@example.com"), login("b@example.com"), roles("sharedkey"), []string{another, keys, `leases of role "sharedkey0" share`}},
		"a key for a login":            {login("a@example.com"), keyed("u"), roles("token", "key"), []string{refused, `reads of role "token0"`, another}},
		"a key for a login, key roles": {login("a@example.com"), keyed("u"), roles("key"), []string{another}},
		"a login for a key":            {keyed("u"), login("a@example.com"), roles("key"), []string{another}},
		"another key of the user":      {keyed("u"), keyed("u"), roles("key"), nil},
		"another user's key":           {keyed("u"), keyed("v"), roles("key"), []string{another}},
		"a key of nobody knows whom":   {keyed("u"), keyed(""), roles("key"), nil},
		"many roles":                   {login("a@example.com"), login("b@example.com"), roles(strings.Fields(strings.Repeat("token ", 12))...), []string{another, `"token9" and 2 others`}},
	} {
		said := strings.Join(ConfigWritten("ci", c.old, c.next, c.roles), "\n")
		assert.Equal(t, len(c.says) > 0, said != "", "%s: %s", name, said)
		for _, text := range []string{refused, another, session, keys} {
			assert.Equal(t, strings.Contains(strings.Join(c.says, "\n"), text), strings.Contains(said, text), "%s: %s", name, text)
		}
		for _, text := range c.says {
			assert.Contains(t, said, text, name)
		}
	}
	assert.Empty(t, ConfigDeleted("ci", nil))
	assert.Contains(t, ConfigDeleted("ci", roles("token"))[0], `reads of role "token0" fail`)
	assert.Contains(t, ConfigDeleted("ci", roles("shared"))[0], session)
	assert.Contains(t, ConfigDeleted("ci", roles("sharedkey"))[0], keys)
	assert.Contains(t, RoleDeleted("app", nil)[0], `role "app" is gone`)
	assert.Contains(t, RoleDeleted("app", roles("sharedkey")[0].Role)[0], `leases of role "app" share has ended`)
}

func TestRoleWritten(t *testing.T) {
	a, b := login("a@example.com"), login("b@example.com")
	for name, c := range map[string]struct {
		old, next     *store.Role
		before, after *store.Config
		says          []string
	}{
		"a new role":              {nil, &store.Role{MaxTTL: 1}, nil, a, nil},
		"the same":                {&store.Role{TTL: 5, MaxTTL: 9}, &store.Role{TTL: 5, MaxTTL: 9}, a, a, nil},
		"longer":                  {&store.Role{TTL: 5, MaxTTL: 9}, &store.Role{TTL: 6, MaxTTL: 10}, a, a, nil},
		"no limits":               {&store.Role{TTL: 5, MaxTTL: 9}, &store.Role{}, a, a, nil},
		"a shorter ttl":           {&store.Role{TTL: 5}, &store.Role{TTL: 4}, a, a, []string{"ttl of role"}},
		"a max_ttl":               {&store.Role{}, &store.Role{MaxTTL: 9}, a, a, []string{"max_ttl of role"}},
		"a shorter max_ttl":       {&store.Role{MaxTTL: 9}, &store.Role{MaxTTL: 8}, a, a, []string{"max_ttl of role"}},
		"another user's config":   {&store.Role{ConfigName: "a"}, &store.Role{ConfigName: "b"}, a, b, []string{"another user's config"}},
		"the user's other config": {&store.Role{ConfigName: "a"}, &store.Role{ConfigName: "a2"}, a, a, nil},
		"a key no more shared":    {&store.Role{CredentialType: "api_key", Shared: true}, &store.Role{CredentialType: "api_key"}, a, a, []string{"share has ended"}},
		"a shared key's user":     {&store.Role{CredentialType: "api_key", Shared: true}, &store.Role{CredentialType: "api_key", Shared: true, UserUID: "u"}, a, a, []string{"share has ended"}},
		"a shared key's ttl":      {&store.Role{CredentialType: "api_key", Shared: true, TTL: 4}, &store.Role{CredentialType: "api_key", Shared: true, TTL: 5}, a, a, nil},
		"from one that has gone":  {&store.Role{ConfigName: "a"}, &store.Role{ConfigName: "b"}, nil, b, []string{"another user's config"}},
	} {
		said := RoleWritten("app", c.old, c.next, c.before, c.after)
		assert.Len(t, said, len(c.says), name)
		for i, text := range c.says {
			assert.Contains(t, said[i], text, name)
		}
	}
}

func TestConfigThatMayNotBeMeant(t *testing.T) {
	slow, expiring, rotated := login("a@example.com"), keyed("u"), keyed("u")
	slow.QueueTimeout, slow.RequestTimeout = 50*time.Second, 50*time.Second
	expiring.APIKeyExpiry, rotated.APIKeyExpiry, rotated.RotationPeriod = 1, 1, time.Hour
	assert.Contains(t, Config("ci", slow)[0], "together exceed the 1m30s")
	assert.Contains(t, Config("ci", expiring)[0], "expires at 1970-01-01T00:00:01Z, and nothing rotates it")
	assert.Empty(t, Config("ci", rotated))
	assert.Empty(t, Config("ci", login("a@example.com")))

	assert.Contains(t, NameTemplate("app", &store.Role{CredentialType: store.CredentialAPIKey, NameTemplate: "x"})[0], "could be the same")
	assert.Empty(t, NameTemplate("app", &store.Role{CredentialType: store.CredentialAPIKey}))
	assert.Empty(t, NameTemplate("app", &store.Role{NameTemplate: "x"}))
}
