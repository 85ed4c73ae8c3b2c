// Command vault-plugin-secrets-palette is a Vault secrets engine for Spectro Cloud's
// Palette. Vault starts it; run by hand it only tells its version.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	palettesecrets "vault-plugin-secrets-palette"
)

const name = "vault-plugin-secrets-palette"

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = "v0.0.0-dev"

func main() {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	flags.Init(name, flag.ExitOnError)
	flags.Usage = func() { fmt.Fprintln(flags.Output(), name+" is started by Vault; by hand only -version is of use") }
	showVersion := flags.Bool("version", false, "print the version and exit")
	_ = flags.Parse(os.Args[1:]) // it exits by itself
	if *showVersion {
		fmt.Fprintln(os.Stdout, name+" "+version)
		return
	}
	outliveVault()
	go func() {
		awaitFarewell(os.Getppid)
		os.Exit(1)
	}()
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: palettesecrets.FactoryFor(version),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		hclog.New(&hclog.LoggerOptions{}).Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}
