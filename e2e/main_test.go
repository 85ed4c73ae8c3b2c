package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// mostServers is how many Vaults run at a time beside the shared one, and those that programs of
// cmd/ start count too. Each takes 150 MiB with its plugin, and a second of a processor to start.
const mostServers = 16

// judgeTime are the tests whose limits are of Palette's ten calls a second, counted at the
// stand-in: what other tests take of the processors would move calls from one second to another.
var judgeTime = []func(*testing.T){
	TestABurstIsServedWithinTheLimit, TestALongLineIs503, TestLeasesDoNotWaitBehindReads, TestManyLeasesEndInFewCalls,
}

// phase chooses by E2E_PHASE which tests run: "together", "alone" (those that judge time, one
// after the other), or all.
func phase() error {
	var names []string
	for _, test := range judgeTime {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		names = append(names, name[strings.LastIndexByte(name, '.')+1:])
	}
	pattern := "^(" + strings.Join(names, "|") + ")$"
	switch named := os.Getenv("E2E_PHASE"); named {
	case "":
		return nil
	case "together":
		return flag.Set("test.skip", pattern)
	case "alone":
		return errors.Join(flag.Set("test.run", pattern), flag.Set("test.parallel", "1"))
	default:
		return fmt.Errorf("E2E_PHASE is %q, and neither together nor alone", named)
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	// The servers are in process groups of their own and do not hear Ctrl-C.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	var ending sync.Mutex // whoever has it ends the process
	go func() {
		<-interrupted
		ending.Lock()
		vaulttest.StopAll()
		removeBuilds()
		os.Exit(130)
	}()
	if err := errors.Join(phase(), saysItsServer()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	ending.Lock()
	if leaks := stopShared(); len(leaks) > 0 {
		fmt.Printf("FAIL: the shared server's logs hold secrets, %d in all:\n%s\n", len(leaks), strings.Join(leaks[:min(len(leaks), 5)], "\n"))
		fmt.Printf("%s%s\n", serversLog, shared.kept)
		code = 1
	}
	vaulttest.StopAll()
	removeBuilds()
	os.Exit(code)
}

// saysItsServer prints which server the tests run on. One that SERVER or VAULT_VERSION does not
// name is an error: its results would pass for those of another.
func saysItsServer() error {
	product, err := vaulttest.Installed(context.Background())
	if err != nil {
		return err
	}
	fmt.Printf("on %s\n", product)
	if wanted := strings.TrimPrefix(os.Getenv("VAULT_VERSION"), "v"); wanted != "" && "v"+wanted != product.Version {
		return fmt.Errorf("VAULT_VERSION is %s, but the tests found %s: run them by make e2e, or set VAULT_BIN", wanted, product)
	}
	return nil
}

// server is a Vault, and the secrets that its logs must not hold.
type server struct {
	*vaulttest.Server

	mu      sync.Mutex
	secrets []func() []string
}

// slots are for the servers that may run at a time.
var slots = semaphore.NewWeighted(mostServers)

// takeSlots waits until so many servers more may run, for the length of the test.
func takeSlots(t *testing.T, servers int64) {
	t.Helper()
	require.NoError(t, slots.Acquire(t.Context(), servers))
	t.Cleanup(func() { slots.Release(servers) })
}

// atTrace is the level at which a server logs the most.
const atTrace = "trace"

// ownServer starts a server for one test, with the plugin registered. At its end its
// logs are searched for secrets.
func ownServer(t *testing.T, storage vaulttest.Storage) *server {
	t.Helper()
	return serverOf(t, vaulttest.Options{Storage: storage, LogLevel: atTrace})
}

// serverOf is ownServer of other options.
func serverOf(t *testing.T, opts vaulttest.Options) *server {
	t.Helper()
	v := bareServerOf(t, opts)
	require.NoError(t, v.Register(t.Context()))
	return v
}

// bareServer is ownServer without the registration.
func bareServer(t *testing.T, storage vaulttest.Storage) *server {
	t.Helper()
	return bareServerOf(t, vaulttest.Options{Storage: storage, LogLevel: atTrace})
}

func bareServerOf(t *testing.T, opts vaulttest.Options) *server {
	t.Helper()
	takeSlots(t, 1)
	v := new(server)
	opts.AtEnd = func(s *vaulttest.Server) {
		v.Server = s // the end of a server that failed to start comes before New returns
		assert.Empty(t, v.leaks(), "secrets in the server's logs")
		keep(t, s, "")
	}
	v.Server = vaulttest.New(t, opts)
	return v
}

var shared struct {
	once sync.Once
	server
	err   error
	found []string // secrets in its logs, at its end
	kept  string   // where these logs are then
}

// sharedServer returns the dev server of the tests that harm nobody else's. Each has a
// mount of its own.
func sharedServer(t *testing.T) *server {
	t.Helper()
	shared.once.Do(func() {
		ctx := context.WithoutCancel(t.Context())
		shared.Server, shared.err = vaulttest.Start(ctx, vaulttest.Options{
			LogLevel: atTrace,
			AtEnd: func(s *vaulttest.Server) {
				shared.Server = s
				if shared.found = shared.leaks(); len(shared.found) > 0 {
					shared.kept = keptAs(s, "shared")
				}
			},
		})
		if shared.err == nil {
			shared.err = shared.EnableAudit(ctx)
		}
		if shared.err == nil {
			shared.err = shared.Register(ctx)
		}
	})
	require.NoError(t, shared.err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of Vault's log:\n%s", shared.LogTail(40))
			keep(t, shared.Server, "")
		}
	})
	return &shared.server
}

// stopShared ends the shared server and searches its logs once more: what is logged at
// the end belongs to no test.
func stopShared() []string {
	if shared.Server != nil {
		shared.Stop()
	}
	return shared.found
}
