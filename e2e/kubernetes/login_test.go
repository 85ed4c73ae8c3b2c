package kubernetes

import (
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logIn is what an operator does: it has Kubernetes make a token, which Vault has Kubernetes review.
func (w *world) logIn(t *testing.T, account, role, audience string) (*api.Client, error) {
	t.Helper()
	client, err := w.vault.Client()
	require.NoError(t, err)
	client.ClearToken()
	jwt := w.serviceAccountToken(t, namespace, account, audience)
	answer, err := client.Logical().WriteWithContext(t.Context(), "auth/kubernetes/login", map[string]any{"role": role, "jwt": jwt})
	if err != nil {
		return nil, err
	}
	client.SetToken(answer.Auth.ClientToken)
	return client, nil
}

// Each way into the cluster reads its own roles and no others.
func TestServiceAccountsLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, life)
	w.apply(t, parse(t, []byte(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: other, namespace: `+namespace+`}}`))...)
	for _, row := range []struct {
		role, audience string
		reads, refused []string
	}{
		{"palette-operator", "vault", []string{"app-agent", "app-fleet", "app-key"}, []string{"app", "app-fleet-key"}},
		{"palette-external-secrets", "vault", []string{"app-agent", "app-fleet", "app-fleet-key"}, []string{"app", "app-key"}},
		{"palette-agent", "", []string{"app-fleet"}, []string{"app", "app-agent", "app-key"}},
	} {
		client, err := w.logIn(t, "palette-app", row.role, row.audience)
		require.NoError(t, err, row.role)
		for _, role := range row.reads {
			secret, readErr := client.Logical().ReadWithContext(t.Context(), "palette/creds/"+role)
			require.NoError(t, readErr, row.role+" "+role)
			w.revokes(t, client, secret.LeaseID, row.role == "palette-operator")
		}
		for _, role := range row.refused {
			_, err = client.Logical().ReadWithContext(t.Context(), "palette/creds/"+role)
			assert.ErrorContains(t, err, "permission denied", row.role+" "+role)
		}
		_, err = w.logIn(t, "other", row.role, row.audience)
		assert.ErrorContains(t, err, "service account name not authorized", row.role)
	}
	_, err := w.logIn(t, "palette-app", "palette-operator", "somebody-else")
	assert.Error(t, err, "a token that is for another audience")
}

// revokes tries to revoke a lease, and one of another role.
func (w *world) revokes(t *testing.T, client *api.Client, lease string, may bool) {
	t.Helper()
	other, err := w.api.Logical().ReadWithContext(t.Context(), "palette/creds/app")
	require.NoError(t, err)
	assert.ErrorContains(t, client.Sys().RevokeWithContext(t.Context(), other.LeaseID), "permission denied", "a lease of another role")
	err = client.Sys().RevokeWithContext(t.Context(), lease)
	assert.Equal(t, may, err == nil, "%v", err)
}
