package vaulttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// startPatience is how long a server may take to be ready.
	startPatience = 60 * time.Second
	// endPatience is how long a server may take to end before it is killed.
	endPatience = 15 * time.Second
	// pollEvery is the pause between two looks at something that is awaited.
	pollEvery = 25 * time.Millisecond
	// portTries is how often other ports are taken where others were quicker.
	portTries = 3
)

// Server is a running Vault.
type Server struct {
	// Address is where it listens, http://127.0.0.1:port.
	Address string
	// Token is the root token.
	Token string
	// Dir holds all of its files.
	Dir string

	opts    Options
	vault   string // the program
	product Product
	plugin  string // the plugin, in the server's own plugin directory
	port    int
	unseal  string // the key, with Raft
	member  bool   // one of several nodes, so that it may serve as a standby

	mu      sync.Mutex // guards what follows
	process *exec.Cmd
	ended   chan struct{} // closed when process has ended
	stopped bool

	end sync.Once // its stop
}

// running are the servers that have not been stopped, for [StopAll].
var running = struct {
	mu      sync.Mutex
	servers map[*Server]bool
	ended   bool // by StopAll
}{servers: make(map[*Server]bool)}

// Start starts a server and waits until it is unsealed and active. The plugin is in its
// plugin directory; [Server.Register] and [Server.Mount] do the rest. ctx bounds the
// start alone.
func Start(ctx context.Context, opts Options) (*Server, error) {
	s := &Server{opts: opts, Token: "root"}
	if opts.Join != nil {
		s.Token, s.unseal, s.member = opts.Join.Token, opts.Join.unseal, true
	}
	if err := s.prepare(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	running.mu.Lock()
	ended := running.ended
	running.servers[s] = !ended
	running.mu.Unlock()
	if ended {
		s.Stop()
		return nil, errors.New("starting Vault: all servers of this process have been stopped")
	}
	if err := s.begin(ctx); err != nil {
		err = fmt.Errorf("starting Vault: %w; the end of its log:\n%s", err, s.LogTail(20))
		s.Stop()
		return nil, err
	}
	return s, nil
}

// begin takes ports and starts, again where another program was quicker to take them.
func (s *Server) begin(ctx context.Context) error {
	var err error
	for range portTries {
		if s.port, err = freePorts(ctx); err != nil {
			return err
		}
		s.Address = fmt.Sprintf("http://127.0.0.1:%d", s.port)
		if err = s.configure(); err != nil {
			return err
		}
		err = s.Restart(ctx)
		if err == nil || !strings.Contains(s.Log(), "address already in use") {
			return err
		}
		s.halt()
	}
	return err
}

// prepare finds the programs and makes the server's directory.
func (s *Server) prepare(ctx context.Context) error {
	var err error
	if s.vault, err = VaultBinary(); err != nil {
		return err
	}
	if s.product, err = ProductOf(ctx, s.vault); err != nil {
		return err
	}
	plugin := s.opts.Plugin
	if plugin == "" {
		if plugin, err = PluginBinary(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "vault-")
	if err != nil {
		return fmt.Errorf("making the server's directory: %w", err)
	}
	s.Dir = dir
	// Vault compares the resolved path of the plugin with that of the directory.
	if s.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("resolving the server's directory: %w", err)
	}
	for _, sub := range []string{"plugins", "data", "bin", "tmp"} {
		if err := os.Mkdir(filepath.Join(s.Dir, sub), 0o700); err != nil {
			return fmt.Errorf("making the server's directory: %w", err)
		}
	}
	// So that programs find it as "vault", whatever its file is called.
	if err := os.Symlink(s.vault, filepath.Join(s.Dir, "bin", "vault")); err != nil {
		return fmt.Errorf("linking the vault program: %w", err)
	}
	s.plugin = filepath.Join(s.Dir, "plugins", PluginName)
	return place(plugin, s.plugin)
}

// configure writes the configuration file.
func (s *Server) configure() error {
	level := s.opts.LogLevel
	if level == "" {
		level = "info"
	}
	config := fmt.Sprintf("plugin_directory = %q\nlog_level = %q\n", filepath.Join(s.Dir, "plugins"), level) +
		s.product.auditConfig() + s.opts.Config
	if s.opts.Storage == Raft {
		// With its default multiplier of 5 a single node takes up to 10 s to elect itself. With 1
		// the pauses of a busy machine would depose the leader of several: half a second does.
		// By its own intervals the autopilot gives a node its vote 10 s late.
		multiplier := 1
		if s.opts.NodeID != "" {
			multiplier = 2
		}
		config += fmt.Sprintf(`
disable_mlock = true
api_addr      = %q
cluster_addr  = "http://127.0.0.1:%d"

listener "tcp" {
  address         = "127.0.0.1:%d"
  cluster_address = "127.0.0.1:%d"
  tls_disable     = true
}

storage "raft" {
  path                   = %q
  node_id                = %q
  performance_multiplier = %d

  autopilot_update_interval    = "500ms"
  autopilot_reconcile_interval = "500ms"
}
`, s.Address, s.port+1, s.port, s.port+1, filepath.Join(s.Dir, "data"), cmp.Or(s.opts.NodeID, "one"), multiplier)
	}
	if err := os.WriteFile(s.configFile(), []byte(config), 0o600); err != nil {
		return fmt.Errorf("writing Vault's configuration: %w", err)
	}
	return nil
}

func (s *Server) configFile() string { return filepath.Join(s.Dir, "vault.hcl") }

// launch starts the process.
func (s *Server) launch(ctx context.Context) error {
	args := []string{"server", "-config=" + s.configFile()}
	if s.opts.Storage == InMemory {
		args = append(args, "-dev", "-dev-no-store-token", "-dev-root-token-id="+s.Token,
			strings.Replace(s.Address, "http://", "-dev-listen-address=", 1))
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the server's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("the server has been stopped")
	}
	// #nosec G204 -- the program is the one that the environment names
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.vault, args...)
	// What a cluster has in its storage is the same for all nodes, and names files of each.
	cmd.Dir = s.Dir
	// A plugin that is killed leaves its socket behind; in here it goes with the rest.
	cmd.Env = append(cleanEnv(), "HOME="+s.Dir, "TMPDIR="+filepath.Join(s.Dir, "tmp"))
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C at a terminal goes to the whole group, and who started
	// the server may have leases to revoke before it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running %s: %w", s.vault, err)
	}
	ended := make(chan struct{})
	s.process, s.ended = cmd, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return nil
}

