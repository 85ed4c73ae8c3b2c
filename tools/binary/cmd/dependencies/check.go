package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// mainModule is the plugin's own module.
const mainModule = "vault-plugin-secrets-palette"

// linkedAnyway is what only the plugin's tests need and Vault's SDK links all the same, and
// the package that does: its testing helpers are in no _test.go file.
var linkedAnyway = map[string]string{
	"github.com/stretchr/testify": "github.com/hashicorp/vault/sdk/physical",
	"go.yaml.in/yaml/v3":          "github.com/stretchr/testify/assert/yaml",
}

// testing is what a package that ships must not import.
var testing = regexp.MustCompile(`^(testing|net/http/httptest|` + mainModule + `/(internal/palettetest|e2e))(/|$)`)

// readReasons reads lines of a module's path and a reason.
func readReasons(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the reasons: %w", err)
	}
	defer func() { _ = file.Close() }()
	why := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, reason, found := strings.Cut(lines.Text(), " "); found && !strings.HasPrefix(name, "#") {
			why[name] = strings.TrimSpace(reason)
		}
	}
	return why, lines.Err()
}

// checkReasons fails where a direct dependency has no reason.
func (g *graph) checkReasons(why map[string]string, file string) error {
	var missing []string
	for _, path := range g.direct() {
		if why[path] == "" {
			missing = append(missing, path)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("why is it in the plugin? Add a line to %s for: %s", file, strings.Join(missing, ", "))
	}
	return nil
}

// testOnly is what go.mod requires, and the plugin's own code does not import.
func (g *graph) testOnly() []string {
	direct := g.direct()
	return slices.DeleteFunc(slices.Clone(g.required), func(path string) bool { return slices.Contains(direct, path) })
}

// importers is the packages of other modules that import one of the module path's.
func (g *graph) importers(path string) []string {
	found := map[string]bool{}
	for _, p := range g.packages {
		for _, name := range p.Imports {
			if to := g.packages[name]; to != nil && to.module() == path && p.module() != path {
				found[p.ImportPath] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// checkTests fails where something is linked that only tests need.
func (g *graph) checkTests() error {
	var faults []error
	for _, p := range g.modules[g.main].packages {
		for _, name := range append([]string{p.ImportPath}, p.Imports...) {
			if testing.MatchString(name) {
				faults = append(faults, fmt.Errorf("%s is linked into the plugin, by %s", name, p.ImportPath))
			}
		}
	}
	for _, path := range g.testOnly() {
		for _, by := range g.importers(path) {
			if linkedAnyway[path] != by {
				faults = append(faults, fmt.Errorf("%s, which only tests need, is linked into the plugin, by %s", path, by))
			}
		}
	}
	return errors.Join(faults...)
}

// row is a line of the document's table of direct dependencies.
var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// checkDocument fails where the document names other direct dependencies than the code's.
func (g *graph) checkDocument(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	named := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		named[match[1]] = true
	}
	if have := slices.Sorted(maps.Keys(named)); !slices.Equal(have, g.direct()) {
		return fmt.Errorf("%s tells of %v, the plugin imports %v: run make dependencies", document, have, g.direct())
	}
	return nil
}
