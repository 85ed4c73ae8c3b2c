package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// sample is a request and its answer, as docs/reference/api.md shows them. Operation is the ID in the
// mount's OpenAPI document; of a request to Vault itself, its name.
type sample struct {
	Operation string         `json:"operation"`
	Method    string         `json:"method"`
	Path      string         `json:"path"`
	Payload   map[string]any `json:"payload,omitempty"`
	Status    int            `json:"status"`
	Answer    any            `json:"answer,omitempty"`
}

// placeholders stand for what differs from run to run, by the name of the field, and for secrets.
var placeholders = map[string]any{
	"request_id": "5c1c0d4e-7a45-2f38-9e2b-3d6f1a80b7c2",
	"password":   "…", "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…", "api_key": "ZmFrZS1rZXktb2Yt…",
	"token_id": "c6ddcd42c39ae44a25d93873", "api_key_uid": "4fb02f01ff25442389ddfa3c", "uid": "4fb02f01ff25442389ddfa3c",
	"tenant_uid": "cbd032accd8cdffe15813112", "user_uid": "7aedef3548825699954441ab",
	"clock_offset": 0.3, "login_ms": 184.2, "user_info_ms": 38.9, "revoke_ms": 41.7,
}

// enveloped are the fields of Vault's own answer that are shown; what else there is depends on its version.
var enveloped = []string{"request_id", "lease_id", "lease_duration", "renewable", "data", "warnings", "errors"}

var (
	keyName      = regexp.MustCompile(`^(vault-[\w-]+-)[0-9A-Za-z]{20}$`)
	leaseID      = regexp.MustCompile(`^(\S+/creds/[\w-]+/)\w+$`)
	shownMetrics = regexp.MustCompile(`(?m)^(?:# \w+ )?vault_palette_(?:configs|roles)[ {].*\n`)
)

// stable makes a value the same in each run: secrets, names, times and durations are replaced.
func (f *fixture) stable(field string, value any) any {
	if placeholder, ok := placeholders[field]; ok && value != "" {
		return placeholder
	}
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			v[name] = f.stable(name, inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = f.stable("", inner)
		}
	case string:
		v = strings.NewReplacer(f.palette.URL(), "https://palette.example.com", f.mount+"/", "palette/").Replace(v)
		if _, err := time.Parse(time.RFC3339, v); err == nil {
			return "2026-11-24T10:31:48Z"
		}
		return keyName.ReplaceAllString(leaseID.ReplaceAllString(v, "${1}p4G3AGvhq5fwF8O4PzivdapQ"), "${1}DCEcaEZZy0C3A1RIKzph")
	case float64:
		if field == "lease_duration" { // a shared token has lived for a moment
			return float64((int(v) + 59) / 60 * 60)
		}
	}
	return value
}

// sampled sends a request with Vault's own path, and returns it with its answer.
func (f *fixture) sampled(operation, method, path string, payload map[string]any) (s sample, answer map[string]any) {
	f.t.Helper()
	text, err := json.Marshal(payload)
	require.NoError(f.t, err)
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.vault.Address+"/v1/"+path, bytes.NewReader(text))
	require.NoError(f.t, err)
	req.Header.Set("X-Vault-Token", f.vault.Token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	s = sample{Operation: operation, Method: method, Path: "/" + strings.Replace(path, f.mount, "palette", 1), Status: resp.StatusCode}
	s.Payload, _ = f.stable("", maps.Clone(payload)).(map[string]any)
	switch {
	case len(text) == 0:
	case !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"):
		s.Answer = strings.Join(shownMetrics.FindAllString(string(text), -1), "")
	default:
		require.NoError(f.t, json.Unmarshal(text, &answer))
		shown := make(map[string]any)
		for _, field := range enveloped {
			if value := answer[field]; value != nil {
				shown[field] = value
			}
		}
		copied, err := json.Marshal(shown)
		require.NoError(f.t, err)
		require.NoError(f.t, json.Unmarshal(copied, &s.Answer))
		s.Answer = f.stable("", s.Answer)
	}
	return s, answer
}

// Each operation is asked of a real Vault, and docs/reference/api.md has its answer.
func TestReferenceHasTheAnswersOfARealVault(t *testing.T) {
	t.Parallel()
	f := newMount(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	user := palettetest.DefaultUser
	var samples []sample
	ask := func(operation, method, path string, payload map[string]any, status int) map[string]any {
		t.Helper()
		s, answer := f.sampled(operation, method, path, payload)
		require.Equal(t, status, s.Status, "%s %s: %v", method, path, answer)
		if operation != "" {
			samples = append(samples, s)
		}
		return answer
	}
	for _, row := range []struct {
		operation, method, path string
		payload                 map[string]any
		status                  int
	}{
		{"palette-write-config", "POST", "config", map[string]any{"address": f.palette.URL(), "email": user.Email, "org": user.Org, "password": user.Password, "rotation_period": "720h"}, 204},
		{"palette-read-config", "GET", "config", nil, 200},
		{"palette-list-configs", "LIST", "config/", nil, 200},
		{"palette-write-role", "POST", "roles/app", map[string]any{"max_ttl": "24h", "renewable": true}, 204},
		{"", "POST", "roles/app-key", map[string]any{"credential_type": "api_key", "ttl": "1h"}, 204},
		{"", "POST", "roles/fleet", map[string]any{"shared": true, "renewable": false}, 204},
		{"", "POST", "roles/fleet-key", map[string]any{"credential_type": "api_key", "shared": true, "renewable": false, "ttl": "1h"}, 204},
		{"palette-read-role", "GET", "roles/app", nil, 200},
		{"palette-list-roles", "LIST", "roles", nil, 200},
		{"palette-read-credentials", "GET", "creds/app", nil, 200},
		{"palette-read-credentials", "GET", "creds/app-key", nil, 200},
		{"palette-write-credentials", "POST", "creds/app", map[string]any{"ttl": "5m", "renewable": false}, 200},
		{"error", "GET", "creds/nobody", nil, 400},
		{"", "GET", "creds/fleet", nil, 200},
		{"", "GET", "creds/fleet-key", nil, 200},
		{"palette-list-sessions", "LIST", "sessions", nil, 200},
		{"palette-read-session", "GET", "sessions/default", nil, 200},
		{"palette-delete-session", "DELETE", "sessions/default", nil, 204},
		{"palette-check-config", "GET", "check", nil, 200},
		{"palette-write-trust", "POST", "trust/default", map[string]any{"tls_server_name": "palette.example.com"}, 204},
		{"palette-rotate-root", "POST", "rotate-root", nil, 204},
		{"palette-read-metrics", "GET", "metrics", nil, 200},
	} {
		ask(row.operation, row.method, f.mount+"/"+row.path, row.payload, row.status)
	}
	lease := map[string]any{"lease_id": ask("", "GET", f.mount+"/creds/app", nil, 200)["lease_id"]}
	ask("renew", "POST", "sys/leases/renew", lease, 200)
	ask("revoke", "POST", "sys/leases/revoke", map[string]any{"lease_id": lease["lease_id"], "sync": true}, 204)
	ask("palette-delete-role", "DELETE", f.mount+"/roles/app", nil, 200)
	ask("palette-delete-config", "DELETE", f.mount+"/config", nil, 200)

	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(samples))
	assert.Empty(t, leaksIn("the samples", text.String(), append(f.palette.Issued(), user.Password)))
	enginetest.Generated(t, "../internal/reference/testdata/answers.json", text.String())
}
