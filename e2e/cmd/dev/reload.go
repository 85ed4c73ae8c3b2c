package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// lookEvery is the pause between two looks for how a reload went.
const lookEvery = 100 * time.Millisecond

// outcome is how a reload went, for who has asked for it from elsewhere.
type outcome struct {
	// Began tells it from one that was under way when it was asked for.
	Began  time.Time
	Said   string
	Failed bool
}

// outcomeFile is beside the file with the process's ID.
func outcomeFile(pidFile string) string { return pidFile + ".outcome" }

// reload builds the plugin and lets Vault run it. Where that fails the old one goes on.
func (d *dev) reload(ctx context.Context) {
	o := outcome{Began: time.Now()}
	var said bytes.Buffer
	out := io.MultiWriter(d.out, &said)
	err := d.replace(ctx, out)
	if ctx.Err() != nil {
		return
	}
	if o.Failed = err != nil; o.Failed {
		fmt.Fprintf(out, "# %v; the old plugin goes on\n", err)
	} else {
		fmt.Fprintln(out, "# reloaded; the plugin is "+d.version(ctx))
	}
	o.Said = said.String()
	if err = o.store(d.pidFile); err != nil {
		fmt.Fprintln(d.out, "# "+err.Error())
	}
}

// replace builds the plugin in the way that out shows, and lets Vault run it.
func (d *dev) replace(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "# "+d.build)
	// #nosec G204 -- the command is the developer's
	build := exec.CommandContext(ctx, "sh", "-c", d.build)
	build.Stdout, build.Stderr = out, out
	// A group of its own, to end all that the command has started.
	build.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	build.Cancel = func() error { return syscall.Kill(-build.Process.Pid, syscall.SIGKILL) }
	if err := build.Run(); err != nil {
		return fmt.Errorf("the build failed (%w)", err)
	}
	if err := d.vault.Reload(ctx); err != nil {
		return fmt.Errorf("the plugin could not be reloaded: %w", err)
	}
	return nil
}

// store makes the outcome known; it is there as a whole or not at all.
func (o outcome) store(pidFile string) error {
	if pidFile == "" {
		return nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("telling how the reload went: %w", err)
	}
	fresh := outcomeFile(pidFile) + ".new"
	if err = os.WriteFile(fresh, text, 0o600); err != nil {
		return fmt.Errorf("telling how the reload went: %w", err)
	}
	if err = os.Rename(fresh, outcomeFile(pidFile)); err != nil {
		return fmt.Errorf("telling how the reload went: %w", err)
	}
	return nil
}

// errNoDev is for who asks where nobody listens.
var errNoDev = errors.New("there is no make dev running here")

// askForReload has the dev whose ID is in the file reload the plugin, and shows how it went. A
// reload that fails is an error.
func askForReload(ctx context.Context, pidFile string, out io.Writer) error {
	text, err := os.ReadFile(pidFile) // #nosec G304 -- the command line names it
	if err != nil {
		return errNoDev
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return errNoDev
	}
	asked := time.Now()
	if err = syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return errNoDev
	}
	for {
		if o := outcomeSince(pidFile, asked); o != nil {
			fmt.Fprint(out, o.Said)
			if o.Failed {
				return errors.New("the plugin was not reloaded")
			}
			return nil
		}
		if _, err = os.Stat(pidFile); err != nil || syscall.Kill(pid, 0) != nil {
			return errors.New("make dev has ended meanwhile")
		}
		if err = vaulttest.Pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// outcomeSince is that of a reload that began after the time, nil where there is none.
func outcomeSince(pidFile string, asked time.Time) *outcome {
	text, err := os.ReadFile(outcomeFile(pidFile))
	if err != nil {
		return nil
	}
	var o outcome
	if json.Unmarshal(text, &o) != nil || !o.Began.After(asked) {
		return nil
	}
	return &o
}
