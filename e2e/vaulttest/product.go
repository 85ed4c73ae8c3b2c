package vaulttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Product is whose server the tests run on, Vault or OpenBao. Each difference between the two that
// a test meets is a method of this type, with its reason.
type Product struct {
	// Name is Vault or OpenBao.
	Name string
	// Version is the server's own, such as v1.21.2.
	Version string
}

// OpenBao tells whether the server is OpenBao.
func (p Product) OpenBao() bool { return p.Name == "OpenBao" }

// String is the name with the version.
func (p Product) String() string { return p.Name + " " + p.Version }

// wantsOpenBao tells whether SERVER asks for OpenBao.
func wantsOpenBao() bool { return os.Getenv("SERVER") == "bao" }

// program is the server program's name.
func program() string {
	if wantsOpenBao() {
		return "bao"
	}
	return "vault"
}

// products remembers what each program has said of itself.
var products sync.Map // of a path, to a Product

// ProductOf asks a server program for its product and version.
func ProductOf(ctx context.Context, path string) (Product, error) {
	if known, found := products.Load(path); found {
		return known.(Product), nil
	}
	out, err := exec.CommandContext(ctx, path, "version").Output() // #nosec G204 -- whoever runs this names the file
	if err != nil {
		return Product{}, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	// "Vault v1.21.2 (0123abc), built today" or "OpenBao v2.6.2, committed today".
	name, rest, _ := strings.Cut(string(out), " ")
	said := strings.FieldsFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == ',' })
	if len(said) == 0 || name != "Vault" && name != "OpenBao" {
		return Product{}, fmt.Errorf("%s is neither Vault nor OpenBao", path)
	}
	p := Product{Name: name, Version: said[0]}
	products.Store(path, p)
	return p, nil
}

// Installed is the product of the program that [VaultBinary] finds. One that SERVER does not ask
// for is an error.
func Installed(ctx context.Context) (Product, error) {
	path, err := VaultBinary()
	if err != nil {
		return Product{}, err
	}
	p, err := ProductOf(ctx, path)
	if err == nil && p.OpenBao() != wantsOpenBao() {
		return Product{}, fmt.Errorf("SERVER is %q, but %s is %s: run the tests by make e2e SERVER=bao, or by make e2e for Vault",
			os.Getenv("SERVER"), path, p)
	}
	return p, err
}

// Product is the server's.
func (s *Server) Product() Product { return s.product }

// auditConfig is what the server's configuration says of its audit log. OpenBao refuses to make an
// audit device by its API, and declares devices in the configuration
// (https://openbao.org/docs/configuration/audit).
func (p Product) auditConfig() string {
	if !p.OpenBao() {
		return ""
	}
	return fmt.Sprintf("audit \"file\" \"file\" {\n  options {\n    file_path = %q\n  }\n}\n", auditFile)
}

// auditByAPI tells whether the audit log has to be enabled by the API: see auditConfig.
func (p Product) auditByAPI() bool { return !p.OpenBao() }

// arguments are those of a CLI command as the product's CLI takes them. Vault's `plugin reload` has
// -type since 1.18; OpenBao's has not, and finds the plugin by its name alone.
func (p Product) arguments(args []string) []string {
	if !p.OpenBao() || len(args) < 2 || args[0] != "plugin" || args[1] != "reload" {
		return args
	}
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.HasPrefix(arg, "-type=") })
}

// AgentConfig is the configuration of a Vault Agent as the product's Agent takes it. OpenBao's has
// no lease_renewal_threshold, and reads a lease anew at 85 to 95 percent of its time.
func (p Product) AgentConfig(config string) string {
	if !p.OpenBao() {
		return config
	}
	return regexp.MustCompile(`(?m)^\s*lease_renewal_threshold\b.*\n`).ReplaceAllString(config, "")
}

// SealCutsOff tells whether a seal ends the requests that are under way with an error. Vault lets
// them finish first, by the state lock that each holds. OpenBao with raft ends its leadership first,
// without that lock, and so cancels their contexts (vault/ha.go, "Stop Active Duty").
func (p Product) SealCutsOff() bool { return p.OpenBao() }

// AuditShowsTimes tells whether the audit log shows the times in an answer. Vault hashes each string.
// OpenBao leaves a string as it is that parses as a time (audit/hashstructure.go).
func (p Product) AuditShowsTimes() bool { return p.OpenBao() }
