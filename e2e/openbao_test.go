package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// openbaoConfig is the server configuration of docs/how-to/install-openbao.md.
func openbaoConfig(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/how-to/install-openbao.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)```hcl\n(plugin_directory.*?)```").FindSubmatch(page)
	require.NotNil(t, found, "the page shows a configuration")
	return string(found[1])
}

// programInImage is where the Dockerfile puts the plugin.
func programInImage(t *testing.T) string {
	t.Helper()
	dockerfile, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^COPY \$TARGETPLATFORM/\S+ (\S+)$`).FindSubmatch(dockerfile)
	require.NotNil(t, found)
	return string(found[1])
}

// The page's plugin block names what the release's image is and holds.
func TestOpenBaoConfigForm(t *testing.T) {
	t.Parallel()
	file, diagnostics := hclparse.NewParser().ParseHCL([]byte(openbaoConfig(t)), "openbao.hcl")
	require.False(t, diagnostics.HasErrors(), diagnostics.Error())
	body := file.Body.(*hclsyntax.Body)
	require.Equal(t, []string{`plugin "secret" "` + vaulttest.PluginName + `"`}, tfBlocks(body))
	said := make(map[string]string)
	for key, attribute := range body.Blocks[0].Body.Attributes {
		value, diagnostics := attribute.Expr.Value(nil)
		require.False(t, diagnostics.HasErrors(), diagnostics.Error())
		said[key] = value.AsString()
	}
	release, err := os.ReadFile("../.goreleaser.yaml")
	require.NoError(t, err)
	assert.Len(t, said, 4)
	assert.Contains(t, said["sha256sum"], "checksum")
	assert.Equal(t, vaulttest.PluginName, path.Base(said["image"]))
	assert.Regexp(t, `^v\d+\.\d+\.\d+$`, said["version"], "the version that the plugin reports, with its v")
	assert.Contains(t, string(release), "- \"v{{ .Version }}\"\n", "OpenBao asks for the tag that is the version")
	assert.Equal(t, programInImage(t), "/"+said["binary_name"], "OpenBao looks in the root of the image")
}

// A server that has the page's configuration downloads the plugin, registers and runs it.
func TestOpenBaoTakesThePluginFromItsImage(t *testing.T) {
	t.Parallel()
	product, err := vaulttest.Installed(t.Context())
	require.NoError(t, err)
	if !product.OpenBao() {
		t.Skip("Vault has no plugin block in its configuration; make e2e SERVER=bao runs this test")
	}
	const version = "v0.3.0"
	image, sum := pushImage(t, buildPlugin(t, "..", version), version)
	config := openbaoConfig(t)
	for setting, its := range map[string]string{"image": image, "version": version, "sha256sum": sum} {
		changed := regexp.MustCompile(`(?m)^(  `+setting+` += ).*$`).ReplaceAllString(config, `${1}"`+its+`"`)
		require.NotEqual(t, config, changed, setting)
		config = changed
	}
	// The server's own is in its configuration.
	config = regexp.MustCompile(`(?m)^plugin_directory .*$`).ReplaceAllString(config, "")
	v := bareServerOf(t, vaulttest.Options{Storage: vaulttest.Raft, LogLevel: atTrace, Config: config})
	f := newFixture(t, v)
	f.runs(version)
	f.read()
}

// pushImage serves an image that holds the program where the Dockerfile puts it, at a registry on
// the loopback. It returns the image's name without a tag, and the program's checksum.
func pushImage(t *testing.T, program, tag string) (at, sum string) {
	t.Helper()
	host := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(host.Close)
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	image, err := crane.Image(map[string][]byte{strings.TrimPrefix(programInImage(t), "/"): content})
	require.NoError(t, err)
	at = strings.TrimPrefix(host.URL, "http://") + "/" + vaulttest.PluginName
	require.NoError(t, crane.Push(image, at+":"+tag))
	return at, fmt.Sprintf("%x", sha256.Sum256(content))
}
