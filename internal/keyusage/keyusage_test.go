package keyusage_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/keyusage"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

const name = enginetest.Name

// mount is an engine with a config and a role that hands out API keys.
type mount struct {
	*enginetest.Engine
	role *store.Role
	made int
}

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{Engine: enginetest.New(t, opts...), role: &store.Role{ConfigName: name, CredentialType: store.CredentialAPIKey}}
	m.Configure()
	t.Cleanup(func() {
		assert.NoError(t, m.Sessions.End(context.WithoutCancel(t.Context()), m.Storage, name))
		for _, key := range m.Palette.LiveKeys() {
			m.Palette.DeleteKey(key.UID)
		}
	})
	return m
}

// keyed leads the config to an API key of the user's own.
func keyed(t *testing.T) *mount {
	m := newMount(t)
	m.PlantKey("own", "the-own-key", enginetest.Month)
	m.Configure(func(c *store.Config) { c.Email, c.Password, c.APIKey = "", "", "the-own-key" })
	return m
}

// create makes a key that lives for an hour.
func (m *mount) create(ctx context.Context) (store.Key, error) {
	m.made++
	return m.Keys.Create(ctx, m.Storage, m.role, m.Stored(), fmt.Sprintf("vault-key-%d", m.made), time.Now().Add(time.Hour))
}

func (m *mount) key() {
	m.T.Helper()
	_, err := m.create(m.T.Context())
	require.NoError(m.T, err)
}

// usage is how many keys the fullest user of the config has; -1 where it is not known.
func (m *mount) usage() int {
	u, known := m.Usage.Of(name, m.Stored())
	if !known {
		return -1
	}
	return u.Keys
}

// minute is the periodic run.
func (m *mount) minute() {
	m.T.Helper()
	require.NoError(m.T, m.Usage.EachMinute(m.T.Context(), m.Storage))
	m.Wait()
}

// Keys are counted ten minutes after the last count where some were made since, and with what is at hand: counting is worth no login.
func TestCountIsOfKeysThatWereMade(t *testing.T) {
	for by, of := range map[string]func(*testing.T) *mount{"a session": func(t *testing.T) *mount { return newMount(t) }, "an API key": keyed} {
		enginetest.Bubble(t, by, func(t *testing.T) {
			m := of(t)
			have := len(m.Palette.LiveKeys())
			m.minute()
			assert.Zero(t, m.Palette.Calls(palettetest.APIKeyList), "none was made")
			m.key()
			m.key()
			assert.Equal(t, -1, m.usage())
			m.minute()
			assert.Equal(t, have+2, m.usage())
			m.key()
			time.Sleep(10*time.Minute - time.Second)
			m.minute()
			assert.Equal(t, have+2, m.usage(), "a count is ten minutes old")
			time.Sleep(time.Second)
			m.minute()
			assert.Equal(t, have+3, m.usage())
			time.Sleep(time.Hour)
			m.minute()
			assert.Equal(t, 2, m.Palette.Calls(palettetest.APIKeyList))
			assert.LessOrEqual(t, m.Palette.Calls(palettetest.UserInfo), 2, "one for the count, and one for Palette's clock")
			m.Usage.Forget(name)
			assert.Equal(t, -1, m.usage())
		})
	}
}

// Any listing is a count.
func TestCountIsNotMadeSoonAfterAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Usage.Listed(name, m.Stored(), nil)
		m.key()
		m.minute()
		assert.Zero(t, m.Palette.Calls(palettetest.APIKeyList))
		time.Sleep(10 * time.Minute)
		m.minute()
		assert.Equal(t, 1, m.usage())
	})
}

// A count that fails is logged, and tried again in ten minutes.
func TestCountThatFails(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(m *mount)
		said    string
	}{
		"nobody may look up the user": {func(m *mount) { m.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 403}) }, keyusage.MsgNotCounted},
		"nobody may list":             {func(m *mount) { m.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 403}) }, keyusage.MsgNotCounted},
		"there is no session":         {func(m *mount) { assert.NoError(m.T, m.Sessions.End(m.T.Context(), m.Storage, name)) }, "there is no session"},
		"the session cannot be read": {func(m *mount) {
			m.Sessions.Invalidate(store.SessionPrefix + name)
			m.Storage.FailOn("get", store.SessionPrefix)
		}, "disk"},
		"the config is another login":   {func(m *mount) { m.Configure(func(c *store.Config) { c.Org = "other" }) }, "there is no session"},
		"the connection cannot be used": {func(m *mount) { m.Configure(func(c *store.Config) { c.CACert = "no PEM" }) }, "ca_cert"},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := newMount(t)
			m.key()
			c.prepare(m)
			for range 2 {
				m.minute()
			}
			m.Logged(c.said)
			assert.Equal(t, -1, m.usage())
			m.Storage.Heal()
			m.Palette.ClearAll()
			m.Configure()
			m.key()
			time.Sleep(10 * time.Minute)
			m.minute()
			assert.Equal(t, 2, m.usage())
		})
	}
}

func TestCountOfAConfigThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.key()
		m.Configs.Invalidate(store.ConfigPrefix + name)
		m.Storage.FailOn("get", store.ConfigPrefix)
		require.ErrorIs(t, m.Usage.EachMinute(t.Context(), m.Storage), enginetest.ErrDisk)
		m.Storage.Heal()
		require.NoError(t, m.Configs.Delete(t.Context(), m.Storage, name))
		m.minute()
		assert.Zero(t, m.Palette.Calls(palettetest.APIKeyList))
		m.Configure()
	})
}

// The fullest user counts of those for whom keys were made. Without the config's own user a listing of several says nothing of it.
func TestCountIsEachUsers(t *testing.T) {
	keys := func(of ...string) []palette.APIKey {
		list := make([]palette.APIKey, len(of))
		for i, user := range of {
			list[i].UserUID = user
		}
		return list
	}
	for _, c := range []struct {
		name   string
		listed []palette.APIKey
		want   int
	}{
		{"none", keys(), 0}, {"one user's", keys("a", "a"), 2}, {"a listing that names no users", keys("", "", ""), 3}, {"several users'", keys("a", "b"), -1},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			m.Usage.Listed(name, m.Stored(), c.listed)
			assert.Equal(t, c.want, m.usage())
			u, _ := m.Usage.Of(name, m.Stored())
			assert.Equal(t, time.Now(), u.At)
			m.Configure(func(c *store.Config) { c.Org = "other" })
			assert.Equal(t, -1, m.usage(), "of another login")
			m.Configure()
		})
	}
}

func TestCountOfKeysForAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admin, other := palettetest.DefaultUser, palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1", UID: "other"}
		admin.TenantAdmin = true
		m := newMount(t, palettetest.WithUser(admin), palettetest.WithUser(other))
		m.key()
		m.role.UserUID = other.UID
		m.key()
		m.key()
		m.minute()
		assert.Equal(t, 2, m.usage())
	})
}

// What Palette says, or a count, tells whether a key is refused for Palette's limit.
func TestCreateFailedNamesPalettesLimit(t *testing.T) {
	const limit = "this is Palette's limit of API keys for a user"
	fault := func(status int, code, message string) palettetest.Fault {
		return palettetest.Fault{Status: status, Times: 1, Body: `{"code":"` + code + `","message":"` + message + `"}`}
	}
	for _, c := range []struct {
		name     string
		fault    palettetest.Fault
		keyLimit int
		says     string
		not      string
	}{
		{"by its code", fault(400, "ResourceLimitExceeded", "no"), 20, limit + " (20 by the config's key_limit), which had 2 at 2026-03-01T12:00:00Z", ""},
		{"by its message", fault(403, "X", "the user has too many keys"), 20, limit, ""},
		{"by its message, of a fault", fault(500, "X", "quota"), 20, limit, ""},
		{"without a limit", fault(400, "X", "quota"), 0, limit + ", which had 2", "key_limit)"},
		{"by the count", fault(400, "X", "no"), 2, limit + " (2 by", ""},
		{"below the limit", fault(400, "X", "no"), 20, "refuses to create an API key", limit},
		{"a fault", fault(500, "X", "no"), 2, "answered 500", limit},
		{"a dead session", fault(401, "X", "quota"), 2, "", limit},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			m := newMount(t)
			m.Configure(func(cfg *store.Config) { cfg.KeyLimit = c.keyLimit })
			m.key()
			m.key()
			m.Palette.Inject(palettetest.APIKeyCreate, c.fault)
			if c.fault.Status == 401 {
				m.Palette.Inject(palettetest.APIKeyCreate, c.fault) // that of the next session too
			}
			_, err := m.create(t.Context())
			require.Error(t, err)
			for _, role := range []*store.Role{m.role, nil} {
				told := m.Usage.CreateFailed(t.Context(), m.Storage, name, role, m.Stored(), err, "a hint")
				require.ErrorContains(t, told, c.says)
				if c.not != "" {
					assert.NotContains(t, told.Error(), c.not)
				}
			}
			assert.LessOrEqual(t, m.Palette.Calls(palettetest.APIKeyList), 1, "a count of just now is not made again")
		})
	}
}

func TestCreateFailedOfAnotherCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		login := &palette.Error{Op: palette.OpLogin, Kind: answer.Rejected, Message: "too many"}
		for _, err := range []error{login, enginetest.ErrDisk} {
			assert.NotContains(t, m.Usage.CreateFailed(t.Context(), m.Storage, name, m.role, m.Stored(), err, "").Error(), "limit of API keys")
		}
		assert.Zero(t, m.Palette.TotalCalls())
	})
}
