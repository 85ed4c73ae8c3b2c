// Package vitals lets a plugin process tell what cannot be seen from outside: its
// goroutines, and its heap after a collection.
package vitals

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"vault-plugin-secrets-palette/e2e/bench/heap"
)

// Vitals are figures of a process.
type Vitals struct {
	// Goroutines includes the few that serve the figures.
	Goroutines int
	// Heap is in use after a collection, in bytes.
	Heap int64
}

// socket is where the process with that ID serves its figures.
func socket(dir string, pid int) string { return filepath.Join(dir, "vitals-"+strconv.Itoa(pid)) }

// Serve serves the figures of this process for as long as it lives, on a socket in the
// directory for temporary files.
func Serve() error {
	listener, err := net.Listen("unix", socket(os.TempDir(), os.Getpid()))
	if err != nil {
		return fmt.Errorf("listening for those who ask for vitals: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Vitals{Heap: heap.InUse(), Goroutines: runtime.NumGoroutine()})
	})}
	go func() { _ = server.Serve(listener) }() // which ends with the process
	return nil
}

// Of asks a process of the given ID that has dir for its temporary files. It collects the
// process's garbage.
func Of(ctx context.Context, dir string, pid int) (Vitals, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket(dir, pid))
		},
	}}
	var v Vitals
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vitals", nil)
	if err != nil {
		return v, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return v, fmt.Errorf("asking process %d for its vitals: %w", pid, err)
	}
	defer resp.Body.Close()
	if err = json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, fmt.Errorf("reading the vitals of process %d: %w", pid, err)
	}
	return v, nil
}
