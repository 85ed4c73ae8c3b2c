// Command bench-heap tells by how much its heap grows while it hosts an engine through
// many reads and revocations, for `make bench`. It prints JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"vault-plugin-secrets-palette/e2e/bench/heap"
)

func main() {
	var options heap.Options
	options.Flags(flag.CommandLine)
	flag.Parse()
	growth, err := heap.Measure(context.Background(), options)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(growth)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-heap:", err)
		os.Exit(1)
	}
}
