package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// HashiCorp's chart takes the values, and the API server what comes out. The plugin is where
// Vault's configuration looks for plugins.
func TestHelmValues(t *testing.T) {
	t.Parallel()
	chart := named(t, "VAULT_CHART", "a folder with HashiCorp's chart (helm pull hashicorp/vault --untar, or the repository hashicorp/vault-helm)")
	values := filepath.Join(examplesDir, "helm", "values.yaml")
	cmd := exec.CommandContext(t.Context(), os.Getenv("HELM"), "template", "vault", chart, "--namespace=vault", "--values="+values, "--kube-version=1.37.0", "--skip-tests")
	rendered, err := cmd.Output()
	require.NoError(t, err)
	objects := parse(t, rendered)

	config := find(t, objects, "ConfigMap", "vault-config").text("data", "extraconfig-from-values.hcl")
	_, rest, found := strings.Cut(config, `plugin_directory = "`)
	require.True(t, found, config)
	directory, _, _ := strings.Cut(rest, `"`)
	assert.Contains(t, config, "disable_mlock = true", "or the plugin needs IPC_LOCK")

	pod := object(find(t, objects, "StatefulSet", "vault").at("spec", "template", "spec").(map[string]any))
	server, plugin := container(t, pod, "containers", "vault"), container(t, pod, "initContainers", "palette-plugin")
	assert.Contains(t, names(server, "env"), "VAULT_API_ADDR", "plugins need api_addr")
	assert.Contains(t, server["volumeMounts"], map[string]any{"name": "plugins", "mountPath": directory, "readOnly": true})
	assert.Contains(t, plugin["volumeMounts"], map[string]any{"name": "plugins", "mountPath": "/plugins"})
	assert.Contains(t, names(pod, "volumes"), "plugins")

	c := newCluster(t)
	c.apply(t, parse(t, []byte(`{apiVersion: v1, kind: Namespace, metadata: {name: vault}}`))...)
	c.apply(t, objects...)
}

// container is one of a pod's.
func container(t *testing.T, pod object, list, name string) object {
	t.Helper()
	at := slices.Index(names(pod, list), name)
	require.NotEqual(t, -1, at, name)
	return object(pod.at(list).([]any)[at].(map[string]any))
}

// names are those of a list's items.
func names(o object, list string) []string {
	items, _ := o.at(list).([]any)
	var names []string
	for _, item := range items {
		names = append(names, object(item.(map[string]any)).text("name"))
	}
	return names
}
