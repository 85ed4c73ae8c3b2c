package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// adminToken opens the API server for the tests and the operators.
const adminToken = "admin-of-the-tests"

// cluster is a real API server on a real etcd. Nothing else of Kubernetes runs: no pod, and no
// controller.
type cluster struct {
	url    string
	caFile string
	client *http.Client

	mu        sync.Mutex
	resources map[string]resource // by "group/version Kind"
}

// resource is how the objects of a kind are called in URLs.
type resource struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

// newCluster starts one for the length of the test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	apiserver, etcd := bin(t, "kube-apiserver"), bin(t, "etcd")
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	certificate, key, err := authority.Issue("127.0.0.1")
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority.PEM())
	address, storage, peer := freeAddress(t), "http://"+freeAddress(t), "http://"+freeAddress(t)
	c := &cluster{
		url:       "https://" + address,
		caFile:    write(t, "ca.crt", authority.PEM()),
		client:    &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
		resources: make(map[string]resource),
	}
	t.Cleanup(c.client.CloseIdleConnections)
	start(t, os.Environ(), etcd, "--data-dir="+t.TempDir(), "--listen-client-urls="+storage, "--advertise-client-urls="+storage,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer, "--unsafe-no-fsync", "--log-level=fatal")
	signer := write(t, "signer.key", newKey(t))
	start(t, os.Environ(), apiserver, "--etcd-servers="+storage, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--secure-port="+address[strings.LastIndex(address, ":")+1:], "--endpoint-reconciler-type=none", "--cert-dir="+t.TempDir(),
		"--tls-cert-file="+write(t, "api.crt", certificate), "--tls-private-key-file="+write(t, "api.key", key),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+signer, "--service-account-key-file="+signer,
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
		"--token-auth-file="+write(t, "tokens.csv", []byte(adminToken+",admin,admin,system:masters\n")))
	until(t, "the API server must be ready", func() bool {
		status, _, callErr := c.call(t.Context(), http.MethodGet, "/readyz", "", nil)
		return callErr == nil && status == http.StatusOK
	})
	return c
}

// newKey is a key that signs the tokens of service accounts.
func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// kubeconfig is a file by which a program finds the API server, as its administrator.
func (c *cluster) kubeconfig(t *testing.T) string {
	t.Helper()
	return write(t, "kubeconfig", fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {token: %q}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, c.url, c.caFile, adminToken))
}

// call sends one request.
func (c *cluster) call(ctx context.Context, method, path, contentType string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+adminToken)
	request.Header.Set("Content-Type", contentType)
	resp, err := c.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// must is call, whose answer has to be a success.
func (c *cluster) must(t *testing.T, method, path, contentType string, body []byte) object {
	t.Helper()
	status, answer, err := c.call(t.Context(), method, path, contentType, body)
	require.NoError(t, err)
	require.Less(t, status, 300, "%s %s: %s", method, path, answer)
	var o object
	require.NoError(t, json.Unmarshal(answer, &o))
	return o
}

// path is where an object is at the API server.
func (c *cluster) path(t *testing.T, o object) string {
	t.Helper()
	version, kind := o.text("apiVersion"), o.text("kind")
	base := "/apis/" + version
	if !strings.Contains(version, "/") {
		base = "/api/" + version
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, known := c.resources[version+" "+kind]
	if !known {
		until(t, "the API server must know "+version+" "+kind, func() bool {
			found, known = c.discover(t, base, kind)
			return known
		})
		c.resources[version+" "+kind] = found
	}
	if found.Namespaced {
		base += "/namespaces/" + o.text("metadata", "namespace")
	}
	return base + "/" + found.Name + "/" + o.text("metadata", "name")
}

func (c *cluster) discover(t *testing.T, base, kind string) (resource, bool) {
	t.Helper()
	status, answer, err := c.call(t.Context(), http.MethodGet, base, "", nil)
	if err != nil || status != http.StatusOK {
		return resource{}, false
	}
	var list struct {
		Resources []resource `json:"resources"`
	}
	require.NoError(t, json.Unmarshal(answer, &list))
	for _, r := range list.Resources {
		if r.Kind == kind && !strings.Contains(r.Name, "/") {
			return r, true
		}
	}
	return resource{}, false
}

// apply is kubectl apply --server-side: of objects, which may name no field that their kind lacks.
func (c *cluster) apply(t *testing.T, objects ...object) {
	t.Helper()
	for _, o := range objects {
		body, err := yaml.Marshal(o)
		require.NoError(t, err)
		c.must(t, http.MethodPatch, c.path(t, o)+"?fieldManager=make-kubernetes&fieldValidation=Strict&force=true", "application/apply-patch+yaml", body)
	}
}

// patch is kubectl patch --type=merge.
func (c *cluster) patch(t *testing.T, o object, body string) {
	t.Helper()
	c.must(t, http.MethodPatch, c.path(t, o)+"?fieldManager=by-hand", "application/merge-patch+json", []byte(body))
}

// get is an object as the API server has it, nil where it is not there.
func (c *cluster) get(t *testing.T, o object) object {
	t.Helper()
	status, answer, err := c.call(t.Context(), http.MethodGet, c.path(t, o), "", nil)
	require.NoError(t, err)
	if status == http.StatusNotFound {
		return nil
	}
	require.Equal(t, http.StatusOK, status, string(answer))
	var found object
	require.NoError(t, json.Unmarshal(answer, &found))
	return found
}

// remove deletes an object and waits until it is gone, its finalizers included.
func (c *cluster) remove(t *testing.T, o object) {
	t.Helper()
	c.must(t, http.MethodDelete, c.path(t, o), "", nil)
	until(t, o.String()+" must be gone", func() bool { return c.get(t, o) == nil })
}

// serviceAccountToken is kubectl create token.
func (c *cluster) serviceAccountToken(t *testing.T, namespace, name, audience string) string {
	t.Helper()
	body := `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":7200}}`
	if audience != "" {
		body = strings.Replace(body, `"spec":{`, `"spec":{"audiences":["`+audience+`"],`, 1)
	}
	answer := c.must(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+name+"/token", "application/json", []byte(body))
	return answer.text("status", "token")
}
