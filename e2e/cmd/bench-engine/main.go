// Command bench-engine serves the plain engine to Vault, for `make bench`. Vault starts it.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"vault-plugin-secrets-palette/e2e/bench/plain"
)

func main() {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	wait := flags.Duration("wait", 0, "how long a read and a revocation wait")
	if err := flags.Parse(os.Args[1:]); err != nil {
		os.Exit(2) // the flag set has said why
	}
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: plain.Factory(*wait),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-engine:", err)
		os.Exit(1)
	}
}
