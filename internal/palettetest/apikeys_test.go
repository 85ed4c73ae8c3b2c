package palettetest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

type madeKey struct{ secret, uid string }

func (f *fixture) request(method, path, body string) *http.Request {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.URL()+path, strings.NewReader(body))
	require.NoError(f.t, err)
	return request
}

func setIf(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

func (f *fixture) at(d time.Duration) string { return now().Add(d).Format(time.RFC3339) }

func (f *fixture) tryCreateKey(auth, name, userUID string, life time.Duration) reply {
	f.t.Helper()
	return f.must("POST", "/v1/apiKeys", auth, fmt.Sprintf(
		`{"metadata":{"name":%q,"annotations":{"by":"test"}},"spec":{"expiry":%q,"userUid":%q}}`, name, f.at(life), userUID))
}

func (f *fixture) createKey(auth, name, userUID string, life time.Duration) madeKey {
	f.t.Helper()
	r := f.tryCreateKey(auth, name, userUID, life)
	require.Equal(f.t, 201, r.status, r.text)
	return madeKey{secret: r.str(f.t, "apiKey"), uid: r.str(f.t, "uid")}
}

// A list has at most 50 items; what it says of the rest leads to all of them, each once.
func TestListsHavePages(t *testing.T) {
	for _, c := range []struct{ size, keys, pages int }{{0, 0, 1}, {0, 50, 1}, {0, 51, 2}, {0, 120, 3}, {1, 3, 3}} {
		inBubble(t, fmt.Sprint(c), func(t *testing.T) {
			f := newFixture(t, palettetest.WithPageSize(c.size))
			auth := f.login(alice)
			for i := range c.keys {
				f.createKey(auth, fmt.Sprintf("k%d", i), "", time.Hour)
			}
			f.createKey(f.login(admin), "the administrator's", "", time.Hour)
			var names []string
			query, pages := "", 0
			for {
				r := f.must("GET", "/v1/apiKeys"+query, auth, "")
				require.Equal(t, 200, r.status, r.text)
				pages++
				var list struct {
					Items []struct {
						Metadata struct{ Name string }
					}
					ListMeta struct{ Continue string }
				}
				require.NoError(t, json.Unmarshal([]byte(r.text), &list))
				for _, item := range list.Items {
					names = append(names, item.Metadata.Name)
				}
				if list.ListMeta.Continue == "" {
					break
				}
				query = "?continue=" + url.QueryEscape(list.ListMeta.Continue)
			}
			assert.Equal(t, c.pages, pages)
			require.Len(t, names, c.keys)
			for i, name := range names {
				assert.Equal(t, fmt.Sprintf("k%d", i), name)
			}
			for _, token := range []string{"x", "bm90IG91cnM=", "a2V5cyBmcm9tIC0x", "a2V5cyBmcm9tIDk5OTk="} {
				assert.Equal(t, 400, f.must("GET", "/v1/apiKeys?continue="+token, auth, "").status, token)
			}
		})
	}
}

func TestCreateKey(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, auth, keyName, userUID string // auth is "user", "boss" or nobody
		life                         time.Duration
		status                       int
		owner                        string
	}{
		{"for itself", "user", "k", "", time.Hour, 201, alice.UID},
		{"for itself, named", "user", "k", alice.UID, time.Hour, 201, alice.UID},
		{"for another", "user", "k", admin.UID, time.Hour, 403, ""},
		{"admin for another", "boss", "k", alice.UID, time.Hour, 201, alice.UID},
		{"admin for itself", "boss", "k", "", time.Hour, 201, admin.UID},
		{"admin for another tenant's user", "boss", "k", other.UID, time.Hour, 404, ""},
		{"admin for nobody", "boss", "k", "nobody", time.Hour, 404, ""},
		{"no name", "user", "", "", time.Hour, 400, ""},
		{"expired", "user", "k", "", 0, 400, ""},
		{"not authenticated", "", "k", "", time.Hour, 401, ""},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			auth := map[string]string{"": "", "user": f.login(alice), "boss": f.login(admin)}[tt.auth]
			r := f.tryCreateKey(auth, tt.keyName, tt.userUID, tt.life)
			require.Equal(t, tt.status, r.status, r.text)
			if tt.status != 201 {
				assert.Empty(t, f.Keys())
				return
			}
			made := f.LiveKeys()[0]
			assert.Equal(t, palettetest.Key{
				UID: r.str(t, "uid"), Name: "k", UserUID: tt.owner, Annotations: map[string]string{"by": "test"},
				Created: now(), Expiry: now().Add(tt.life), Active: true,
			}, made)
			info := f.must("GET", "/v1/users/info", "key:"+r.str(t, "apiKey"), "")
			assert.Equal(t, tt.owner, info.str(t, "userUid"))
		})
	}
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		r := f.must("POST", "/v1/apiKeys", f.login(alice), `{"metadata":{"name":"k"},"spec":{}}`)
		assert.Equal(t, 400, r.status, "without an expiry")
	})
}

