package palettetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUserInfo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mine := f.must("GET", "/v1/users/info", f.login(alice), "").decode(t)
	assert.Equal(t, "example", mine["orgName"])
	assert.Equal(t, alice.UID, mine["userUid"])
	assert.NotEmpty(t, mine["tenantUid"])
	theirs := f.must("GET", "/v1/users/info", f.login(admin), "").decode(t)
	assert.Equal(t, mine["tenantUid"], theirs["tenantUid"])
	elsewhere := f.must("GET", "/v1/users/info", f.login(other), "").decode(t)
	assert.NotEqual(t, mine["tenantUid"], elsewhere["tenantUid"])
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token, dead := f.login(alice), f.login(alice)
	f.EndSession(dead)
	key := f.createKey(token, "k", "", time.Hour)
	tests := []struct {
		name, authorization, apiKey string
		status                      int
	}{
		{"token", token, "", 200},
		{"key", "", key.secret, 200},
		{"both", token, key.secret, 200},
		{"dead token, live key", dead, key.secret, 401},
		{"dead token", dead, "", 401},
		{"key as token", key.secret, "", 401},
		{"token as key", "", token, 401},
		{"Bearer", "Bearer " + token, "", 401},
		{"none", "", "", 401},
	}
	for _, path := range []string{"/v1/users/info", "/v1/projects/alerts", "/v1/apiKeys"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				request := f.request("GET", path, "")
				request.Header.Set("ProjectUid", "any")
				setIf(request.Header, "Authorization", tt.authorization)
				setIf(request.Header, "ApiKey", tt.apiKey)
				r, err := f.roundTrip(request)
				require.NoError(t, err)
				assert.Equal(t, tt.status, r.status)
			})
		}
	}
}
