package kubernetes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// all are the objects of the manifests.
func all(t *testing.T) []object {
	t.Helper()
	return ofExamples(t, "namespace.yaml", "vault-secrets-operator", "external-secrets", "agent-injector")
}

// What needs no operator: each manifest reads a role that setup.sh makes, by a policy that allows
// that, as an auth role that there is.
func TestManifestsForm(t *testing.T) {
	t.Parallel()
	auth := text(t, "setup.sh")
	setup := text(t, "..", "setup.sh") + auth
	reads := map[string]int{}
	for _, o := range all(t) {
		path, login := reader(o)
		if path == "" {
			continue
		}
		reads[path]++
		assert.Contains(t, setup, "vault write palette/roles/"+strings.TrimPrefix(path, "palette/creds/")+" ", o)
		policy := regexp.MustCompile(`auth/kubernetes/role/` + login + ` .*token_policies=palette-(\S+)`).FindStringSubmatch(auth)
		require.Len(t, policy, 2, login)
		assert.Contains(t, text(t, "..", "policies", policy[1]+".hcl"), `path "`+path+`" {`, o)
	}
	assert.Len(t, reads, 4, "%v", reads)
}

// The values copy the plugin from where the image has it.
func TestHelmValuesForm(t *testing.T) {
	t.Parallel()
	values := parse(t, []byte(text(t, "helm", "values.yaml")))[0]
	server := object(values.at("server").(map[string]any))
	command := container(t, server, "extraInitContainers", "palette-plugin").at("command").([]any)
	entrypoint := regexp.MustCompile(`(?m)^ENTRYPOINT \["(.+)"\]$`).FindStringSubmatch(text(t, "..", "..", "Dockerfile"))
	require.Len(t, entrypoint, 2)
	assert.Equal(t, "/palette"+entrypoint[1], command[1])
}

// reader tells what an object makes its operator read, and the auth role that the operator has for
// that; nothing for an object that reads nothing.
func reader(o object) (path, login string) {
	const annotation = "vault.hashicorp.com/"
	switch o.text("apiVersion") + " " + o.text("kind") {
	case "secrets.hashicorp.com/v1beta1 VaultDynamicSecret":
		return o.text("spec", "mount") + "/" + o.text("spec", "path"), "palette-operator"
	case "generators.external-secrets.io/v1alpha1 VaultDynamicSecret":
		return o.text("spec", "path"), o.text("spec", "provider", "auth", "kubernetes", "role")
	}
	at := []string{"spec", "template", "metadata", "annotations"}
	return o.text(append(at, annotation+"agent-inject-secret-palette.env")...), o.text(append(at, annotation+"role")...)
}

// The API server takes each object that is Kubernetes' own, and the operators' where their CRDs are here.
func TestManifestsAreApplied(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	known := map[string]bool{}
	for variable, groups := range map[string][]string{
		"VSO_CRDS": {"secrets.hashicorp.com"},
		"ESO_CRDS": {"external-secrets.io", "generators.external-secrets.io"},
	} {
		path := os.Getenv(variable)
		if path == "" {
			t.Logf("NOT APPLIED: the objects of %s: %s names no CRDs", groups[0], variable)
			continue
		}
		c.apply(t, crds(t, path)...)
		for _, group := range groups {
			known[group] = true
		}
	}
	for _, o := range all(t) {
		group, _, _ := strings.Cut(o.text("apiVersion"), "/")
		if known[group] || !strings.Contains(group, ".") {
			c.apply(t, o)
		}
	}
}

// text is a file's content.
func text(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{examplesDir}, path...)...))
	require.NoError(t, err)
	return string(content)
}
