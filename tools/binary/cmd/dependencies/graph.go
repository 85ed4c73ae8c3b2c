package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// pkg is a package that is linked into the plugin, as `go list` tells it.
type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct {
		Path    string
		Version string
		Main    bool
	}

	size int64 // bytes of code and data in the binary
}

// standard is where the packages of Go's own library are counted.
const standard = "Go's standard library and runtime"

// module is the path of the module that p belongs to.
func (p *pkg) module() string {
	if p.Module == nil {
		return standard
	}
	return p.Module.Path
}

// module is one that has packages in the plugin.
type module struct {
	path     string
	version  string
	packages []*pkg
	imports  map[string]bool // paths of other modules
	size     int64
}

// graph is what is linked into the plugin, and who imports whom.
type graph struct {
	main     string // the plugin's own module
	packages map[string]*pkg
	modules  map[string]*module
	required []string // what go.mod requires for the module's own code and tests

	sections sections
}

// load asks Go for the packages of the plugin. It builds nothing.
func load(root string) (*graph, error) {
	out, err := goCommand(root, "list", "-deps", "-json=ImportPath,Imports,Standard,Module", program)
	if err != nil {
		return nil, err
	}
	g := &graph{packages: map[string]*pkg{}, modules: map[string]*module{}}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		p := &pkg{}
		if err = dec.Decode(p); errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		g.packages[p.ImportPath] = p
	}
	g.group()
	g.required, err = directRequirements(root)
	return g, err
}

// group gathers the packages by module.
func (g *graph) group() {
	for _, path := range slices.Sorted(maps.Keys(g.packages)) {
		p := g.packages[path]
		m := g.modules[p.module()]
		if m == nil {
			m = &module{path: p.module(), imports: map[string]bool{}}
			g.modules[m.path] = m
			if p.Module != nil {
				m.version = p.Module.Version
			}
		}
		if p.Module != nil && p.Module.Main {
			g.main = m.path
		}
		m.packages = append(m.packages, p)
		for _, name := range p.Imports {
			if to := g.packages[name]; to != nil && to.module() != m.path {
				m.imports[to.module()] = true
			}
		}
	}
}

// direct is the modules that the plugin's own code imports, Go's library aside.
func (g *graph) direct() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.modules[g.main].imports)),
		func(path string) bool { return path == standard })
}

// reach is the modules that can be reached from the plugin's own over imports, without
// passing through the one named.
func (g *graph) reach(from, without string) map[string]bool {
	seen := map[string]bool{from: true}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for next := range g.modules[queue[0]].imports {
			if !seen[next] && next != without && next != standard {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return seen
}

// directRequirements is what go.mod requires without `// indirect`.
func directRequirements(root string) ([]string, error) {
	out, err := goCommand(root, "mod", "edit", "-json")
	if err != nil {
		return nil, err
	}
	var file struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal([]byte(out), &file); err != nil {
		return nil, fmt.Errorf("read go.mod: %w", err)
	}
	var paths []string
	for _, r := range file.Require {
		if !r.Indirect {
			paths = append(paths, r.Path)
		}
	}
	return paths, nil
}

// goCommand runs Go for the system that the document is of.
func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return string(out), nil
}
