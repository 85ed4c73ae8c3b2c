package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"
)

// stabilization is how long a node has to be well before it gets its vote. Vault's own is
// 10 s, and a cluster is not safe from the death of a node before that.
const stabilization = "1s"

// healthPatience is how long a node may take to tell its health. One that hangs is none.
const healthPatience = 2 * time.Second

// Cluster is several servers on raft storage: one is active, and the others forward to it.
type Cluster struct {
	// Nodes are all of its servers, those that were killed too.
	Nodes []*Server
}

// StartCluster starts a cluster of so many nodes, and waits until each has its vote. Each
// has the plugin in a plugin directory of its own; one [Server.Register] is for all. ctx
// bounds the start alone.
func StartCluster(ctx context.Context, nodes int, opts Options) (*Cluster, error) {
	c := new(Cluster)
	if err := c.start(ctx, nodes, opts); err != nil {
		for _, s := range c.Nodes {
			s.Stop()
		}
		return nil, err
	}
	return c, nil
}

// NewCluster is [New] for a cluster.
func NewCluster(tb TB, nodes int, opts Options) *Cluster {
	tb.Helper()
	c, err := StartCluster(tb.Context(), nodes, opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	stopAtEnd(tb, c.Nodes...)
	return c
}

func (c *Cluster) start(ctx context.Context, nodes int, opts Options) error {
	opts.Storage = Raft
	for n := range nodes {
		opts.NodeID = fmt.Sprintf("node-%d", n+1)
		s, err := Start(ctx, opts)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, s)
		if n > 0 {
			continue
		}
		s.member, opts.Join = true, s
		client, err := s.Client()
		if err != nil {
			return err
		}
		// The other fields that it takes stay as they are.
		_, err = client.Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration",
			map[string]any{"server_stabilization_time": stabilization})
		if err != nil {
			return fmt.Errorf("configuring raft's autopilot: %w", err)
		}
	}
	return c.vote(ctx)
}

// vote waits until each node has its vote.
func (c *Cluster) vote(ctx context.Context) error {
	client, err := c.Nodes[0].Client()
	if err != nil {
		return err
	}
	return poll(ctx, "not each node has a vote", func() bool {
		state, err := client.Sys().RaftAutopilotStateWithContext(ctx)
		return err == nil && state != nil && state.Healthy && len(state.Voters) == len(c.Nodes)
	})
}

// Active waits until a node is active, and returns it.
func (c *Cluster) Active(ctx context.Context) (*Server, error) {
	var active *Server
	err := poll(ctx, "no node is active", func() bool {
		active = c.active(ctx)
		return active != nil
	})
	return active, err
}

// active is the node that is active now, nil where none is.
func (c *Cluster) active(ctx context.Context) *Server {
	for _, s := range c.Nodes {
		if health := s.health(ctx); health != nil && !health.Sealed && !health.Standby {
			return s
		}
	}
	return nil
}

// Settled waits until all nodes run and agree on the active one, and returns that. The
// cluster then survives the death of one of them.
func (c *Cluster) Settled(ctx context.Context) (*Server, error) {
	var active *Server
	err := poll(ctx, "the nodes do not agree on the active one", func() bool {
		active = c.active(ctx)
		return active != nil && !slices.ContainsFunc(c.Nodes, func(s *Server) bool {
			client, err := s.Client()
			return err != nil || leaderOf(ctx, client) != active.Address
		})
	})
	return active, err
}

// KillActive kills the active node, as [Server.Kill] does, and returns it.
func (c *Cluster) KillActive(ctx context.Context) (*Server, error) {
	s, err := c.Active(ctx)
	if err != nil {
		return nil, err
	}
	s.Kill()
	return s, nil
}

// health is a node's, nil where it does not answer.
func (s *Server) health(ctx context.Context) *api.HealthResponse {
	client, err := s.Client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	health, err := client.Sys().HealthWithContext(ctx)
	if err != nil {
		return nil
	}
	return health
}

// poll asks until ready, for as long as a server may take to start.
func poll(ctx context.Context, otherwise string, ready func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errors.New(otherwise))
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster: %w", context.Cause(ctx))
		case <-time.After(pollEvery):
		}
	}
	return nil
}
