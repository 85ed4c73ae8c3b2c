package simulation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vault-plugin-secrets-palette/internal/palette/exchange"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	engine "vault-plugin-secrets-palette"
)

var (
	errCrashed = errors.New("the plugin has crashed")
	errSealed  = errors.New("Vault is sealed")
)

// node is one life of the plugin's process: a backend with a process state of its own. What comes next runs on the same
// disk.
type node struct {
	world   *world
	id      int
	b       logical.Backend
	storage *storage
	began   time.Time
	// ctx ends when the node is sealed or reloaded.
	ctx  context.Context
	stop context.CancelFunc
	dead atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// startNode runs a backend on the disk. It fails as Vault's mount does where the storage fails.
func (w *world) startNode() *node {
	w.nodes++
	n := &node{world: w, id: w.nodes, began: time.Now(), conns: make(map[net.Conn]bool)}
	n.storage = &storage{node: n, disk: w.disk}
	n.ctx, n.stop = context.WithCancel(context.Background())
	process := exchange.NewProcess().WithDial(n.dial)
	b, err := engine.FactoryOn(process, "v0.0.0-simulation")(n.ctx, &logical.BackendConfig{
		Logger:       hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: w.log}),
		System:       &systemView{StaticSystemView: logical.StaticSystemView{DefaultLeaseTTLVal: w.plan.maxTTL, MaxLeaseTTLVal: w.plan.maxTTL}, world: w},
		StorageView:  n.storage,
		EventsSender: w.log, ObservationRecorder: w.log,
	})
	if err != nil {
		panic(fmt.Sprintf("setting up a backend: %v", err))
	}
	n.b = b
	err = b.Initialize(n.ctx, &logical.InitializationRequest{Storage: n.storage})
	w.story.tell("vault", "starts node %d%s", n.id, failure(err))
	w.errorSeen(err)
	return n
}

func failure(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// crash ends the node as kill -9 does: its storage and its network fail from now on.
func (n *node) crash(when string) {
	if n.dead.Swap(true) {
		return
	}
	n.world.story.tell("crash", "of node %d, %s", n.id, when)
	n.world.crashed(n)
	n.cut()
}

// cut closes the node's connections, which ends the calls under way for it.
func (n *node) cut() {
	n.mu.Lock()
	conns := make([]net.Conn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	n.world.wasCut(n)
}

// dial connects the node to the network, whatever the address.
func (n *node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if n.dead.Load() || n.world.network.closed.Load() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	c := &conn{Conn: client, node: n}
	n.mu.Lock()
	n.conns[c] = true
	n.mu.Unlock()
	select {
	case n.world.network.conns <- &conn{Conn: server, node: n}:
		return c, nil
	case <-n.world.network.done:
	case <-ctx.Done():
	}
	_ = c.Close()
	return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
}

// conn is an end of a connection between a node and Palette.
type conn struct {
	net.Conn
	node *node
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.node.mu.Lock()
	delete(c.node.conns, c)
	c.node.mu.Unlock()
	return c.Conn.Close()
}

// open counts the node's connections.
func (n *node) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// systemView is Vault's as the engine sees it.
type systemView struct {
	logical.StaticSystemView
	world *world
}

// Tainted tells whether the mount is being unmounted or moved.
func (v *systemView) Tainted() bool { return v.world.tainted.Load() }

// PluginEnv tells of a server that takes events.
func (v *systemView) PluginEnv(context.Context) (*logical.PluginEnvironment, error) {
	return &logical.PluginEnvironment{VaultVersion: "1.21.2", VaultVersionMetadata: "ent"}, nil
}

// ReplicationState is that of a primary.
func (v *systemView) ReplicationState() consts.ReplicationState { return v.world.replication }
