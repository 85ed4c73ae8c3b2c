package kubernetes

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// life is a token's, where the manifests are written for 15 minutes.
	life = 30 * time.Second
	// longLife leaves an operator more than 30 s between its read and the old token's death, as
	// the 15 minutes do.
	longLife = 180 * time.Second

	// noRole is what the engine says where a role is not there.
	noRole = `there is no role "app-agent"; write roles/app-agent first`

	getOperator = "the program of the Vault Secrets Operator 1.4 (releases.hashicorp.com/vault-secrets-operator) and the folder chart/crds of its repository"
)

// startOperator starts the Vault Secrets Operator, and applies its manifests as they lie.
func startOperator(t *testing.T) *world {
	t.Helper()
	program, definitions := named(t, "VSO_BIN", getOperator), named(t, "VSO_CRDS", getOperator)
	w := newWorld(t, life)
	w.apply(t, crds(t, definitions)...)
	start(t, append(w.env(t), "OPERATOR_NAMESPACE="+namespace, "OPERATOR_POD_UID=one"), program, "--leader-elect=false",
		"--metrics-bind-address="+freeAddress(t), "--health-probe-bind-address="+freeAddress(t))
	w.write(t, "palette/roles/app-key", map[string]any{"ttl": "30s", "max_ttl": "90s"})
	w.apply(t, ofExamples(t, "vault-secrets-operator")...)
	return w
}

func TestVaultSecretsOperator(t *testing.T) {
	t.Parallel()
	w := startOperator(t)
	own := w.secret(t, "palette-token", "token")
	shared := w.secret(t, "palette-shared-token", "token")
	key := w.secret(t, "palette-api-key", "api_key")
	t.Run("four lifetimes", func(t *testing.T) {
		w.filled(t, own, shared, key)
		restarts := w.restarts(t)
		keys := w.watch(4*life, own, shared, key)
		own.held(t, 100, 5)
		shared.held(t, 100, 5)
		key.held(t, 100, 2)
		assert.LessOrEqual(t, keys, 2, "the present key, and the one before it until its lease ends")
		assert.NotEqual(t, restarts, w.restarts(t), "a new token restarts the application")
	})
	t.Run("the role is deleted", func(t *testing.T) { w.operatorWithoutRole(t, own) })
	t.Run("the Vault token is revoked", func(t *testing.T) { w.operatorWithoutToken(t, own, shared, key) })
	t.Run("the Vault token expires", func(t *testing.T) { w.operatorsTokenExpires(t, own, shared) })
	t.Run("Vault is away for 30 seconds", func(t *testing.T) { w.operatorWithoutVault(t, own, shared) })
	t.Run("deleted", func(t *testing.T) {
		w.look(own)
		w.look(key)
		w.look(shared)
		for _, o := range dynamicSecrets(t) {
			w.remove(t, o)
		}
		until(t, "the token must be dead", func() bool { return !w.alive(own.present()) })
		until(t, "the key must be gone", func() bool { return len(w.palette.Keys()) == 0 })
		assert.True(t, w.alive(shared.present()), "others use the session")
		w.ownedBy(t, "palette-token", "VaultDynamicSecret")
	})
	t.Run("a renewable role", func(t *testing.T) { w.operatorWithRenewableRole(t, own) })
}

// operatorWithRenewableRole is what the recipe warns of: the operator renews, and keeps the first token.
func (w *world) operatorWithRenewableRole(t *testing.T, own *holder) {
	o := dynamicSecrets(t)[0]
	w.remove(t, secretNamed(own.name)) // as the garbage collector does
	w.write(t, "palette/roles/app-agent", map[string]any{"renewable": true})
	w.apply(t, o)
	w.filled(t, own)
	w.watch(4*life, own)
	t.Logf("dead in %d of %d looks", own.dead, own.looks)
	assert.Greater(t, own.dead, own.looks/2)
	assert.Equal(t, "True", w.get(t, o).condition("Ready").Status, "and nobody is told")
}

// dynamicSecrets are the operator's objects that hold leases.
func dynamicSecrets(t *testing.T) []object {
	t.Helper()
	return ofExamples(t, "vault-secrets-operator/token.yaml", "vault-secrets-operator/shared-token.yaml", "vault-secrets-operator/api-key.yaml")
}

// restarts is when the application was last restarted.
func (w *world) restarts(t *testing.T) string {
	t.Helper()
	app := w.get(t, find(t, ofExamples(t, "vault-secrets-operator/app.yaml"), "Deployment", "palette-app"))
	return app.text("spec", "template", "metadata", "annotations", "vso.secrets.hashicorp.com/restartedAt")
}

// ownedBy asserts that a secret belongs to an object that is gone: Kubernetes' garbage collector,
// which does not run here, deletes such a secret.
func (w *world) ownedBy(t *testing.T, secret, kind string) {
	t.Helper()
	owners, _ := w.get(t, secretNamed(secret)).at("metadata", "ownerReferences").([]any)
	require.Len(t, owners, 1)
	assert.Equal(t, kind, object(owners[0].(map[string]any)).text("kind"))
}

