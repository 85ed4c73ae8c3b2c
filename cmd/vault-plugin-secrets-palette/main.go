// Command vault-plugin-secrets-palette is a Vault secrets engine for Spectro Cloud's
// Palette. Vault starts it; run by hand it only tells its version.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"
	"github.com/jonboulle/clockwork"

	palette "vault-plugin-secrets-palette"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = "v0.0.0-dev"

func main() {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(os.Args[1:]); err != nil {
		os.Exit(2) // the flag set has said why
	}
	if *showVersion {
		fmt.Fprintln(os.Stdout, "vault-plugin-secrets-palette "+version)
		return
	}
	outliveVault()
	go func() {
		awaitFarewell(clockwork.NewRealClock(), os.Getppid)
		os.Exit(1)
	}()
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: palette.FactoryFor(version),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		hclog.New(&hclog.LoggerOptions{}).Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}
