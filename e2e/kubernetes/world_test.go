package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// service is how the manifests name Vault.
const service = "vault.vault.svc:8200"

// world is a cluster, and a Vault that examples/setup.sh and examples/kubernetes/setup.sh have set
// up, whom the cluster's service accounts can log in to.
type world struct {
	*cluster
	vault   *vaulttest.Server
	api     *api.Client
	palette *palettetest.Server
	proxy   string
}

// newWorld starts one for the length of the test, with tokens that live for so long.
func newWorld(t *testing.T, lifetime time.Duration) *world {
	t.Helper()
	auth := bin(t, "vault-plugin-auth-kubernetes")
	w := &world{
		palette: palettetest.New(t, palettetest.WithLifetime(lifetime)),
		vault:   vaulttest.New(t, vaulttest.Options{Storage: vaulttest.Raft}),
	}
	w.cluster = newCluster(t)
	w.proxy = newDoor(t, w.vault.Address)
	var err error
	w.api, err = w.vault.Client()
	require.NoError(t, err)
	// What HashiCorp's own build has inside, and the small one of these tests has not.
	const name = "vault-plugin-auth-kubernetes"
	sum, err := w.vault.AddPlugin(auth, name)
	require.NoError(t, err)
	require.NoError(t, w.api.Sys().RegisterPluginWithContext(t.Context(), &api.RegisterPluginInput{
		Name: "kubernetes", Type: api.PluginTypeCredential, Command: name, SHA256: sum,
	}))
	w.setUp(t)
	t.Cleanup(func() { require.NoError(t, w.api.Sys().Unmount("palette")) })
	return w
}

// setUp does what the README tells people to do.
func (w *world) setUp(t *testing.T) {
	t.Helper()
	user := palettetest.DefaultUser
	w.run(t, filepath.Join(examplesDir, "..", "setup.sh"), "PLUGIN="+w.vault.Plugin(), "PALETTE_ADDRESS="+w.palette.URL(),
		"PALETTE_EMAIL="+user.Email, "PALETTE_PASSWORD="+user.Password, "PALETTE_ORG="+user.Org)
	// The chart makes Vault's service account, and lets it review tokens.
	w.apply(t, parse(t, []byte(`
{apiVersion: v1, kind: Namespace, metadata: {name: vault}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: vault, namespace: vault}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-server-binding}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: vault, namespace: vault}]
`))...)
	w.apply(t, ofExamples(t, "namespace.yaml")...)
	for range 2 { // each command can be run again
		w.run(t, filepath.Join(examplesDir, "setup.sh"), "KUBERNETES_HOST="+w.url, "KUBERNETES_CA_CERT="+w.caFile,
			"TOKEN_REVIEWER_JWT="+w.serviceAccountToken(t, "vault", "vault", ""))
	}
}

// run runs a script of the examples.
func (w *world) run(t *testing.T, script string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Env = append(w.vault.Env(), env...)
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stdout+out.Stderr)
}

// write is vault write.
func (w *world) write(t *testing.T, path string, data map[string]any) {
	t.Helper()
	_, err := w.api.Logical().WriteWithContext(t.Context(), path, data)
	require.NoError(t, err)
}

// env is a pod's: the program finds the API server as its administrator, and Vault under the name
// of its service.
func (w *world) env(t *testing.T) []string {
	t.Helper()
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "KUBECONFIG=" + w.kubeconfig(t), "HTTP_PROXY=" + w.proxy}
}

// newDoor is what the cluster's DNS and network are to an operator: whoever asks for Vault's
// service there comes to Vault. While Vault is away calls end without an answer.
func newDoor(t *testing.T, vault string) string {
	t.Helper()
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", strings.TrimPrefix(vault, "http://")
			if p.In.Host != service {
				p.Out.URL.Host = "127.0.0.1:1" // no other name leads anywhere
			}
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	t.Cleanup(server.Close)
	return server.URL
}
