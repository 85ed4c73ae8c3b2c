// Command dependencies tells what is in the plugin binary and why. It writes docs/development/dependencies.md. With
// -check it checks that the document still names what the code imports, and that nothing is linked that only tests
// need.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// The document is of one system, so that it is the same wherever it is written.
const goos, goarch = "linux", "amd64"

const (
	program  = "./cmd/vault-plugin-secrets-palette"
	document = "docs/development/dependencies.md"
)

func main() {
	root := flag.String("root", ".", "the `folder` of the plugin's go.mod")
	reasons := flag.String("reasons", "", "the `file` that says why each direct dependency is there")
	check := flag.Bool("check", false, "write nothing; fail where the document is not of this code")
	flag.Parse()
	if err := run(*root, *reasons, *check); err != nil {
		fmt.Fprintln(os.Stderr, "dependencies: "+err.Error())
		os.Exit(1)
	}
}

func run(root, reasonsFile string, check bool) error {
	why, err := readReasons(reasonsFile)
	if err != nil {
		return err
	}
	g, err := load(root)
	if err != nil {
		return err
	}
	if err := g.checkReasons(why, reasonsFile); err != nil {
		return err
	}
	if err := g.checkTests(); err != nil {
		return err
	}
	path := filepath.Join(root, document)
	if check {
		if err := g.checkDocument(path); err != nil {
			return err
		}
		fmt.Printf("%d direct dependencies, each with its reason, of %d modules in the binary; none that only tests need but those of Vault's SDK\n",
			len(g.direct()), len(g.modules)-1)
		return nil
	}
	if err := g.measure(root); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(g.document(why)), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	fmt.Println("wrote " + document)
	return nil
}
