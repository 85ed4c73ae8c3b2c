package reference

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-palette/internal/enginetest"
)

// knownClient is an entry of examples/clients.yaml, which tells what its fields mean.
type knownClient struct {
	Client, Name, Role, Recipe, Version, Pin string
	Run, Tests                               []string
	NotRun                                   string `yaml:"not_run"`
}

// row is the client's row in docs/reference/compatibility.md.
func (c *knownClient) row(from string) string {
	ran := "**not run**: " + c.NotRun
	if len(c.Tests) > 0 {
		ran = fmt.Sprintf("`%s`: `%s`", strings.Join(c.Run, "`, `"), strings.Join(c.Tests, "`, `"))
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", c.Client, cmp.Or(c.Version, "none"), c.Role, c.link(from), ran)
}

// link is the link to the recipe from a page.
func (c *knownClient) link(from string) string {
	path, _ := filepath.Rel(filepath.Dir(from), c.Recipe)
	return fmt.Sprintf("[%s](%s)", c.Name, path)
}

func knownClients(t *testing.T) (all []knownClient) {
	t.Helper()
	text, err := os.ReadFile("../../examples/clients.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&all))
	require.Greater(t, len(all), 10)
	return all
}

// versions are the numbers in a text, such as 1.21.2.
var versions = regexp.MustCompile(`\d+(?:\.\d+)+`)

// What the list names is there: the recipe, each test, the command of the Makefile, and the version where one is pinned.
func TestListOfClientsIsTrue(t *testing.T) {
	tests := enginetest.Tests(t, "../..")
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	for _, c := range knownClients(t) {
		assert.FileExists(t, filepath.Join("../..", c.Recipe), c.Client)
		assert.NotEqual(t, len(c.Tests) > 0, c.NotRun != "", "%s: either tests or not_run", c.Client)
		if len(c.Tests) == 0 {
			continue
		}
		for _, test := range c.Tests {
			assert.NotEmpty(t, tests[test], "%s: there is no test %s", c.Client, test)
		}
		assert.NotEmpty(t, c.Run, c.Client)
		for _, command := range c.Run {
			assert.Contains(t, string(makefile), "\n"+strings.TrimPrefix(command, "make ")+":", c.Client)
		}
		number := versions.FindString(c.Version)
		assert.NotEmpty(t, number, "%s: a version", c.Client)
		if c.Pin != "" {
			pinned, err := os.ReadFile(filepath.Join("../..", c.Pin))
			require.NoError(t, err)
			assert.Contains(t, versions.FindAllString(string(pinned), -1), number, "%s: %s names another version", c.Client, c.Pin)
		}
	}
}

// The tables of README.md and docs/reference/compatibility.md are those of the list.
func TestTablesOfClientsAreThoseOfTheList(t *testing.T) {
	const readme, compatibility = "README.md", "docs/reference/compatibility.md"
	short := "| Client | Role | Recipe |\n| --- | --- | --- |\n"
	full := "| Client | Version that ran | Role | Recipe | Run by |\n| --- | --- | --- | --- | --- |\n"
	for _, c := range knownClients(t) {
		short += fmt.Sprintf("| %s | %s | %s |\n", c.Client, c.Role, c.link(readme))
		full += c.row(compatibility)
	}
	for page, table := range map[string]string{readme: short, compatibility: full} {
		path := filepath.Join("../..", page)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		before, rest, begins := strings.Cut(string(text), clientsBegin)
		_, after, ends := strings.Cut(rest, clientsEnd)
		require.True(t, begins && ends, "%s has no place for the table: %s%s", page, clientsBegin, clientsEnd)
		enginetest.Generated(t, path, before+clientsBegin+table+clientsEnd+after)
	}
}

const (
	clientsBegin = "<!-- clients: from examples/clients.yaml -->\n\n"
	clientsEnd   = "\n<!-- /clients -->"
)
