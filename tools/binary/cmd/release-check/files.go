package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// documents is what an archive holds beside the program.
var documents = []string{"CHANGELOG.md", "LICENSE", "README.md"}

// checkSums holds the checksums against the files, and their names against what is published.
func (r *release) checkSums() error {
	file := r.name(target{}, "SHA256SUMS")
	data, err := os.ReadFile(r.paths[file])
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	r.sums = map[string]string{}
	for line := range strings.Lines(string(data)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		r.sums[name] = sum
	}
	var want []string
	for _, t := range targets {
		want = append(want, r.name(t, ".zip"), r.name(t, t.exe()), r.name(t, ".cdx.json"))
	}
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(r.sums)); !slices.Equal(have, want) {
		return fmt.Errorf("%s names\n\t%s\nnot\n\t%s", file, strings.Join(have, "\n\t"), strings.Join(want, "\n\t"))
	}
	var faults []error
	for _, name := range want {
		faults = append(faults, r.checkSum(name)(os.Open(r.paths[name])))
	}
	return errors.Join(faults...)
}

// checkSum holds what is opened against the checksum of the file name.
func (r *release) checkSum(name string) func(io.ReadCloser, error) error {
	return func(opened io.ReadCloser, err error) error {
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		defer func() { _ = opened.Close() }()
		hash := sha256.New()
		if _, err = io.Copy(hash, opened); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if sum := hex.EncodeToString(hash.Sum(nil)); sum != r.sums[name] {
			return fmt.Errorf("a file has the checksum %s, and %s is to have %s", sum, name, r.sums[name])
		}
		return nil
	}
}

// checkArchive looks into an archive: the program that is also published plainly, executable,
// and the documents.
func (r *release) checkArchive(archive, program, inside string) error {
	opened, err := zip.OpenReader(r.paths[archive])
	if err != nil {
		return fmt.Errorf("open %s: %w", archive, err)
	}
	defer func() { _ = opened.Close() }()
	var names []string
	var faults []error
	for _, file := range opened.File {
		names = append(names, file.Name)
		if file.Name != inside {
			continue
		}
		if file.Mode().Perm() != 0o755 {
			faults = append(faults, fmt.Errorf("%s holds %s with mode %v", archive, inside, file.Mode()))
		}
		if err = r.checkSum(program)(file.Open()); err != nil {
			faults = append(faults, fmt.Errorf("%s in %s: %w", inside, archive, err))
		}
	}
	slices.Sort(names)
	if want := append(slices.Clone(documents), inside); !slices.Equal(names, want) {
		faults = append(faults, fmt.Errorf("%s holds %v, not %v", archive, names, want))
	}
	return errors.Join(faults...)
}
