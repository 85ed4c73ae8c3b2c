package main

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// checkProgram holds what Go wrote into the program against its target and the sources.
func (r *release) checkProgram(program string, t target) error {
	info, err := buildinfo.ReadFile(r.paths[program])
	if err != nil {
		return fmt.Errorf("read %s: %w", program, err)
	}
	var faults []error
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	for key, want := range map[string]string{"GOOS": t.os, "GOARCH": t.arch, "CGO_ENABLED": "0", "-trimpath": "true", "vcs.revision": ""} {
		if settings[key] != want {
			faults = append(faults, fmt.Errorf("%s is built with %s=%q, not %q", program, key, settings[key], want))
		}
	}
	linked, err := modulesOf(r.paths[program])
	if err != nil {
		return err
	}
	imported, err := r.imported(t)
	if err != nil {
		return err
	}
	faults = append(faults, same(program, linked, "the sources", imported))
	if t.os == "linux" || t.os == "freebsd" {
		faults = append(faults, checkStatic(r.paths[program]))
	}
	return errors.Join(faults...)
}

// modulesOf is the modules that a program names itself, as "path version".
func modulesOf(path string) (map[string]bool, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the modules: %w", err)
	}
	linked := map[string]bool{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		linked[m.Path+" "+m.Version] = true
	}
	return linked, nil
}

// imported is the modules that the sources import for a target.
func (r *release) imported(t target) (map[string]bool, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/"+project)
	cmd.Dir, cmd.Stderr = r.root, os.Stderr
	cmd.Env = append(os.Environ(), "GOOS="+t.os, "GOARCH="+t.arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	modules := map[string]bool{}
	for line := range strings.FieldsFuncSeq(string(out), func(c rune) bool { return c == '\n' }) {
		modules[line] = true
	}
	return modules, nil
}

// same fails where two sets of modules differ.
func same(one string, a map[string]bool, other string, b map[string]bool) error {
	if len(a) == 0 {
		return fmt.Errorf("%s names no modules", one)
	}
	if maps.Equal(a, b) {
		return nil
	}
	only := func(in, out map[string]bool) []string {
		return slices.DeleteFunc(slices.Sorted(maps.Keys(in)), func(m string) bool { return out[m] })
	}
	return fmt.Errorf("%s alone has %v, %s alone %v", one, only(a, b), other, only(b, a))
}

// checkStatic fails where a program needs a loader or a library of the system: it would not
// start in Vault's container image, which has another libc than most systems.
func checkStatic(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("open the program: %w", err)
	}
	defer func() { _ = file.Close() }()
	var faults []error
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			faults = append(faults, fmt.Errorf("%s is not static: %v", path, p.Type))
		}
	}
	if file.Section(".symtab") != nil {
		faults = append(faults, fmt.Errorf("%s has its symbols", path))
	}
	return errors.Join(faults...)
}

// checkSBOM holds an SBOM against its program.
func (r *release) checkSBOM(sbom, program string) error {
	var bom struct {
		BOMFormat string
		Metadata  struct {
			Component  struct{ Name, Version string }
			Properties []struct{ Name, Value string }
		}
		Components []struct{ Name, Version string }
	}
	if err := readJSON(r.paths[sbom], &bom); err != nil {
		return err
	}
	var faults []error
	if c := bom.Metadata.Component; bom.BOMFormat != "CycloneDX" || c.Name != project || c.Version != "v"+r.version {
		faults = append(faults, fmt.Errorf("%s is a %s document of %s %s", sbom, bom.BOMFormat, c.Name, c.Version))
	}
	sum := ""
	for _, p := range bom.Metadata.Properties {
		if p.Name == "cdx:gomod:binary:hash:SHA-256" {
			sum = p.Value
		}
	}
	if sum != r.sums[program] {
		faults = append(faults, fmt.Errorf("%s is of a program with checksum %s", sbom, sum))
	}
	listed := map[string]bool{}
	for _, c := range bom.Components {
		if c.Name != "std" { // Go's own library, by the version of Go
			listed[c.Name+" "+c.Version] = true
		}
	}
	linked, err := modulesOf(r.paths[program])
	if err != nil {
		return err
	}
	return errors.Join(append(faults, same(sbom, listed, program, linked))...)
}
