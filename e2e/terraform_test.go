package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// tfFile parses a file of examples/terraform.
func tfFile(t *testing.T, name string) *hclsyntax.Body {
	t.Helper()
	file, diagnostics := hclparse.NewParser().ParseHCLFile(filepath.Join(examplesDir, "terraform", name))
	require.False(t, diagnostics.HasErrors(), diagnostics.Error())
	return file.Body.(*hclsyntax.Body)
}

// tfBlocks are the headers of a file's blocks, such as `provider "vault"`.
func tfBlocks(body *hclsyntax.Body) []string {
	var headers []string
	for _, block := range body.Blocks {
		header := block.Type
		for _, label := range block.Labels {
			header += ` "` + label + `"`
		}
		headers = append(headers, header)
	}
	return headers
}

// requiredProviders are the sources that a file's terraform block names.
func requiredProviders(t *testing.T, body *hclsyntax.Body) []string {
	t.Helper()
	var sources []string
	for _, block := range body.Blocks {
		for _, inner := range block.Body.Blocks {
			if block.Type != "terraform" || inner.Type != "required_providers" {
				continue
			}
			for _, provider := range inner.Body.Attributes {
				value, diagnostics := provider.Expr.Value(nil)
				require.False(t, diagnostics.HasErrors(), diagnostics.Error())
				sources = append(sources, value.GetAttr("source").AsString())
			}
		}
	}
	return sources
}

// tfFields are the fields of an attribute that is jsonencode({...}).
func tfFields(t *testing.T, body *hclsyntax.Body, name string) []string {
	t.Helper()
	attribute, found := body.Attributes[name]
	if !found {
		return nil
	}
	call, isCall := attribute.Expr.(*hclsyntax.FunctionCallExpr)
	if !isCall || len(call.Args) != 1 {
		return nil
	}
	object, isObject := call.Args[0].(*hclsyntax.ObjectConsExpr)
	if !isObject {
		return nil
	}
	var fields []string
	for _, item := range object.Items {
		fields = append(fields, hcl.ExprAsKeyword(item.KeyExpr))
	}
	return fields
}

// The form of the files: they parse, and have what they are for. TestTerraformRuns runs them where
// there are providers.
func TestTerraformExamplesForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		file      string
		providers []string
		blocks    []string
	}{
		{"main.tf", []string{"spectrocloud/spectrocloud"}, []string{`provider "spectrocloud"`}},
		{
			"ephemeral/main.tf",
			[]string{"hashicorp/vault", "spectrocloud/spectrocloud"},
			[]string{`provider "vault"`, `provider "spectrocloud"`, `ephemeral "vault_generic_secret" "palette"`},
		},
		{
			"setup/setup.tf",
			[]string{"hashicorp/vault"},
			[]string{`provider "vault"`, `resource "vault_plugin" "palette"`, `resource "vault_mount" "palette"`, `ephemeral "vault_generic_endpoint" "config"`, `resource "vault_generic_endpoint" "rotate"`},
		},
	} {
		body := tfFile(t, row.file)
		assert.ElementsMatch(t, row.providers, requiredProviders(t, body), row.file)
		assert.Subset(t, tfBlocks(body), row.blocks, row.file)
	}
	files, err := filepath.Glob(filepath.Join(examplesDir, "terraform", "*", "*.tf"))
	require.NoError(t, err)
	more, err := filepath.Glob(filepath.Join(examplesDir, "terraform", "*.tf"))
	require.NoError(t, err)
	assert.Len(t, append(files, more...), 3, "each file is in the table")
}

// What the files write has to be what the engine takes.
func TestTerraformWritesKnownFields(t *testing.T) {
	t.Parallel()
	written := 0
	for _, block := range tfFile(t, "setup/setup.tf").Blocks {
		if len(block.Labels) == 0 || block.Labels[0] != "vault_generic_endpoint" {
			continue
		}
		for _, field := range tfFields(t, block.Body, "data_json") {
			written++
			assert.True(t, slices.Contains(configIn, field), "%s writes the field %q", strings.Join(block.Labels, "."), field)
		}
	}
	assert.Greater(t, written, 4)
}

// runKeyScript runs examples/terraform/palette-key.sh with the command in place of Terraform.
func (x *examples) runKeyScript(t *testing.T, command ...string) vaulttest.Output {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(examplesDir, "terraform", "palette-key.sh"), command...)
	cmd.Env = x.env(t, "palette-terraform")
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	return out
}

// terraform runs the script around Terraform: the command has a key that works while it
// runs, and no longer.
func (x *examples) terraform(t *testing.T) {
	out := x.runKeyScript(t, "sh", "-c", `printf '%s %s' "$SPECTROCLOUD_APIKEY" "$SPECTROCLOUD_HOST"; exit 7`)
	assert.Equal(t, 7, out.Code, out.Stderr)
	made := x.palette.KeySecrets()
	require.NotEmpty(t, made)
	key, host, _ := strings.Cut(out.Stdout, " ")
	assert.Contains(t, made, key)
	assert.Equal(t, strings.TrimPrefix(x.calls.URL, "http://"), host)
	assert.False(t, x.palette.KeyAlive(key), "the key ends with the command")
	assert.Empty(t, leaksIn("what the script said", out.Stderr, made))
}
