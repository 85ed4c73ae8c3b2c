// Command palette-app shows how an application uses the Palette secrets engine: it reads
// a token from Vault, follows its lease, calls Palette with the newest token again and
// again, and revokes the lease when it is told to end.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

// revokePatience bounds the goodbye: Kubernetes, for one, kills after 30 seconds.
const revokePatience = 15 * time.Second

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, log)
	stop()
	if err != nil {
		log.Error("the application ends", "error", err)
		os.Exit(1)
	}
}

// run works until ctx ends. What it takes from the environment:
//
//	VAULT_ADDR         Vault, and whatever else Vault's Go client takes from there
//	VAULT_TOKEN        a Vault token. It is taken as it is: whoever starts the application
//	                   keeps it alive, as a Vault Agent does
//	PALETTE_ROLE_PATH  what to read (palette/creds/app)
//	POLL_INTERVAL      the time between two calls to Palette (30s)
//	PALETTE_CA_CERT    file with the authority of Palette's certificate (the system's)
func run(ctx context.Context, log *slog.Logger) error {
	interval, err := time.ParseDuration(cmp.Or(os.Getenv("POLL_INTERVAL"), "30s"))
	if err != nil || interval <= 0 {
		return fmt.Errorf("POLL_INTERVAL must be a duration like 30s, more than zero")
	}
	vault, err := api.NewClient(nil) // nil: the defaults and the environment
	if err != nil {
		return fmt.Errorf("setting up Vault's client: %w", err)
	}
	palette, err := newPaletteClient(os.Getenv("PALETTE_CA_CERT"))
	if err != nil {
		return err
	}
	tokens := newSource(vault, cmp.Or(os.Getenv("PALETTE_ROLE_PATH"), "palette/creds/app"), log)

	var following sync.WaitGroup
	following.Go(func() { tokens.follow(ctx) })
	poll(ctx, log, interval, tokens, palette)
	following.Wait()

	// ctx has ended, and this still has to be said.
	goodbye, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokePatience)
	defer cancel()
	return tokens.revoke(goodbye)
}

// poll calls Palette at each interval, and less often while that fails.
func poll(ctx context.Context, log *slog.Logger, interval time.Duration, tokens *source, palette *paletteClient) {
	retry := newBackOff(interval)
	for ctx.Err() == nil {
		wait := interval
		if err := callOnce(ctx, tokens, palette); err != nil && ctx.Err() == nil {
			wait = retry.NextBackOff()
			log.Warn("calling Palette failed", "error", err, "next_try_in", wait)
		} else if err == nil {
			retry.Reset()
			log.Info("called Palette")
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// callOnce takes the token of this moment and calls Palette with it.
func callOnce(ctx context.Context, tokens *source, palette *paletteClient) error {
	// One credential for the whole call: its token, address and project belong together.
	cred, err := tokens.current(ctx)
	if err != nil {
		return err
	}
	err = palette.alerts(ctx, cred)
	if isUnauthorized(err) {
		tokens.reject(cred)
	}
	return err
}
