// Command dev keeps a Vault running with the engine in it, to try changes on: `make dev`.
// Enter, or SIGHUP, builds the plugin anew and lets Vault run it; Ctrl-C ends all. With -reload
// it asks the one that runs for that, and tells how it went: `make dev-reload`. Palette is the
// stand-in, or the one that the environment names, as for the demo.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"vault-plugin-secrets-palette/e2e/playground"
	"vault-plugin-secrets-palette/e2e/vaulttest"
)

func main() {
	build := flag.String("build", "make build", "shell command that builds the plugin")
	pidFile := flag.String("pid", "", "file to write the process's ID into, for SIGHUP and -reload")
	reload := flag.Bool("reload", false, "have the dev whose ID is in the file of -pid build and reload, and end as that did")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	var err error
	if *reload {
		err = askForReload(ctx, *pidFile, os.Stdout)
	} else {
		err = run(ctx, *build, *pidFile, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		os.Exit(1)
	}
}

// dev is a Vault with the engine mounted.
type dev struct {
	out     io.Writer
	build   string
	pidFile string
	palette *playground.Palette
	vault   *vaulttest.Server
	mounted bool
}

// run sets all up, reloads when asked, and cleans up, however it ends.
func run(ctx context.Context, build, pidFile string, in io.Reader, out io.Writer) (err error) {
	palette, err := playground.FromEnvironment()
	if err != nil {
		return err
	}
	d := &dev{out: out, build: build, pidFile: pidFile, palette: palette}
	defer func() {
		goodbye := context.WithoutCancel(ctx)
		err = errors.Join(err, playground.End(goodbye, d.vault, d.mounted), d.palette.Close())
		if ctx.Err() != nil && err == nil {
			fmt.Fprintln(out, "\nended; nothing is left running")
		}
	}()
	reloads := asked(ctx, in)
	if err = d.setUp(ctx); err != nil {
		return unlessInterrupted(ctx, err)
	}
	if pidFile != "" {
		if err = os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
			return fmt.Errorf("writing the process's ID: %w", err)
		}
		defer func() {
			_ = os.Remove(pidFile)
			_ = os.Remove(outcomeFile(pidFile))
		}()
	}
	d.explain(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reloads:
			d.reload(ctx)
		}
	}
}

// unlessInterrupted: an error after Ctrl-C is of the interruption, and none.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// asked sends for each Enter and each SIGHUP; those that come during a reload are one.
func asked(ctx context.Context, in io.Reader) <-chan struct{} {
	reloads := make(chan struct{}, 1)
	ask := func() {
		select {
		case reloads <- struct{}{}:
		default:
		}
	}
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangUps:
				ask()
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() { // ends with the process: a read of a terminal cannot be broken off
		for lines := bufio.NewScanner(in); lines.Scan(); {
			ask()
		}
	}()
	return reloads
}

// setUp starts Palette and Vault, mounts the engine, and writes a config and two roles.
func (d *dev) setUp(ctx context.Context) error {
	which, err := d.palette.Start()
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out, "# "+which)
	if d.vault, err = vaulttest.Start(ctx, vaulttest.Options{LogLevel: "debug"}); err != nil {
		return err
	}
	if err = d.vault.Register(ctx); err != nil {
		return err
	}
	if err = d.vault.Mount(ctx, playground.MountPath); err != nil {
		return err
	}
	d.mounted = true
	client, err := d.vault.Client()
	if err != nil {
		return err
	}
	for _, write := range []struct {
		path string
		data map[string]any
	}{
		{"config", map[string]any{"address": d.palette.Address, "email": d.palette.Login.Email, "org": d.palette.Login.Org, "password": d.palette.Login.Password}},
		{"roles/app", map[string]any{"renewable": true, "max_ttl": "24h"}},
		{"roles/app-key", map[string]any{"credential_type": "api_key", "ttl": "1h"}},
	} {
		if _, err = client.Logical().WriteWithContext(ctx, playground.MountPath+"/"+write.path, write.data); err != nil {
			return fmt.Errorf("writing %s: %w", write.path, err)
		}
	}
	return nil
}

// explain says how to try the engine.
func (d *dev) explain(ctx context.Context) {
	fmt.Fprintf(d.out, `# Vault with the plugin %s; its log, with the plugin's, is in %s
# The config "default", and the roles "app" (tokens) and "app-key" (API keys), are written.

%[7]sexport VAULT_ADDR=%[3]s VAULT_TOKEN=%[4]s
vault read %[5]s/creds/app
vault path-help %[5]s

# vault is %[6]s
# Enter here, or "make dev-reload" elsewhere: build the plugin and reload it. Ctrl-C: end all.
`, d.version(ctx), filepath.Join(d.vault.Dir, "vault.log"), d.vault.Address, d.vault.Token, playground.MountPath, d.vault.Vault(), d.path())
}

// path puts the vault program on the PATH, where there is none.
func (d *dev) path() string {
	if _, err := exec.LookPath("vault"); err == nil {
		return ""
	}
	return "export PATH=" + filepath.Join(d.vault.Dir, "bin") + ":$PATH\n"
}

func (d *dev) version(ctx context.Context) string {
	version, err := d.vault.PluginVersion(ctx, playground.MountPath)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return version
}
