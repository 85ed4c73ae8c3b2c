// Command record-metrics puts the engine under a load with a few things that go wrong, on a
// real Vault against the stand-in for Palette, and keeps each answer of palette/metrics
// meanwhile: the run that `make panels` draws. The working directory must be in the
// module e2e, whose examples it takes the policy from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"vault-plugin-secrets-palette/e2e/playground"
	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func main() {
	out := flag.String("out", "", "directory for the answers, one file each, named by the time in milliseconds, and for scenes.tsv: what happened when")
	flag.Parse()
	err := playground.Interruptible(func(ctx context.Context) error { return run(ctx, *out) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "record-metrics:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string) error {
	if out == "" {
		return errors.New("-out is missing")
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	w := &world{}
	defer w.close()
	if err := w.start(ctx); err != nil {
		return err
	}
	scraper, err := w.scraper(ctx, out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	scraped := make(chan error, 1)
	go func() { scraped <- scraper.run(ctx) }()
	scenes, err := os.Create(filepath.Join(out, "scenes.tsv")) // #nosec G304 -- the command line names it
	if err != nil {
		return fmt.Errorf("keeping the scenes: %w", err)
	}
	defer scenes.Close()
	if err := w.play(ctx, io.MultiWriter(scenes, os.Stderr)); err != nil {
		return err
	}
	cancel()
	return <-scraped
}

// world is a Vault with the engine at "palette", and a stand-in with two accounts.
type world struct {
	vault   *vaulttest.Server
	palette *palettetest.Server
	load    *load
}

const (
	mount = "palette"
	// limit is Palette's own, in calls a second.
	limit = 10
	// queueTimeout is short, so that a run of minutes shows calls that are turned away.
	queueTimeout = 8 * time.Second
	// tokenLife is short, so that the run shows some refreshes of the shared session.
	tokenLife = 60 * time.Second
	latency   = 40 * time.Millisecond
)

// second is the account whose password goes wrong.
var second = palettetest.User{Email: "second@example.com", Org: "example", Password: "Battery-Staple-9-Horse"}

func (w *world) start(ctx context.Context) error {
	first := palettetest.DefaultUser
	var err error
	w.palette, err = palettetest.Start(palettetest.WithUser(first), palettetest.WithUser(second),
		palettetest.WithLifetime(tokenLife), palettetest.WithLatency(latency), palettetest.WithRateLimit(limit))
	if err != nil {
		return err
	}
	if w.vault, err = vaulttest.Start(ctx, vaulttest.Options{LogLevel: "warn"}); err != nil {
		return err
	}
	if err = w.vault.Register(ctx); err != nil {
		return err
	}
	if err = w.vault.Mount(ctx, mount); err != nil {
		return err
	}
	client, err := w.vault.Client()
	if err != nil {
		return err
	}
	w.load = &load{client: client}
	for path, fields := range map[string]map[string]any{
		"config":        w.login(first),
		"config/second": w.login(second),
	} {
		if err = w.load.write(ctx, path, fields); err != nil {
			return err
		}
	}
	for role, fields := range map[string]map[string]any{
		"app":    {"renewable": true},
		"fleet":  {"shared": true},
		"key":    {"credential_type": "api_key", "ttl": "10m"},
		"second": {"config_name": "second"},
	} {
		if err = w.load.write(ctx, "roles/"+role, fields); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) login(user palettetest.User) map[string]any {
	return map[string]any{
		"address": w.palette.URL(), "email": user.Email, "org": user.Org, "password": user.Password,
		"rate_limit": limit, "queue_timeout": queueTimeout.String(), "request_timeout": "5s",
	}
}

func (w *world) close() {
	if w.vault != nil {
		w.vault.Stop()
	}
	if w.palette != nil {
		w.palette.Close()
	}
}
