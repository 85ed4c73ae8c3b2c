// Command palette-standin runs the stand-in for Palette by itself, for demonstrations and for tests in other programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "palette-standin:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out, usage io.Writer) error {
	flags := flag.NewFlagSet("palette-standin", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its errors are told by who runs it
	user := palettetest.DefaultUser
	flags.StringVar(&user.Email, "email", user.Email, "email of the one account")
	flags.StringVar(&user.Org, "org", user.Org, "organization of the account")
	flags.StringVar(&user.Password, "password", user.Password, "password of the account")
	flags.BoolVar(&user.TenantAdmin, "tenant-admin", false, "the account is a tenant administrator")
	system := palettetest.User{Password: palettetest.Console.Password}
	flags.StringVar(&system.Username, "system-username", "", "name of a system administrator beside it; none without")
	flags.StringVar(&system.Password, "system-password", system.Password, "password of the system administrator")
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	lifetime := flags.Duration("lifetime", palettetest.DefaultLifetime, "life of a token, in whole seconds")
	latency := flags.Duration("latency", 0, "answer each call that much later")
	rateLimit := flags.Int("rate-limit", 0, "calls a second of each resource, with a burst of five times as many, before 429; 0 is no limit")
	useTLS := flags.Bool("tls", false, "serve HTTPS with an authority made for this run")
	caOut := flags.String("ca-out", "", "with -tls: file to write the authority's certificate to (PEM)")
	if err := flags.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			return err
		}
		flags.SetOutput(usage)
		flags.Usage()
		return nil
	}
	opts := []palettetest.Option{
		palettetest.WithAddress(*listen), palettetest.WithUser(user), palettetest.WithLifetime(*lifetime),
		palettetest.WithLatency(*latency), palettetest.WithRateLimit(*rateLimit),
	}
	if system.Username != "" {
		opts = append(opts, palettetest.WithUser(system))
	}
	if *useTLS {
		opts = append(opts, palettetest.WithTLS())
	}
	server, err := palettetest.Start(opts...)
	if err != nil {
		return err
	}
	defer server.Close()
	if *caOut != "" {
		if err := os.WriteFile(*caOut, server.CA(), 0o644); err != nil {
			return fmt.Errorf("writing the authority's certificate: %w", err)
		}
	}
	fmt.Fprintln(out, "palette-standin listening on", server.URL())
	<-ctx.Done()
	fmt.Fprintf(out, "palette-standin: %d tokens issued, %d live\n", len(server.Issued()), len(server.LiveTokens()))
	return nil
}
