package kubernetes

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const getExternal = "the program of External Secrets 2.9 and its CRDs (deploy/crds/bundle.yaml), both of github.com/external-secrets/external-secrets/releases"

// external are the manifests of External Secrets.
var external = []string{"external-secrets/token.yaml", "external-secrets/shared-token.yaml", "external-secrets/api-key.yaml"}

// startExternal starts External Secrets, and applies its manifests as they lie. Their intervals
// are then cut as the tokens' lives are, by the patch that the README names for short lives.
func startExternal(t *testing.T) *world {
	t.Helper()
	program, definitions := named(t, "ESO_BIN", getExternal), named(t, "ESO_CRDS", getExternal)
	w := newWorld(t, life)
	w.apply(t, crds(t, definitions)...)
	start(t, w.env(t), program, "--metrics-addr="+freeAddress(t), "--live-addr="+freeAddress(t))
	w.write(t, "palette/roles/app-fleet-key", map[string]any{"ttl": "30s", "max_ttl": "90s"})
	w.apply(t, ofExamples(t, external...)...)
	w.refresh(t, "palette-token", life*2/3)
	w.refresh(t, "palette-shared-token", life/3)
	w.refresh(t, "palette-api-key", life*2/3)
	return w
}

// refresh is kubectl patch externalsecret NAME --type=merge --patch '{"spec":{"refreshInterval":"…"}}'.
func (w *world) refresh(t *testing.T, name string, interval time.Duration) {
	t.Helper()
	w.patch(t, find(t, ofExamples(t, external...), "ExternalSecret", name), `{"spec":{"refreshInterval":"`+interval.String()+`"}}`)
}

func TestExternalSecrets(t *testing.T) {
	t.Parallel()
	w := startExternal(t)
	own := w.secret(t, "external-palette-token", "token")
	shared := w.secret(t, "external-palette-shared-token", "token")
	key := w.secret(t, "external-palette-api-key", "api_key")
	t.Run("four lifetimes", func(t *testing.T) {
		w.filled(t, own, shared, key)
		keys := w.watch(4*life, own, shared, key)
		own.held(t, 100, 5)
		shared.held(t, 100, 5)
		key.held(t, 100, 2)
		assert.LessOrEqual(t, keys, 2, "the present key, and the one before it to its own end")
	})
	t.Run("the role is deleted", func(t *testing.T) { w.externalWithoutRole(t, own) })
	t.Run("the Vault token ends", func(t *testing.T) { w.externalWithoutToken(t, own, shared) })
	t.Run("Vault is away for 30 seconds", func(t *testing.T) { w.externalWithoutVault(t, own, shared) })
	t.Run("deleted", func(t *testing.T) {
		until(t, "the token lives short again", func() bool { return own.left(t) <= life })
		w.look(own)
		for _, o := range ofExamples(t, external...) {
			w.remove(t, o)
		}
		assert.True(t, w.alive(own.present()), "nothing is revoked")
		until(t, "the token dies by itself", func() bool { return !w.alive(own.present()) })
		w.ownedBy(t, own.name, "ExternalSecret")
	})
}

// externalSecret is the object of a token of its own.
func externalSecret(t *testing.T) object {
	t.Helper()
	return find(t, ofExamples(t, external...), "ExternalSecret", "palette-token")
}

// externalWithoutRole: the next refresh fails, the old token stays in the secret and dies there.
func (w *world) externalWithoutRole(t *testing.T, own *holder) {
	o := externalSecret(t)
	_, err := w.api.Logical().DeleteWithContext(t.Context(), "palette/roles/app-agent")
	require.NoError(t, err)
	until(t, "the object must say that it is not ready", func() bool { return w.get(t, o).condition("Ready").Status == "False" })
	assert.True(t, w.look(own), "the token is still good for a third of its life")
	assert.Equal(t, "SecretSyncedError", w.get(t, o).condition("Ready").Reason)
	messages := w.events(t, o, "UpdateFailed")
	require.NotEmpty(t, messages)
	assert.Contains(t, messages[len(messages)-1], noRole)
	until(t, "the token dies in the secret", func() bool { return !w.look(own) })
	w.write(t, "palette/roles/app-agent", map[string]any{"renewable": false})
	until(t, "External Secrets must find the role by itself", func() bool { return w.look(own) })
	until(t, "the object must say so", func() bool { return w.get(t, o).condition("Ready").Status == "True" })
}

// externalWithoutToken: the token of the Vault token's lease dies with it, and the object stays
// ready: External Secrets looks at nothing between two refreshes. A shared token does not die.
func (w *world) externalWithoutToken(t *testing.T, own, shared *holder) {
	w.filled(t, own, shared)
	w.logOut(t)
	until(t, "the token dies with the Vault token", func() bool { return !w.look(own) })
	assert.Equal(t, "True", w.get(t, externalSecret(t)).condition("Ready").Status, "nobody is told")
	began := time.Now()
	until(t, "the next refresh brings the next token", func() bool {
		w.look(shared)
		return w.look(own)
	})
	t.Logf("a dead token for %s, of a life of %s", time.Since(began).Round(time.Second), life)
	assert.Zero(t, shared.dead, "a shared token does not end with its lease")
}

// externalWithoutVault: refreshes fail and are repeated, and no token dies meanwhile.
func (w *world) externalWithoutVault(t *testing.T, own, shared *holder) {
	o := externalSecret(t)
	w.palette.SetLifetime(longLife)
	w.refresh(t, "palette-token", longLife*2/3)
	w.filled(t, own, shared)
	w.awayFor30s(t, own, shared)
	assert.Equal(t, condition{"False", "SecretSyncedError", "could not get secret data from provider"}, w.get(t, o).condition("Ready"))
	messages := w.events(t, o, "UpdateFailed")
	require.NotEmpty(t, messages)
	assert.Contains(t, messages[len(messages)-1], service)
	w.back(t, own, shared)
	assert.Equal(t, "True", w.get(t, o).condition("Ready").Status)
	w.palette.SetLifetime(life)
	w.refresh(t, "palette-token", life*2/3)
}
