// Command bench-engine serves the plain engine to Vault, for `make bench`. Vault starts it.
package main

import (
	"flag"
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
	flags.Init("bench-engine", flag.ExitOnError)
	_ = flags.Parse(os.Args[1:]) // it exits by itself
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: plain.Factory(*wait),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-engine:", err)
		os.Exit(1)
	}
}
