package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answered is what an audit log tells of an answer.
type answered struct {
	Type string `json:"type"`
	Auth struct {
		DisplayName string `json:"display_name"`
	} `json:"auth"`
	Request struct {
		Path string `json:"path"`
	} `json:"request"`
	Response struct {
		Secret struct {
			LeaseID string `json:"lease_id"`
		} `json:"secret"`
		Data map[string]any `json:"data"`
	} `json:"response"`
}

// audited are the answers to a path below the mount that the audit log has.
func (f *fixture) audited(path string) (found []answered) {
	f.t.Helper()
	for line := range strings.Lines(f.vault.Audit()) {
		var a answered
		if json.Unmarshal([]byte(line), &a) == nil && a.Type == "response" && a.Request.Path == f.mount+"/"+path {
			found = append(found, a)
		}
	}
	return found
}

// Whose lease is it? The command of docs/how-to/monitor.md makes the audit log show the names of tokens and keys, and
// nothing else of an answer.
func TestAuditLogNamesTokensAndKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.write("roles/key", map[string]any{"credential_type": "api_key"})
	f.read()
	f.cli("secrets", "tune", "-audit-non-hmac-response-keys=token_id", "-audit-non-hmac-response-keys=api_key_uid", f.mount)
	created, err := f.api.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"root"}, DisplayName: "jane"})
	require.NoError(t, err)
	jane, err := f.vault.Client()
	require.NoError(t, err)
	jane.SetToken(created.Auth.ClientToken)
	token, err := jane.Logical().ReadWithContext(t.Context(), f.mount+"/creds/app")
	require.NoError(t, err)
	key, err := f.creds("key")
	require.NoError(t, err)

	reads := f.audited("creds/app")
	require.Len(t, reads, 2)
	assert.Regexp(t, "^hmac-sha256:", reads[0].Response.Data["token_id"], "before")
	assert.Equal(t, token.Data["token_id"], reads[1].Response.Data["token_id"])
	assert.Equal(t, "token-jane", reads[1].Auth.DisplayName, "who has read it")
	assert.NotEmpty(t, reads[1].Response.Secret.LeaseID)
	keys := f.audited("creds/key")
	require.Len(t, keys, 1)
	assert.Equal(t, key.Data["api_key_uid"], keys[0].Response.Data["api_key_uid"])
	for _, a := range append(reads, keys...) {
		for field, value := range a.Response.Data {
			text, _ := value.(string)
			switch {
			case field == "token_id", field == "api_key_uid":
			case field == "expires_at" && f.vault.Product().AuditShowsTimes():
				moment(t, text)
			default:
				assert.Regexp(t, "^hmac-sha256:", text, field)
			}
		}
	}
}

// A wrapped answer that outlives its lease says so to whoever wraps it, or to whoever unwraps it.
func TestAWrapThatOutlivesItsLeaseIsAWarning(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	client, err := f.vault.Client()
	require.NoError(t, err)
	client.SetWrappingLookupFunc(func(string, string) string { return "24h" })
	wrapped, err := client.Logical().ReadWithContext(t.Context(), f.mount+"/creds/app")
	require.NoError(t, err)
	require.NotNil(t, wrapped.WrapInfo)
	client.SetWrappingLookupFunc(nil)
	secret, err := client.Logical().UnwrapWithContext(t.Context(), wrapped.WrapInfo.Token)
	require.NoError(t, err)
	f.works(tokenOf(t, secret))
	assert.Contains(t, strings.Join(append(wrapped.Warnings, secret.Warnings...), "\n"), "the wrapping token lives for 24h0m0s")
	t.Logf("on the wrapped answer: %v; on the unwrapped one: %v", wrapped.Warnings, secret.Warnings)
}
