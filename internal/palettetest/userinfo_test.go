package palettetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUserInfo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		mine := f.must("GET", "/v1/users/info", f.login(alice), "").decode(t)
		assert.Equal(t, "example", mine["orgName"])
		assert.Equal(t, alice.UID, mine["userUid"])
		assert.NotEmpty(t, mine["tenantUid"])
		theirs := f.must("GET", "/v1/users/info", f.login(admin), "").decode(t)
		assert.Equal(t, mine["tenantUid"], theirs["tenantUid"])
		elsewhere := f.must("GET", "/v1/users/info", f.login(other), "").decode(t)
		assert.NotEqual(t, mine["tenantUid"], elsewhere["tenantUid"])
	})
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, authorization, apiKey string // "token" and "key" are live ones, "dead" a dead token
		status                      int
	}{
		{"token", "token", "", 200},
		{"key", "", "key", 200},
		{"both", "token", "key", 200},
		{"dead token, live key", "dead", "key", 401},
		{"dead token", "dead", "", 401},
		{"key as token", "key", "", 401},
		{"token as key", "", "token", 401},
		{"Bearer", "Bearer token", "", 401},
		{"none", "", "", 401},
	}
	for _, path := range []string{"/v1/users/info", "/v1/projects/alerts", "/v1/dashboard/projects/metadata", "/v1/apiKeys"} {
		for _, tt := range tests {
			inBubble(t, path+" "+tt.name, func(t *testing.T) {
				f := newFixture(t)
				token, dead := f.login(alice), f.login(alice)
				f.EndSession(dead)
				real := strings.NewReplacer("token", token, "dead", dead, "key", f.createKey(token, "k", "", time.Hour).secret)
				request := f.request("GET", path, "")
				request.Header.Set("ProjectUid", "any")
				setIf(request.Header, "Authorization", real.Replace(tt.authorization))
				setIf(request.Header, "ApiKey", real.Replace(tt.apiKey))
				r, err := f.roundTrip(request)
				require.NoError(t, err)
				assert.Equal(t, tt.status, r.status)
			})
		}
	}
}
