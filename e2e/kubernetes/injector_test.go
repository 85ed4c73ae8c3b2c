package kubernetes

import (
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const getInjector = "the program of the Agent injector 1.7 (releases.hashicorp.com/vault-k8s)"

// inPod is the environment that a pod has and this machine has not: the injector reads a service
// account's token at a path that cannot be set. Its own /run is over that of the machine.
const inPod = `mount -t tmpfs tmpfs /run
dir=/var/run/secrets/kubernetes.io/serviceaccount
mkdir -p $dir
printf %s "$TOKEN" >$dir/token
printf %s "$CA" >$dir/ca.crt
exec "$@"`

// startInjector starts the injector, and has the API server ask it as the chart does.
func startInjector(t *testing.T) *world {
	t.Helper()
	program := named(t, "INJECTOR_BIN", getInjector)
	namespaces := []string{"--map-root-user", "--mount"}
	if out, err := exec.CommandContext(t.Context(), "unshare", append(namespaces, "mount", "-t", "tmpfs", "tmpfs", "/run")...).CombinedOutput(); err != nil {
		t.Skipf("the injector needs a mount namespace of its own, which this machine does not give: %s", out)
	}
	w := newWorld(t, life)
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	certificate, key, err := authority.Issue("127.0.0.1")
	require.NoError(t, err)
	ca, err := os.ReadFile(w.caFile)
	require.NoError(t, err)
	address := freeAddress(t)
	host, port, _ := strings.Cut(strings.TrimPrefix(w.url, "https://"), ":")
	start(t, append(w.env(t), "KUBERNETES_SERVICE_HOST="+host, "KUBERNETES_SERVICE_PORT="+port, "NAMESPACE=vault", "TOKEN="+adminToken, "CA="+string(ca)),
		"unshare", append(namespaces, "sh", "-ec", inPod, "sh", program, "agent-inject", "-listen="+address, "-vault-address=http://"+service,
			"-vault-image=hashicorp/vault:1.21.2", "-tls-cert-file="+write(t, "tls.crt", certificate), "-tls-key-file="+write(t, "tls.key", key))...)
	w.apply(t, object{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": map[string]any{"name": "vault-agent-injector-cfg"},
		"webhooks": []any{map[string]any{
			"name": "vault.hashicorp.com", "sideEffects": "None", "admissionReviewVersions": []string{"v1"}, "failurePolicy": "Fail",
			"clientConfig": map[string]any{"url": "https://" + address + "/mutate", "caBundle": base64.StdEncoding.EncodeToString(authority.PEM())},
			"rules":        []any{map[string]any{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE"}, "resources": []string{"pods"}}},
		}},
	})
	return w
}

// pod makes a pod of an example's template, as Kubernetes' controllers do, and returns what the
// injector has made of that.
func (w *world) pod(t *testing.T, file, name string) object {
	t.Helper()
	objects := ofExamples(t, "agent-injector/"+file)
	w.apply(t, objects...)
	template := objects[0].at("spec", "template").(map[string]any)
	template["apiVersion"], template["kind"] = "v1", "Pod"
	o := object(template)
	meta := o.at("metadata").(map[string]any)
	meta["name"], meta["namespace"] = name, namespace
	body, err := yaml.Marshal(o)
	require.NoError(t, err)
	var made object
	until(t, "the injector must answer", func() bool {
		path := strings.TrimSuffix(w.path(t, o), "/"+name)
		status, answer, callErr := w.call(t.Context(), http.MethodPost, path, "application/yaml", body)
		return callErr == nil && status == http.StatusCreated && yaml.Unmarshal(answer, (*map[string]any)(&made)) == nil
	})
	require.Equal(t, "injected", made.text("metadata", "annotations", "vault.hashicorp.com/agent-inject-status"))
	return made
}

// agentOf is the configuration of an injected container's Agent. Its paths lead to a folder that
// stands for the pod's volumes; nil where there is no such container.
func agentOf(t *testing.T, pod object, list, name, volumes string) []byte {
	t.Helper()
	containers, _ := pod.at("spec", list).([]any)
	at := slices.IndexFunc(containers, func(c any) bool { return object(c.(map[string]any)).text("name") == name })
	if at == -1 {
		return nil
	}
	for _, variable := range object(containers[at].(map[string]any)).at("env").([]any) {
		v := object(variable.(map[string]any))
		if v.text("name") != "VAULT_CONFIG" {
			continue
		}
		config, err := base64.StdEncoding.DecodeString(v.text("value"))
		require.NoError(t, err)
		return []byte(strings.NewReplacer(
			"/vault/secrets", filepath.Join(volumes, "secrets"),
			"/home/vault", volumes,
			"/var/run/secrets/kubernetes.io/serviceaccount", volumes,
		).Replace(string(config)))
	}
	return nil
}

// volumes are what the pod's containers share: the service account's token, and the file.
func (w *world) volumes(t *testing.T) (dir string, file *holder) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "secrets"), 0o700))
	token := w.serviceAccountToken(t, namespace, "palette-app", "")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600))
	return dir, &holder{name: "palette.env", read: func() string {
		content, err := os.ReadFile(filepath.Join(dir, "secrets", "palette.env"))
		if err != nil {
			return ""
		}
		for line := range strings.Lines(string(content)) {
			if value, found := strings.CutPrefix(line, "PALETTE_TOKEN="); found {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}}
}

// agent runs an injected container's Agent.
func (w *world) agent(t *testing.T, config []byte) *program {
	t.Helper()
	return start(t, append(w.env(t), "VAULT_SKIP_VERIFY=false"), w.vault.Vault(), "agent", "-config="+write(t, "config.json", config))
}

func TestAgentInjector(t *testing.T) {
	t.Parallel()
	w := startInjector(t)
	t.Run("init and sidecar, four lifetimes", func(t *testing.T) {
		pod := w.pod(t, "sidecar.yaml", "sidecar")
		volumes, file := w.volumes(t)
		logins := w.palette.Calls(palettetest.Login)
		init := w.agent(t, agentOf(t, pod, "initContainers", "vault-agent-init", volumes))
		<-init.ended
		require.Zero(t, init.cmd.ProcessState.ExitCode())
		require.True(t, w.look(file), "the application starts with a live token")
		sidecar := w.agent(t, agentOf(t, pod, "containers", "vault-agent", volumes))
		w.filled(t, file)
		w.watch(4*life, file)
		file.held(t, 100, 5)
		assert.Equal(t, logins+1, w.palette.Calls(palettetest.Login), "the two containers share one session, which is refreshed")
		w.injectorsBadDays(t, sidecar, file)
	})
	t.Run("init alone", func(t *testing.T) {
		pod := w.pod(t, "init.yaml", "init")
		assert.Nil(t, agentOf(t, pod, "containers", "vault-agent", ""), "no sidecar")
		volumes, file := w.volumes(t)
		init := w.agent(t, agentOf(t, pod, "initContainers", "vault-agent-init", volumes))
		<-init.ended
		require.Zero(t, init.cmd.ProcessState.ExitCode())
		require.True(t, w.look(file))
		until(t, "nobody renews the file", func() bool { return !w.look(file) })
	})
}

// injectorsBadDays: the sidecar logs in again, tries again, and ends at last.
func (w *world) injectorsBadDays(t *testing.T, sidecar *program, file *holder) {
	t.Run("the Vault token is revoked", func(t *testing.T) {
		w.filled(t, file)
		w.logOut(t)
		w.watch(2*life, file)
		file.held(t, 50, 2)
	})
	t.Run("Vault is away for 30 seconds", func(t *testing.T) {
		w.palette.SetLifetime(longLife)
		w.filled(t, file)
		w.awayFor30s(t, file)
		w.back(t, file)
		w.palette.SetLifetime(life)
	})
	t.Run("the role is deleted", func(t *testing.T) {
		_, err := w.api.Logical().DeleteWithContext(t.Context(), "palette/roles/app-fleet")
		require.NoError(t, err)
		began := time.Now()
		select {
		case <-sidecar.ended:
		case <-time.After(12 * time.Minute):
		}
		require.NotNil(t, sidecar.cmd.ProcessState, "the sidecar gives up, for Kubernetes to see")
		t.Logf("the sidecar ends after %s with status %d", time.Since(began).Round(time.Second), sidecar.cmd.ProcessState.ExitCode())
		assert.NotZero(t, sidecar.cmd.ProcessState.ExitCode())
		w.write(t, "palette/roles/app-fleet", map[string]any{"shared": true, "renewable": false})
	})
}
