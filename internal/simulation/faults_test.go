package simulation

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fault is a deliberate fault: a text of the production code, and what stands in its place.
type fault struct{ name, old, new string }

// readFaults reads the table of the planted faults.
func readFaults(t *testing.T) (faults []fault) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "faults.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "\n=== ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		before, after, found := strings.Cut(body, "\n--- becomes\n")
		if !found {
			t.Fatalf("the fault %q does not say what its text becomes", name)
		}
		faults = append(faults, fault{name, before, strings.TrimRight(after, "\n")})
	}
	return faults
}

// notProduction are the folders whose code is no part of the engine.
var notProduction = map[string]bool{"e2e": true, "examples": true, "tools": true, "palettetest": true, "simulation": true, "bin": true, "dist": true, "testdata": true, ".git": true}

// production are the engine's files with their texts.
func production(t *testing.T, root string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && notProduction[d.Name()]:
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// plant writes the overlay of a fault. The error says that its text is not found once.
func (f fault) plant(files map[string]string, folder string) (overlay string, err error) {
	var in []string
	for path, text := range files {
		for range strings.Count(text, f.old) {
			in = append(in, path)
		}
	}
	if len(in) != 1 {
		return "", fmt.Errorf("its text is found %d times in the production code: write the fault anew", len(in))
	}
	changed := filepath.Join(folder, "changed.go")
	if err = os.WriteFile(changed, []byte(strings.Replace(files[in[0]], f.old, f.new, 1)), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{in[0]: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(folder, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

var seedBreaks = regexp.MustCompile(`seed (\d+) (?:breaks (invariant \d)|(hangs))`)

// find builds the simulator with a fault and says which seed finds it, and by what.
func (f fault) find(files map[string]string, folder string, seeds int) (seed, by string, err error) {
	overlay, err := f.plant(files, folder)
	if err != nil {
		return "", "", err
	}
	program := filepath.Join(folder, "simulation.test")
	if out, buildErr := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", program, ".").CombinedOutput(); buildErr != nil { // #nosec G204 -- the job's own paths
		return "", "", fmt.Errorf("it does not compile: %s", out)
	}
	run := exec.Command(program, "-test.run", "^TestSimulate$", "-test.timeout", "30m")
	run.Env = append(os.Environ(), "BRIEF=1", "SEED=", "START=1", fmt.Sprint("SEEDS=", seeds))
	out, runErr := run.CombinedOutput()
	found := seedBreaks.FindStringSubmatch(string(out))
	switch {
	case found != nil:
		return found[1], found[2] + found[3], nil
	case runErr != nil:
		return "?", "the end of the process", nil
	}
	return "", "", fmt.Errorf("%d seeds do not find it", seeds)
}

// TestPlantedFaults shows that the simulator can fail. FAULTS=1 turns it on, FAULT=text narrows it.
func TestPlantedFaults(t *testing.T) {
	if os.Getenv("FAULTS") == "" {
		t.Skip("it takes minutes: make simulate-faults")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	files := production(t, root)
	seeds := setting("SEEDS", 2000)
	fmt.Fprintf(os.Stdout, "%-70s %6s  %-24s %s\n", "fault", "seed", "found by", "took")
	for _, f := range readFaults(t) {
		if !strings.Contains(f.name, os.Getenv("FAULT")) {
			continue
		}
		began := time.Now()
		seed, by, err := f.find(files, t.TempDir(), seeds)
		if err != nil {
			seed, by = "-", "NOT FOUND"
			t.Errorf("%s: %s", f.name, err)
		}
		fmt.Fprintf(os.Stdout, "%-70s %6s  %-24s %s\n", f.name, seed, by, time.Since(began).Round(time.Second))
	}
}