func TestKeyLife(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t, palettetest.WithLifetime(24*time.Hour))
		token := f.login(alice)
		key := f.createKey(token, "k", "", time.Hour)
		path, auth := "/v1/apiKeys/"+key.uid, "key:"+key.secret
		works := func(want bool) {
			t.Helper()
			assert.Equal(t, want, f.KeyAlive(key.secret))
			assert.Equal(t, want, len(f.LiveKeys()) == 1)
			assert.Equal(t, map[bool]int{true: 200, false: 401}[want], f.must("GET", "/v1/users/info", auth, "").status)
		}
		works(true)
		update := func(life time.Duration) int {
			return f.must("PUT", path, token, fmt.Sprintf(`{"spec":{"expiry":%q}}`, f.at(life))).status
		}
		assert.Equal(t, 204, update(2*time.Hour))
		time.Sleep(2*time.Hour - time.Second)
		works(true)
		assert.Equal(t, 400, update(0))
		time.Sleep(time.Second)
		works(false)
		assert.Len(t, f.Keys(), 1, "an expired key stays until it is deleted")
		assert.Equal(t, 204, update(time.Hour))
		works(true)
		assert.Equal(t, 204, f.must("PUT", path, token, `{"metadata":{"name":"n","annotations":{"a":"b"}}}`).status)
		assert.Equal(t, "n", f.Keys()[0].Name)

		assert.Equal(t, 204, f.must("PUT", path+"/state", token, `{"isActive":false}`).status)
		works(false)
		assert.Equal(t, 204, f.must("PATCH", path, token, `{"isActive":true}`).status)
		works(true)
		assert.Equal(t, 400, f.must("PATCH", path, token, `{}`).status)
		assert.Equal(t, 204, f.must("DELETE", path, auth, "").status)
		works(false)
		assert.Empty(t, f.Keys())
		wantError(t, f.must("DELETE", path, token, ""), 404, "ApiKeyNotFound")
	})
}

func TestKeyOwnership(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, auth, key string
		status          int
	}{
		{"own", "user", "mine", 200},
		{"admin's by user", "user", "theirs", 404},
		{"user's by admin", "boss", "mine", 200},
		{"user's by another tenant", "stranger", "mine", 404},
		{"unknown", "boss", "nothing", 404},
		{"unauthenticated", "", "mine", 401},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			auths := map[string]string{"user": f.login(alice), "boss": f.login(admin), "stranger": f.login(other)}
			uids := map[string]string{"nothing": "nothing"}
			uids["mine"], uids["theirs"] = f.createKey(auths["user"], "same", "", time.Hour).uid, f.createKey(auths["boss"], "same", "", time.Hour).uid
			changed := map[int]int{200: 204, 404: 404, 401: 401}[tt.status]
			path, auth := "/v1/apiKeys/"+uids[tt.key], auths[tt.auth]
			assert.Equal(t, tt.status, f.must("GET", path, auth, "").status)
			assert.Equal(t, changed, f.must("PUT", path, auth, `{"metadata":{}}`).status)
			assert.Equal(t, changed, f.must("PUT", path+"/state", auth, `{"isActive":true}`).status)
		})
	}
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		user, boss, stranger := f.login(alice), f.login(admin), f.login(other)
		mine, theirs := f.createKey(user, "same", "", time.Hour), f.createKey(boss, "same", "", time.Hour)
		wantError(t, f.must("DELETE", "/v1/apiKeys/"+theirs.uid, user, ""), 404, "ApiKeyNotFound")
		list := func(auth string) []any {
			items, _ := f.must("GET", "/v1/apiKeys", auth, "").decode(t)["items"].([]any)
			return items
		}
		assert.Len(t, list(boss), 2)
		assert.Empty(t, list(stranger))
		require.Len(t, list(user), 1)
		assert.Equal(t, map[string]any{
			"metadata": map[string]any{
				"name": "same", "uid": mine.uid, "annotations": map[string]any{"by": "test"}, "creationTimestamp": f.at(0),
			},
			"spec":   map[string]any{"expiry": f.at(time.Hour), "user": map[string]any{"uid": alice.UID}},
			"status": map[string]any{"isActive": true},
		}, list(user)[0])
	})
}
