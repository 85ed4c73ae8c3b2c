package main

import (
	"os/signal"
	"syscall"
	"time"
)

const (
	// farewell is how long the plugin outlives a Vault that was killed. What was under way
	// takes less: two calls at most, each 5 minutes of waiting and 80 seconds of trying, which
	// is as much as queue_timeout and request_timeout can be.
	farewell = 15 * time.Minute
	// parentEvery is the pause between two looks at who the parent is.
	parentEvery = 10 * time.Second
)

// outliveVault lets the plugin see to the end what is under way when Vault is killed.
// kill -9 leaves it behind, and what Palette still answers it revokes, since nobody else
// knows of it. Nobody reads its log then, and by default the first line that is written
// there ends the process.
func outliveVault() { signal.Ignore(syscall.SIGPIPE) }

// awaitFarewell returns farewell after the parent has died: the process then has another
// parent. Where that does not show, as on Windows, it never returns.
func awaitFarewell(parent func() int) {
	for vault := parent(); parent() == vault; {
		time.Sleep(parentEvery)
	}
	time.Sleep(farewell)
}
