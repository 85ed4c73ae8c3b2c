package palettesecrets

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRoleIsWrittenReadListedAndDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("config/ci", w.login())
		assert.Nil(t, w.read("roles/app"))
		w.write("roles/app", fields{"config_name": "ci", "ttl": "5m", "max_ttl": 3600, "renewable": false, "project_uid": "5f0e1d", "shared": true})
		want := fields{"config_name": "ci", "ttl": int64(300), "max_ttl": int64(3600), "renewable": false, "project_uid": "5f0e1d", "shared": true, "credential_type": "token", "user_uid": "", "name_template": "", "description": ""}
		assert.Equal(t, want, w.read("roles/app").Data)

		w.write("roles/app", fields{"max_ttl": "2h"})
		want["max_ttl"] = int64(7200)
		assert.Equal(t, want, w.read("roles/app").Data, "a write changes only the fields that it names")
		assert.Equal(t, []string{"app"}, w.list("roles/"))
		w.remove("roles/app")
		assert.Nil(t, w.read("roles/app"))
	})
}

func TestRoleHasDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		assert.Equal(t, fields{"config_name": "default", "ttl": int64(0), "max_ttl": int64(0), "renewable": true, "project_uid": "", "shared": false, "credential_type": "token", "user_uid": "", "name_template": "", "description": ""}, w.read("roles/app").Data)
	})
}

func TestRoleWarnsWhenRenewableIsLeftAtTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, c := range []struct {
			data  fields
			warns bool
		}{
			{nil, true},
			{fields{"ttl": "1m"}, true},
			{fields{"renewable": true}, false},
			{fields{"renewable": false}, false},
			{fields{"ttl": "2m"}, false}, // it is false now
		} {
			resp := w.write("roles/warned", c.data)
			if !c.warns {
				assert.Nil(t, resp, "%v", c.data)
				continue
			}
			require.Len(t, resp.Warnings, 1, "%v", c.data)
			assert.Contains(t, resp.Warnings[0], "renewable=false")
		}
		assert.Empty(t, w.read("roles/app").Warnings)
	})
}

func TestRoleRefusesBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, c := range []struct {
			data  fields
			texts []string
		}{
			{fields{"ttl": "2h", "max_ttl": "1h"}, []string{`"ttl" is 2h0m0s`, `"max_ttl", which is 1h0m0s`}},
			{fields{"ttl": 0.5}, []string{`"ttl" is 0.5`, "whole seconds"}},
			{fields{"max_ttl": "87601h"}, []string{`"max_ttl" is 87601h0m0s`, "10 years"}},
			{fields{"ttl": "500ms"}, []string{`"ttl" is "500ms"`, "whole seconds"}},
			{fields{"max_ttl": "-1h"}, []string{`"max_ttl" is "-1h"`}},
			{fields{"max_ttl": []int{1}}, []string{`"max_ttl" must be given once`}},
			{fields{"config_name": "gone"}, []string{`"config_name" is "gone"`, "write config/gone first"}},
			{fields{"config_name": "a/b"}, []string{`"config_name" is "a/b"`, "no name"}},
			{fields{"config_name": ""}, []string{`"config_name" is ""`}},
			{fields{"project_uid": "a b"}, []string{`"project_uid" is "a b"`}},
			{fields{"tll": 3}, []string{`unknown field "tll"`, "ttl"}},
			{fields{"name": "other"}, []string{`"name" is part of the path`}},
			{fields{"renewable": "perhaps"}, []string{`"renewable" is "perhaps"`, "boolean"}},
		} {
			w.mistake(update, "roles/bad", c.data, c.texts...)
			assert.Nil(t, w.read("roles/bad"))
		}
		w.mistake(update, "roles/"+strings.Repeat("a", 257), nil, `"name" is longer than 256 bytes`)
		w.write("roles/short", fields{"max_ttl": "1h"})
		w.mistake(update, "roles/short", fields{"ttl": "2h"}, "which is 1h0m0s") // against what is stored
	})
}

func TestRoleStorageFaultsAreErrors(t *testing.T) {
	for _, c := range []struct {
		op, prefix string
		request    logical.Operation
		path       string
	}{
		{"get", store.RolePrefix, read, "roles/app"},
		{"get", store.RolePrefix, update, "roles/app"},
		{"get", store.ConfigPrefix, update, "roles/app"},
		{"put", store.RolePrefix, update, "roles/app"},
		{"delete", store.RolePrefix, del, "roles/app"},
		{"list", store.RolePrefix, logical.ListOperation, "roles/"},
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := configured(t)
			w.uncache()
			w.storage.failOn(c.op, c.prefix)
			_, err := w.handle(t.Context(), c.request, c.path, nil)
			assert.ErrorIs(t, err, errDisk, "%s of %s", c.op, c.prefix)
		})
	}
}
