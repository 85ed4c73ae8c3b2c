package e2e

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fieldsOf are the fields of the paths, as docs/reference names them.
var fieldsOf = []struct {
	path, document string
	in, out        []string
}{
	{"config", "config", configIn, configOut},
	{"config/ci", "config/{name}", append(configIn, "name"), configOut},
	{
		"roles/app", "roles/{name}",
		append(roleFields, "name"), roleFields,
	},
	{"creds/app", "creds/{name}", []string{"ttl", "renewable", "name"}, []string{"token", "token_id", "expires_at", "address", "org", "project_uid", "api_key", "api_key_uid", "api_key_name"}},
	{"rotate-root", "rotate-root", nil, nil},
	{"rotate-root/ci", "rotate-root/{name}", []string{"name"}, nil},
	{"trust/ci", "trust/{name}", []string{"ca_cert", "tls_server_name", "proxy_url", "client_cert", "client_key", "name"}, nil},
	{"check", "check", []string{"login"}, checkOut},
	{"check/ci", "check/{name}", []string{"login", "name"}, checkOut},
	{"metrics", "metrics", nil, nil}, // its answer is no JSON
	{"sessions/default", "sessions/{name}", []string{"name"}, []string{"issued_at", "expires_at", "refreshes", "address", "org", "email", "username", "api_keys"}},
}

var (
	configIn = slices.Clip([]string{
		"address", "email", "password", "org", "ca_cert", "client_cert", "client_key", "tls_server_name",
		"tls_skip_verify", "proxy_url", "request_timeout", "rate_limit", "rate_burst", "key_limit", "queue_timeout", "verify_connection",
		"api_key", "api_key_uid", "password_policy", "rotation_period", "login_type", "username",
	})
	configOut = []string{
		"address", "email", "org", "password_set", "ca_cert", "client_cert", "client_key_set", "tls_server_name",
		"tls_skip_verify", "proxy_url", "request_timeout", "rate_limit", "rate_burst", "key_limit", "queue_timeout",
		"api_key_set", "api_key_uid", "api_key_expires_at", "password_policy", "rotation_period", "last_rotated", "next_rotation", "rotation_error", "login_type", "username",
	}
	checkOut = []string{
		"ok", "config", "address", "method", "org", "tenant_uid", "user_uid", "token_life", "clock_offset",
		"login_ms", "user_info_ms", "revoke_ms", "revocation", "step", "error", "advice", "withheld_until",
		"password_reset", "refresh", "user_info",
	}
	roleFields = slices.Clip([]string{
		"config_name", "ttl", "max_ttl", "renewable", "project_uid", "shared",
		"credential_type", "user_uid", "name_template", "description",
	})
)

func TestPathHelpNamesEachField(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t))
	for _, row := range fieldsOf {
		help := f.cli("path-help", f.mount+"/"+row.path)
		for _, field := range row.in {
			assert.Regexp(t, `(?m)^ +`+field+` \(`, help, row.path)
		}
		assert.Contains(t, help, "## DESCRIPTION", row.path)
		assert.Equal(t, len(row.in) > 0, strings.Contains(help, "## PARAMETERS"), row.path)
	}
	top := f.cli("path-help", f.mount)
	for _, path := range []string{"config", "roles", "creds", "sessions", "rotate-root", "trust", "check", "metrics"} {
		assert.Contains(t, top, path)
	}
}

// document is the part of an OpenAPI document that is looked at here.
type document struct {
	Paths map[string]struct {
		Parameters []parameter `json:"parameters"`
		Get        struct {
			ID         string      `json:"operationId"`
			Parameters []parameter `json:"parameters"`
		} `json:"get"`
		Post struct {
			ID string `json:"operationId"`
		} `json:"post"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"schemas"`
	} `json:"components"`
}

type parameter struct {
	Name string `json:"name"`
}

// fields are those of a request or an answer. Vault names the schema by the operation's
// ID; the $ref from the one to the other it loses on the way from an external plugin.
// There are none where there is no such operation.
func (d document) fields(operationID, kind string) []string {
	if operationID == "" {
		return nil
	}
	return slices.Collect(maps.Keys(d.Components.Schemas[schemaName(operationID, kind)].Properties))
}

// schemaName is how Vault names the schema of an operation's request or answer.
func schemaName(operationID, kind string) string {
	var name string
	for _, word := range strings.Split(operationID, "-") {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name + kind
}

func TestOpenAPINamesEachField(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t))
	var d document
	require.NoError(t, json.Unmarshal(f.specs(), &d))
	for _, row := range fieldsOf {
		path, found := d.Paths["/"+f.mount+"/"+row.document]
		require.True(t, found, "the document has no path %s; it has %s", row.document, slices.Collect(maps.Keys(d.Paths)))
		in := d.fields(path.Post.ID, "Request")
		given := path.Parameters
		if path.Post.ID == "" { // else the query's fields are the body's
			given = append(given, path.Get.Parameters...)
		}
		for _, p := range given {
			in = append(in, p.Name)
		}
		assert.ElementsMatch(t, row.in, in, "post %s", row.document)
		assert.ElementsMatch(t, row.out, d.fields(path.Get.ID, "Response"), "get %s", row.document)
	}
}
