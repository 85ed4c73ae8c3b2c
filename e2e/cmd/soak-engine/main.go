// Command soak-engine serves the engine to Vault, as the plugin does, and tells on a socket
// how many goroutines it has and how much memory, for `make soak`. Vault starts it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/plugin"

	palettesecrets "vault-plugin-secrets-palette"
	"vault-plugin-secrets-palette/e2e/vitals"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "soak-engine:", err)
		os.Exit(1)
	}
}

func serve() error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	flags.Init("soak-engine", flag.ExitOnError)
	_ = flags.Parse(os.Args[1:]) // it exits by itself

	if !pluginutil.InMetadataMode() { // in which Vault only asks what plugin this is
		if err := vitals.Serve(); err != nil {
			return err
		}
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: palettesecrets.Factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
}
