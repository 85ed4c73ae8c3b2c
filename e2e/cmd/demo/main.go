// Command demo shows the engine at work on a real Vault, start to end, and leaves nothing
// behind: `make demo`.
//
// Palette is the stand-in of internal/palettetest, unless PALETTE_ADDRESS, PALETTE_EMAIL,
// PALETTE_ORG and PALETTE_PASSWORD name a real one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// goodbyePatience bounds the revocation of what an interrupted demo has issued.
const goodbyePatience = 15 * time.Second

func main() {
	// SIGPIPE too: without it `make demo | head` would end here, and leave Vault running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; all that it had started is gone")
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run shows all steps and cleans up, however they end.
func run(ctx context.Context, out io.Writer) (err error) {
	began := time.Now()
	login, given, err := fromEnvironment()
	if err != nil {
		return err
	}
	d := &demo{screen: screen{out: out, password: login.Password}, login: login, real: given}
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

// fromEnvironment reads which Palette to use; given is false where none is named.
func fromEnvironment() (login palettetest.User, given bool, err error) {
	var set, missing []string
	text := func(name string) string {
		value := os.Getenv(name)
		if value == "" {
			missing = append(missing, name)
		} else {
			set = append(set, name)
		}
		return value
	}
	login = palettetest.User{Email: text("PALETTE_EMAIL"), Org: text("PALETTE_ORG"), Password: text("PALETTE_PASSWORD")}
	text("PALETTE_ADDRESS")
	switch {
	case len(set) == 0:
		return palettetest.DefaultUser, false, nil
	case len(missing) == 0:
		return login, true, nil
	}
	return palettetest.User{}, false, fmt.Errorf("%s set, but not %s: set all four to name a real Palette, or none of them",
		strings.Join(set, ", "), strings.Join(missing, ", "))
}

// cleanUp ends all that the demo has started, the tokens at Palette first.
func (d *demo) cleanUp(ctx context.Context) error {
	var err error
	if d.vault != nil {
		err = d.revokeAll(ctx)
		d.vault.Stop()
		if d.vault.Running() || len(d.vault.PluginPIDs()) > 0 {
			err = errors.Join(err, errors.New("a process of Vault or of its plugin is still running"))
		}
	}
	if d.standIn != nil {
		if live := len(d.standIn.LiveTokens()); live > 0 {
			err = errors.Join(err, fmt.Errorf("%d tokens are still alive at the stand-in", live))
		}
		d.standIn.Close()
	}
	return err
}

// revokeAll revokes what is left of an interrupted demo.
func (d *demo) revokeAll(ctx context.Context) error {
	if !d.mounted {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, goodbyePatience)
	defer cancel()
	client, err := d.vault.Client()
	if err != nil {
		return err
	}
	if err := client.Sys().RevokePrefixWithContext(ctx, mountPath+"/creds"); err != nil {
		return fmt.Errorf("revoking what is left: %w", err)
	}
	return nil
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