// events are the messages of an object's events with a reason.
func (w *world) events(t *testing.T, o object, reason string) []string {
	t.Helper()
	selector := url.QueryEscape("involvedObject.name=" + o.text("metadata", "name") + ",involvedObject.kind=" + o.text("kind") + ",reason=" + reason)
	list := w.must(t, http.MethodGet, "/api/v1/namespaces/"+namespace+"/events?fieldSelector="+selector, "", nil)
	var messages []string
	for _, item := range list.at("items").([]any) {
		messages = append(messages, object(item.(map[string]any)).text("message"))
	}
	return messages
}

// operatorWithoutRole: the next read fails, the old token stays in the secret and dies there.
func (w *world) operatorWithoutRole(t *testing.T, own *holder) {
	o := dynamicSecrets(t)[0]
	_, err := w.api.Logical().DeleteWithContext(t.Context(), "palette/roles/app-agent")
	require.NoError(t, err)
	until(t, "the object must say that it is not synced", func() bool { return w.get(t, o).condition("SecretSynced").Status == "False" })
	assert.True(t, w.look(own), "the token is still good for a quarter of its life")
	found := w.get(t, o)
	assert.Contains(t, found.condition("SecretSynced").Message, noRole)
	assert.Equal(t, "False", found.condition("Ready").Status)
	messages := w.events(t, o, "SecretSyncError")
	require.NotEmpty(t, messages)
	assert.Contains(t, messages[len(messages)-1], noRole)
	until(t, "the token dies in the secret", func() bool { return !w.look(own) })
	w.write(t, "palette/roles/app-agent", map[string]any{"renewable": false})
	until(t, "the operator must find the role by itself", func() bool { return w.look(own) })
	until(t, "the object must say so", func() bool { return w.get(t, o).condition("Ready").Status == "True" })
}

// logins are the accessors of the Vault tokens that service accounts have.
func (w *world) logins(t *testing.T) []string {
	t.Helper()
	listed, err := w.api.Logical().ListWithContext(t.Context(), "auth/token/accessors")
	require.NoError(t, err)
	var logins []string
	for _, accessor := range listed.Data["keys"].([]any) {
		found, err := w.api.Auth().Token().LookupAccessorWithContext(t.Context(), accessor.(string))
		if err == nil && found.Data["path"] == "auth/kubernetes/login" {
			logins = append(logins, accessor.(string))
		}
	}
	return logins
}

// logOut ends the Vault tokens of all service accounts, and the leases that were read with them.
func (w *world) logOut(t *testing.T) {
	t.Helper()
	for _, accessor := range w.logins(t) {
		require.NoError(t, w.api.Auth().Token().RevokeAccessorWithContext(t.Context(), accessor))
	}
}

// operatorWithoutToken ends the operator's Vault token: the Palette token and key of its leases die with it. The
// operator logs in and reads anew when it next needs Vault. A shared token does not die.
func (w *world) operatorWithoutToken(t *testing.T, own, shared, key *holder) {
	w.filled(t, own, shared, key)
	w.logOut(t)
	until(t, "the token dies with the Vault token", func() bool { return !w.look(own) })
	began := time.Now()
	until(t, "the operator must log in again", func() bool {
		w.look(shared)
		return w.look(own)
	})
	t.Logf("a dead token for %s, of a life of %s", time.Since(began).Round(time.Second), life)
	until(t, "and have a key again", func() bool { return w.look(key) })
	assert.Zero(t, shared.dead, "a shared token does not end with its lease")
	messages := w.events(t, dynamicSecrets(t)[0], "SecretRotated")
	require.NotEmpty(t, messages)
	assert.Contains(t, messages[len(messages)-1], "ForceSync", "all that was read with the Vault token is read anew")
}

// operatorsTokenExpires: the operator logs in again before its Vault token ends, and reads anew all
// that it has read with that token.
func (w *world) operatorsTokenExpires(t *testing.T, own, shared *holder) {
	const role = "auth/kubernetes/role/palette-operator"
	w.write(t, role, map[string]any{"token_period": 0, "token_ttl": "20s", "token_explicit_max_ttl": "20s"})
	w.logOut(t)
	until(t, "the token dies with the Vault token", func() bool { return !w.look(own) })
	w.filled(t, own, shared)
	w.watch(2*life, own, shared)
	own.held(t, 50, 3)
	shared.held(t, 50, 2)
	w.write(t, role, map[string]any{"token_period": "2h", "token_ttl": 0, "token_explicit_max_ttl": 0})
	w.logOut(t)
}

// operatorWithoutVault: reads fail and are repeated, and no token dies meanwhile.
func (w *world) operatorWithoutVault(t *testing.T, own, shared *holder) {
	o := dynamicSecrets(t)[0]
	w.palette.SetLifetime(longLife)
	w.filled(t, own, shared)
	w.awayFor30s(t, own, shared)
	assert.Equal(t, "False", w.get(t, o).condition("Ready").Status)
	assert.Equal(t, "False", w.get(t, o).condition("SecretSynced").Status)
	messages := w.events(t, o, "SecretSyncError")
	require.NotEmpty(t, messages)
	assert.Contains(t, messages[len(messages)-1], service)
	w.back(t, own, shared)
	assert.Equal(t, "True", w.get(t, o).condition("Ready").Status)
	w.palette.SetLifetime(life)
}
