package vaulttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// Client returns a new client with the root token. It does not repeat calls that the
// server answers with 5xx, so that a test sees the answer.
func (s *Server) Client() (*api.Client, error) {
	config := api.DefaultConfig()
	config.Address, config.AgentAddress, config.MaxRetries = s.Address, "", 0
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("making Vault's client: %w", err)
	}
	client.SetToken(s.Token)
	client.ClearNamespace()
	return client, nil
}

// Env is an environment in which programs find this server and nothing of another:
// VAULT_ADDR, VAULT_TOKEN, and a home without a token file. The vault program is on the
// PATH.
func (s *Server) Env() []string {
	path := filepath.Join(s.Dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	return append(cleanEnv(), "VAULT_ADDR="+s.Address, "VAULT_TOKEN="+s.Token, "HOME="+s.Dir, "PATH="+path)
}

// Vault is the path of the vault program.
func (s *Server) Vault() string { return s.vault }

// Plugin is the path of the plugin in the server's plugin directory.
func (s *Server) Plugin() string { return s.plugin }

// Output is what a program said.
type Output struct {
	Stdout, Stderr string
	// Code is the exit status.
	Code int
}

// CLI runs the vault CLI against the server. A command that fails is no error, but a
// Code other than zero.
func (s *Server) CLI(ctx context.Context, stdin string, args ...string) (Output, error) {
	// #nosec G204 -- the program is the one that the environment names
	cmd := exec.CommandContext(ctx, s.vault, s.product.arguments(args)...)
	cmd.Env = s.Env()
	return Run(cmd, stdin)
}

// Run runs a command to its end. One that fails is no error, but a Code other than zero.
func Run(cmd *exec.Cmd, stdin string) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return Output{}, fmt.Errorf("running %s: %w", cmd.Path, err)
	}
	return Output{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}

// PluginSHA256 is the checksum that the plugin is registered by, in hexadecimal.
func (s *Server) PluginSHA256() (string, error) { return checksum(s.plugin) }

// AddPlugin copies another plugin into the plugin directory, under the name by which it is
// registered as a command, and returns its checksum.
func (s *Server) AddPlugin(program, command string) (sum string, err error) {
	if err = place(program, filepath.Join(filepath.Dir(s.plugin), command)); err != nil {
		return "", err
	}
	return checksum(program)
}

func checksum(program string) (string, error) {
	content, err := os.ReadFile(program) // #nosec G304 -- a plugin that is to be run
	if err != nil {
		return "", fmt.Errorf("reading the plugin: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// Register puts the plugin into the server's catalog.
func (s *Server) Register(ctx context.Context) error { return s.register(ctx, "") }

// register is Register as a version, where it is not empty.
func (s *Server) register(ctx context.Context, version string) error {
	sum, err := s.PluginSHA256()
	if err != nil {
		return err
	}
	client, err := s.Client()
	if err != nil {
		return err
	}
	err = client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name: PluginName, Type: api.PluginTypeSecrets, Command: PluginName, SHA256: sum, Version: version,
	})
	if err != nil {
		return fmt.Errorf("registering the plugin: %w", err)
	}
	return nil
}

// Mount mounts the registered plugin.
func (s *Server) Mount(ctx context.Context, path string) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	if err := client.Sys().MountWithContext(ctx, path, &api.MountInput{Type: PluginName}); err != nil {
		return fmt.Errorf("mounting the plugin at %s: %w", path, err)
	}
	return nil
}

// EnableAudit makes the server, and each other node of its cluster, write an audit log of
// its own, in Vault's own form with its secrets hashed.
func (s *Server) EnableAudit(ctx context.Context) error {
	if !s.product.auditByAPI() {
		return nil // its configuration has enabled it
	}
	client, err := s.Client()
	if err != nil {
		return err
	}
	err = client.Sys().EnableAuditWithOptionsWithContext(ctx, "file", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": auditFile},
	})
	if err != nil {
		return fmt.Errorf("enabling the audit log: %w", err)
	}
	return nil
}

// KeepLogs copies the server's log, as [LogFile], and its audit log to a directory.
func (s *Server) KeepLogs(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping the server's logs: %w", err)
	}
	for name, content := range map[string]string{LogFile: s.Log(), auditFile: s.Audit()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("keeping the server's logs: %w", err)
		}
	}
	return nil
}

// LogFile is the name of the server's log.
const LogFile = "vault.log"

// auditFile is relative to each server's own directory, where it runs: a cluster's nodes
// have one setting.
const auditFile = "audit.log"

func (s *Server) logFile() string { return filepath.Join(s.Dir, LogFile) }

// Log is what the server, its plugin's part included, has logged since its first start.
func (s *Server) Log() string { return text(s.logFile()) }

// Audit is the audit log.
func (s *Server) Audit() string { return text(filepath.Join(s.Dir, auditFile)) }

// LogTail is the end of the log.
func (s *Server) LogTail(lines int) string {
	all := strings.Split(strings.TrimSpace(s.Log()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// text is a file's content, nothing where there is none.
func text(file string) string {
	content, err := os.ReadFile(file) // #nosec G304 -- in the server's own directory
	if err != nil {
		return ""
	}
	return string(content)
}

// firstPort and ports are where servers listen: below the ports that systems give to
// outgoing connections (from 32768 on with Linux). Among those, a server that is killed and
// started again could find its port taken by a connection.
const (
	firstPort = 20000
	ports     = 12000
)

// freePorts returns a port of the loopback that is free, and so is the one after it, for
// Vault's cluster.
func freePorts(ctx context.Context) (int, error) {
	var (
		listen net.ListenConfig
		err    error
	)
	for range 100 {
		port := firstPort + rand.IntN(ports/2)*2
		err = nil
		for _, p := range []int{port, port + 1} {
			l, failed := listen.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if failed != nil {
				err = failed
				break
			}
			_ = l.Close()
		}
		if err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("finding free ports: %w", err)
}

// Pause waits for as long as d, or until ctx ends, whose error it then returns.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TB is the part of testing.TB that [New] needs.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Failed() bool
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// New starts a server for the length of a test, with an audit log. The end of its log is
// shown when the test fails.
func New(tb TB, opts Options) *Server {
	tb.Helper()
	s, err := Start(tb.Context(), opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	stopAtEnd(tb, s)
	return s
}

// stopAtEnd stops servers of one cluster at the end of a test, and enables their audit logs.
func stopAtEnd(tb TB, servers ...*Server) {
	tb.Helper()
	tb.Cleanup(func() {
		tb.Helper()
		for _, s := range servers {
			if tb.Failed() {
				tb.Logf("the end of the log of Vault at %s:\n%s", s.Address, s.LogTail(40))
			}
			s.Stop()
		}
	})
	if err := servers[0].EnableAudit(tb.Context()); err != nil {
		tb.Fatalf("%v", err)
	}
}