// Restart starts the server's process, on the storage and the ports that it had, unseals
// it and waits until it serves.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.launch(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	client, err := s.Client()
	if err != nil {
		return err
	}
	var health *api.HealthResponse
	answers := func() (bool, error) {
		var err error
		health, err = client.Sys().HealthWithContext(ctx)
		return err == nil, nil
	}
	if err := s.await(ctx, answers); err != nil {
		return err
	}
	if s.opts.Storage == Raft {
		if err := s.open(ctx, client, health.Initialized); err != nil {
			return err
		}
	}
	return s.serves(ctx, client)
}

// serves waits until the server is unsealed and active or, of several nodes, knows which
// one is.
func (s *Server) serves(ctx context.Context, client *api.Client) error {
	return s.await(ctx, func() (bool, error) {
		health, err := client.Sys().HealthWithContext(ctx)
		if err != nil || health.Sealed {
			return false, nil
		}
		return !health.Standby || s.member && leaderOf(ctx, client) != "", nil
	})
}

// leaderOf is the address of the active node, as far as a node knows it.
func leaderOf(ctx context.Context, client *api.Client) string {
	leader, err := client.Sys().LeaderWithContext(ctx)
	if err != nil {
		return ""
	}
	return leader.LeaderAddress
}

// Unseal unseals a server with [Raft] that has been sealed, and waits until it serves.
func (s *Server) Unseal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	client, err := s.Client()
	if err != nil {
		return err
	}
	if err := s.open(ctx, client, true); err != nil {
		return err
	}
	return s.serves(ctx, client)
}

// open initializes, or joins, and unseals.
func (s *Server) open(ctx context.Context, client *api.Client, initialized bool) error {
	switch {
	case initialized:
	case s.opts.Join != nil:
		_, err := client.Sys().RaftJoinWithContext(ctx, &api.RaftJoinRequest{LeaderAPIAddr: s.opts.Join.Address})
		if err != nil {
			return fmt.Errorf("joining %s: %w", s.opts.Join.Address, err)
		}
	default:
		keys, err := client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
		if err != nil {
			return fmt.Errorf("initializing: %w", err)
		}
		s.Token, s.unseal = keys.RootToken, keys.KeysB64[0]
	}
	if _, err := client.Sys().UnsealWithContext(ctx, s.unseal); err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	return nil
}

// await asks until ready, the process's end or the end of ctx.
func (s *Server) await(ctx context.Context, ready func() (bool, error)) error {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		select {
		case <-ended:
			return errors.New("the server has ended")
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}
