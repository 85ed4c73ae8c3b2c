// Command demo shows the engine at work on a real Vault, start to end, and leaves nothing
// behind: `make demo`.
//
// Palette is the stand-in of internal/palettetest, unless PALETTE_ADDRESS, PALETTE_EMAIL,
// PALETTE_ORG and PALETTE_PASSWORD name a real one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"vault-plugin-secrets-palette/e2e/playground"
	"vault-plugin-secrets-palette/e2e/vaulttest"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "demo shows the engine at work on a real Vault; it has no options, and runs against the stand-in\n"+
			"for Palette unless PALETTE_ADDRESS, PALETTE_EMAIL, PALETTE_ORG and PALETTE_PASSWORD are set")
	}
	flag.Parse()
	err := playground.Interruptible(func(ctx context.Context) error { return run(ctx, os.Stdout) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run shows all steps and cleans up, however they end.
func run(ctx context.Context, out io.Writer) (err error) {
	began := time.Now()
	palette, err := playground.FromEnvironment()
	if err != nil {
		return err
	}
	d := &demo{screen: screen{out: out, password: palette.Login.Password}, palette: palette}
	defer func() {
		ended := d.cleanUp(context.WithoutCancel(ctx))
		if err = errors.Join(err, ended); err == nil {
			_, err = fmt.Fprintf(out, "\nIt all worked: issued, used, renewed, revoked, and nothing is left running. %.1f s\n", time.Since(began).Seconds())
		}
	}()
	for _, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Start a Vault dev server", d.startVault},
		{"Find Palette", d.findPalette},
		{"Register the plugin by its checksum, and mount it", d.mount},
		{"Configure the Palette login and a role", d.configure},
		{"Read a token", d.read},
		{"Call Palette with it", d.useFirst},
		{"Renew the lease: a renewal brings a new token", d.renew},
		{"Call Palette with the new token", d.useSecond},
		{"Revoke the lease", d.revoke},
		{"Both tokens are dead", d.bothDead},
	} {
		d.title(step.title)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	return nil
}

// cleanUp ends all that the demo has started, the tokens at Palette first.
func (d *demo) cleanUp(ctx context.Context) error {
	return errors.Join(playground.End(ctx, d.vault, d.mounted), d.palette.Close())
}

// startVault starts the server. Its plugin directory has the plugin in it.
func (d *demo) startVault(ctx context.Context) error {
	vault, err := vaulttest.Start(ctx, vaulttest.Options{})
	if err != nil {
		return err
	}
	d.vault = vault
	version, err := vault.CLI(ctx, "", "version")
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(version.Stdout, ",")
	d.say("%s at %s, its files in %s", strings.TrimSpace(name), vault.Address, vault.Dir)
	d.say("VAULT_ADDR=%s and VAULT_TOKEN are set for all that follows", vault.Address)
	return nil
}
