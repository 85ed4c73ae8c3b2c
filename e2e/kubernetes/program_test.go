package kubernetes

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// soon bounds what a busy machine may need for something that must come.
	soon  = 90 * time.Second
	often = 250 * time.Millisecond
)

// program is one that runs beside the test.
type program struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// Write implements io.Writer.
func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(text)
}

// said is what the program has printed.
func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// start starts a program, which ends with the test. The end of what the program said is shown when
// the test fails.
func start(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	// Not the test's context: the program ends by SIGTERM, after what was started later.
	p := &program{name: filepath.Base(name), cmd: exec.CommandContext(context.WithoutCancel(t.Context()), name, args...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = env, p, p, t.TempDir()
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			lines := strings.Split(strings.TrimSpace(p.said()), "\n")
			t.Logf("the end of what %s said:\n%s", p.name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	})
	return p
}

// stop ends the program, by force where it does not end by itself.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// bin is a program that make kubernetes has built.
func bin(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("KUBERNETES_BIN")
	if dir == "" {
		t.Skip("KUBERNETES_BIN names no folder with kube-apiserver and etcd: run make kubernetes")
	}
	path := filepath.Join(dir, name)
	_, err := os.Stat(path)
	require.NoError(t, err)
	return path
}

// named is what an environment variable names; without that the test skips, and says what to set.
func named(t *testing.T, variable, advice string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Skipf("%s is not set: %s", variable, advice)
	}
	path, err := filepath.Abs(value)
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, variable)
	return path
}

// freeAddress is an address of the loopback where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return "127.0.0.1:" + strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// until waits for what must come.
func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	require.Eventually(t, ready, soon, often, what)
}

// write puts a file into a folder that ends with the test.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}
