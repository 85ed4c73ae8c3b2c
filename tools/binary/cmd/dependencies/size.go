package main

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sections is the bytes of the binary by what they are for, as far as Vault's machine loads
// them: a release has no symbols and no debugging data.
type sections struct {
	code, data, tables int64
}

// measure builds the plugin with its symbols and adds their sizes up by package.
func (g *graph) measure(root string) error {
	dir, err := os.MkdirTemp("", "dependencies-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "plugin")
	if _, err = goCommand(root, "build", "-trimpath", "-buildvcs=false", "-o", binary, program); err != nil {
		return err
	}
	file, err := elf.Open(binary)
	if err != nil {
		return fmt.Errorf("open the binary: %w", err)
	}
	defer func() { _ = file.Close() }()
	for _, s := range file.Sections {
		switch {
		case s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS:
		case s.Name == ".text":
			g.sections.code = int64(s.Size)
		case s.Name == ".gopclntab":
			g.sections.tables = int64(s.Size)
		default:
			g.sections.data += int64(s.Size)
		}
	}
	return g.countSymbols(file)
}

// countSymbols adds the symbols up. Variables that start as zero take no place in the file.
func (g *graph) countSymbols(file *elf.File) error {
	symbols, err := file.Symbols()
	if err != nil {
		return fmt.Errorf("read the symbols: %w", err)
	}
	for _, s := range symbols {
		if int(s.Section) >= len(file.Sections) || file.Sections[s.Section].Type == elf.SHT_NOBITS {
			continue
		}
		p := g.packages[packageOf(s.Name)]
		if p == nil {
			continue // tables that belong to no package
		}
		p.size += int64(s.Size)
		g.modules[p.module()].size += int64(s.Size)
	}
	return nil
}

// packageOf is the package of a symbol: of
// "type:.eq.github.com/hashicorp/yamux.Config" it is "github.com/hashicorp/yamux".
// https://go.dev/src/cmd/internal/objabi/path.go tells how a path is written there.
func packageOf(symbol string) string {
	for _, prefix := range []string{"type:.eq.", "type:.hash.", "go:itab.*", "go:itab."} {
		symbol = strings.TrimPrefix(symbol, prefix)
	}
	end := strings.IndexAny(symbol, "([{,")
	if end < 0 {
		end = len(symbol)
	}
	path := symbol[:end]
	slash := strings.LastIndexByte(path, '/') + 1
	dot := strings.IndexByte(path[slash:], '.')
	if dot < 0 {
		return ""
	}
	path = path[:slash+dot]
	if path == "main" {
		return strings.Replace(program, ".", mainModule, 1)
	}
	return strings.NewReplacer("%2e", ".", "%22", `"`, "%25", "%").Replace(path)
}
