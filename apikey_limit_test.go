package palettesecrets

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// plantKeys plants keys of a user, which live for a day.
func (w *world) plantKeys(u palettetest.User, n int) {
	for i := range n {
		w.palette.PlantKey(u.Email, u.Org, fmt.Sprintf("%s-%d", u.Email, i), "by-hand", fmt.Sprintf("Key-By-Hand-%s-%d", u.Email, i), time.Now().Add(24*time.Hour))
	}
}

// Where Palette refuses a key, its words or the number of the user's keys tell whether Palette's limit of keys is the
// cause. Only then the error names the limit, and what helps.
func TestKeyLimitIsNamed(t *testing.T) {
	const limit, may = "Palette's limit of API keys for a user", "check that its user may do so"
	refusal := func(status int, code, message string) palettetest.Fault {
		return palettetest.Fault{Status: status, Body: fmt.Sprintf(`{"code":%q,"message":%q,"ref":"r"}`, code, message)}
	}
	for _, c := range []struct {
		name  string
		keys  int // that the user has
		set   fields
		fault palettetest.Fault
		texts []string
	}{
		{"as the stand-in says it", 20, nil, palettetest.Fault{}, []string{limit, "20 by the config's key_limit", "had 20 at 2026-03-01T12:00:00Z", "raise the limit", "ResourceLimitExceeded", "shorter ttl"}},
		{"words of a quota", 3, nil, refusal(403, "QuotaReached", "no more"), []string{limit, "had 3 at"}},
		{"words, by a 500", 3, nil, refusal(500, "OperationFailed", "Maximum number of api keys for user reached"), []string{limit}},
		{"no words, but as many keys", 20, nil, refusal(400, "OperationFailed", "the operation failed"), []string{limit, "had 20 at"}},
		{"no words, and fewer keys", 19, nil, refusal(400, "OperationFailed", "the operation failed"), []string{may}},
		{"no words, as many as another limit", 5, fields{"key_limit": 5}, refusal(403, "Forbidden", "no"), []string{limit, "5 by the config's key_limit"}},
		{"no words, no limit known", 50, fields{"key_limit": 0}, refusal(403, "Forbidden", "no"), []string{may}},
		{"words, no limit known", 50, fields{"key_limit": 0}, palettetest.Fault{}, []string{limit, "had 50 at"}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t, palettetest.WithKeyLimit(20))
			w.write("roles/key", fields{"credential_type": "api_key"})
			w.write("config", c.set)
			w.plantKeys(palettetest.DefaultUser, c.keys)
			w.palette.Inject(palettetest.APIKeyCreate, c.fault)
			w.mistake(read, "creds/key", nil, append(c.texts, `refuses to create an API key for config "default"`, "Palette's message")...)
			lists := w.palette.Calls(palettetest.APIKeyList)
			w.mistake(read, "creds/key", nil, c.texts...)
			assert.Equal(t, lists, w.palette.Calls(palettetest.APIKeyList), "a listing a minute is enough")
			w.palette.ClearAll()
			for range 5 {
				w.minute()
			}
			time.Sleep(24 * time.Hour)
			w.end()
		})
	}
}

// What is no refusal of Palette's points to no limit.
func TestKeyLimitIsNotNamedForOtherFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/key", fields{"credential_type": "api_key"})
		w.plantKeys(palettetest.DefaultUser, 25)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 429, Body: `{"code":"TooManyRequests","message":"more requests than the limit allows"}`, Times: 1})
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 500, Times: 1})
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 403, Foreign: true, Body: "your limit is reached", Times: 1})
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusBadGateway} {
			_, err := w.handle(t.Context(), read, "creds/key", nil)
			requireCoded(t, err, status)
			assert.NotContains(t, err.Error(), "limit of API keys")
			time.Sleep(5 * time.Second)
		}
		for range 5 {
			w.minute()
		}
		time.Sleep(24 * time.Hour)
		w.end()
	})
}

// The limit is a user's: another user of the role is looked at.
func TestKeyLimitIsTheKeysUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		other, _ := w.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		w.write("roles/other", fields{"credential_type": "api_key", "user_uid": other.UID})
		w.plantKeys(palettetest.DefaultUser, 20)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 403, Times: 2})
		w.mistake(read, "creds/other", nil, "limit of API keys", "had 20 at")
		w.mistake(read, "creds/key", nil, "check that its user may do so")
		time.Sleep(24 * time.Hour)
		w.end()
	})
}

// A rotation of a config's own key makes one, too.
func TestKeyLimitIsNamedByARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, own := keyed(t)
		w.write("config/k", fields{"api_key_uid": own.UID})
		w.plantKeys(admin, 19)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 400, Times: 1})
		require.ErrorContains(t, w.rotateKey(), "Palette's limit of API keys for a user (20 by the config's key_limit), which had 20 at")
		time.Sleep(24 * time.Hour)
		w.keyWorks()
	})
}

// metrics show the keys of the last listing, with its time, and make none.
func TestMetricsTellHowManyKeysAUserHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/key", fields{"credential_type": "api_key"})
		const keys, limit, listed = `user_api_keys{config="default"}`, `user_api_keys_limit{config="default"}`, `user_api_keys_listed_timestamp_seconds{config="default"}`
		assert.NotContains(t, w.metrics(), keys, "nobody has made any")
		w.plantKeys(palettetest.DefaultUser, 15)
		l := w.creds("key")
		calls := w.palette.TotalCalls()
		w.metrics()
		assert.Equal(t, calls, w.palette.TotalCalls(), "a scrape calls nobody")
		w.minute()
		w.wait()
		at := time.Now()
		for range 3 {
			metrics := w.metrics()
			assert.InDelta(t, 16, metrics[keys], 0)
			assert.InDelta(t, 20, metrics[limit], 0)
			assert.InDelta(t, float64(at.Unix()), metrics[listed], 0)
			w.minute()
		}
		lists := w.palette.Calls(palettetest.APIKeyList)
		l.mustRevoke()
		for range 20 {
			w.minute()
		}
		assert.Equal(t, lists, w.palette.Calls(palettetest.APIKeyList), "nobody makes any")
		w.creds("key").mustRevoke()
		w.minute()
		w.wait()
		assert.InDelta(t, 15, w.metrics()[keys], 0)
		w.write("config", fields{"key_limit": 0})
		assert.NotContains(t, w.metrics(), limit)
		assert.Contains(t, w.metrics(), keys)
		w.write("config", w.login(fields{"org": "other", "verify_connection": false}))
		assert.NotContains(t, w.metrics(), keys, "another user's")
		time.Sleep(24 * time.Hour)
	})
}

// A config of an older version has Palette's limit.
func TestConfigOfAnOlderVersionHasALimitOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plant(store.ConfigPrefix+"default", `{"email":"a@example.com","password":"p","address":"https://palette.example.com"}`)
		assert.Equal(t, 20, w.read("config").Data["key_limit"])
		w.write("config", fields{"key_limit": 0, "verify_connection": false})
		w.uncache()
		assert.Equal(t, 0, w.read("config").Data["key_limit"])
	})
}
