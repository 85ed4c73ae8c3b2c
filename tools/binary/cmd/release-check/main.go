// Command release-check holds what GoReleaser put into dist/ against what a release promises:
// each file is there and has the checksum that is named, archives hold what they should, the
// programs are those of their system, static, and list the modules that the sources import, and
// so do their SBOMs.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const project = "vault-plugin-secrets-palette"

// targets is what a release is built for. It is said here again, so that a target that is lost
// from .goreleaser.yaml is missed.
var targets = []target{
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"freebsd", "amd64"},
	{"freebsd", "arm64"},
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"windows", "amd64"},
	{"windows", "arm64"},
}

type target struct{ os, arch string }

func (t target) exe() string {
	if t.os == "windows" {
		return ".exe"
	}
	return ""
}

// release is a folder that GoReleaser wrote.
type release struct {
	root, dist, version string
	paths               map[string]string // by the name under which a file is published
	sums                map[string]string // as SHA256SUMS tells them
}

func main() {
	root := flag.String("root", ".", "the `folder` of the plugin's go.mod")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "release-check:\n"+err.Error())
		os.Exit(1)
	}
}

func run(root string) error {
	r, err := read(root)
	if err != nil {
		return err
	}
	faults := []error{r.checkSums()}
	for _, t := range targets {
		if err := r.check(t); err != nil {
			faults = append(faults, fmt.Errorf("%s/%s: %w", t.os, t.arch, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	fmt.Printf("%s: %d targets, each as archive, program and SBOM; %d checksums are right\n", r.version, len(targets), len(r.sums))
	return nil
}

// read reads GoReleaser's own account of what it made.
func read(root string) (*release, error) {
	r := &release{root: root, dist: filepath.Join(root, "dist"), paths: map[string]string{}}
	var metadata struct{ Version string }
	if err := readJSON(filepath.Join(r.dist, "metadata.json"), &metadata); err != nil {
		return nil, err
	}
	r.version = metadata.Version
	var artifacts []struct{ Name, Path string }
	if err := readJSON(filepath.Join(r.dist, "artifacts.json"), &artifacts); err != nil {
		return nil, err
	}
	for _, a := range artifacts {
		r.paths[a.Name] = filepath.Join(root, a.Path)
	}
	return r, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read a file of the release: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// name is that of a file of the release, which is for t unless t is empty.
func (r *release) name(t target, end string) string {
	if t == (target{}) {
		return fmt.Sprintf("%s_%s_%s", project, r.version, end)
	}
	return fmt.Sprintf("%s_%s_%s_%s%s", project, r.version, t.os, t.arch, end)
}

// check looks at the three files of a target.
func (r *release) check(t target) error {
	program := r.name(t, t.exe())
	faults := []error{
		r.checkArchive(r.name(t, ".zip"), program, project+t.exe()),
		r.checkProgram(program, t),
		r.checkSBOM(r.name(t, ".cdx.json"), program),
	}
	if t.os == runtime.GOOS && t.arch == runtime.GOARCH {
		faults = append(faults, r.checkVersion(program))
	}
	return errors.Join(faults...)
}

// checkVersion runs the program: Vault refuses one that tells another version than the one it
// is registered with.
func (r *release) checkVersion(program string) error {
	out, err := exec.Command(r.paths[program], "-version").Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	if told, want := strings.TrimSpace(string(out)), project+" v"+r.version; told != want {
		return fmt.Errorf("%s tells %q, not %q", program, told, want)
	}
	return nil
}
