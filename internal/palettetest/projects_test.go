package palettetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestProjectsMetadata(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		const path = "/v1/dashboard/projects/metadata"
		mine := `{"items":[{"metadata":{"name":"Default","uid":"` + f.ProjectUID(alice.Org) + `"}}]}`
		token := f.login(alice)
		key := "key:" + f.createKey(token, "k", "", time.Hour).secret
		tests := []struct{ name, auth, query, want string }{
			{"token", token, "", mine},
			{"key", key, "", mine},
			{"its name", key, "?name=Default", mine},
			{"another name", key, "?name=Other", `{"items":[]}`},
			{"another user of the tenant", f.login(admin), "", mine},
		}
		for _, tt := range tests {
			r := f.must("GET", path+tt.query, tt.auth, "")
			assert.Equal(t, 200, r.status, tt.name)
			assert.JSONEq(t, tt.want, r.text, tt.name)
		}
		assert.NotEqual(t, f.ProjectUID(alice.Org), f.ProjectUID(other.Org), "a project for each tenant")
		assert.Empty(t, f.ProjectUID("nobody's"))
		wantError(t, f.must("GET", path, "dead", ""), 401, "Unauthorized")
		assert.Equal(t, 6, f.Calls(palettetest.ProjectsMetadata))
	})
}

// The forms are those of palette-sdk-go, api/models: V1ProjectAlertComponents.
func TestAlerts(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		r := f.must("GET", "/v1/projects/alerts", f.login(alice), "")
		assert.JSONEq(t, `{"components":[{"name":"ClusterHealth","description":"Cluster health alerts",
			"supportedChannels":["email","app","http"]}]}`, r.text)
		wantError(t, f.must("GET", "/v1/projects/alerts", "key:dead", ""), 401, "Unauthorized")
	})
}
