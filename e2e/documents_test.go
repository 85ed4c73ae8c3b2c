package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// documents are the pages whose examples run. [TestDocs] runs the blocks of a page after the comment
// "run by TestDocs" as one shell script, at the repository's root. A block after the comment "prints" is
// what the script prints, with … for what differs from run to run.
var documents = []string{"../README.md", "../docs/tutorials/*.md", "../docs/how-to/*.md", "../docs/how-to/clients/*.md"}

const runByDocs = "<!-- run by TestDocs -->\n"

var example = regexp.MustCompile("(?s)" + runByDocs + "```sh\n(.*?)\n```(?:\n<!-- prints -->\n```\n(.*?)\n```)?")

// pages returns the texts of documents by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range documents {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, paths, pattern)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			found[path] = string(text)
		}
	}
	return found
}

// The blocks run as they stand, on a mount that examples/setup.sh has set up. A page that enables the
// engine itself finds a server without a mount.
func TestDocs(t *testing.T) {
	t.Parallel()
	v := bareServer(t, vaulttest.InMemory)
	require.NoError(t, v.Register(t.Context()))
	for path, page := range pages(t) {
		var script, prints string
		blocks := example.FindAllStringSubmatch(page, -1)
		require.Len(t, blocks, strings.Count(page, runByDocs), "%s: a block that is to run is no block of sh", path)
		for _, block := range blocks {
			script, prints = script+block[1]+"\n", prints+block[2]+"\n"
		}
		if script == "" {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			x := &examples{t: t, vault: v, palette: palettetest.New(t)}
			watchPalette(v, x.palette)
			x.calls = newRecorder(t, x.palette)
			if !strings.Contains(script, "vault secrets enable") {
				x.setUp(t)
			}
			out := x.script(t, script)
			require.Zero(t, out.Code, "%s\n%s%s", script, out.Stdout, out.Stderr)
			assert.Regexp(t, patternOf(prints), out.Stdout, script)
			require.Zero(t, x.script(t, "vault secrets disable palette").Code)
			assert.Empty(t, x.palette.LiveTokens(), "what the page has issued ends with its mount")
		})
	}
}

// script runs a shell script at the repository's root, where the pages' paths begin.
func (x *examples) script(t *testing.T, script string) vaulttest.Output {
	t.Helper()
	user := palettetest.DefaultUser
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
	cmd.Dir = ".."
	cmd.Env = append(x.vault.Env(), "PLUGIN="+x.vault.Plugin(), "PALETTE_ADDRESS="+x.calls.URL,
		"PALETTE_EMAIL="+user.Email, "PALETTE_PASSWORD="+user.Password, "PALETTE_ORG="+user.Org)
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	return out
}

// patternOf matches what a page says that a script prints: its lines in their order, with anything
// between two of them, and anything for …. Columns may have other widths. On no terminal, the CLI
// prints a single field without a line break.
func patternOf(text string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		var words []string
		for _, word := range strings.Fields(line) {
			words = append(words, strings.ReplaceAll(regexp.QuoteMeta(word), "…", ".*"))
		}
		lines = append(lines, strings.Join(words, ` +`))
	}
	return "(?s)" + strings.Join(lines, `.*`)
}

// The pages and the chart's values take the plugin out of the image from where the Dockerfile puts it.
func TestPagesNameTheProgramInTheImage(t *testing.T) {
	t.Parallel()
	const image = "/palette" // where the values mount it
	program := programInImage(t)
	for path, copies := range map[string]string{
		"../docs/how-to/install.md":               `COPY --from=\S+ (\S+)`,
		"../docs/how-to/install-kubernetes.md":    `COPY --from=\S+ (\S+)`,
		"../examples/kubernetes/helm/values.yaml": `cp, ` + image + `([^ ,]+)`,
	} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		found := regexp.MustCompile(copies).FindSubmatch(text)
		require.NotNil(t, found, path)
		assert.Equal(t, program, string(found[1]), path)
	}
}
