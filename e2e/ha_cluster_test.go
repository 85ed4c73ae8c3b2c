package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// cluster is three Vault nodes, and the secrets that none of their logs may hold.
type cluster struct {
	*vaulttest.Cluster

	secrets []func() []string
}

// newCluster starts a cluster for one test. At its end the logs of all nodes are searched for
// secrets.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	const nodes = 3
	takeSlots(t, nodes)
	c := new(cluster)
	c.Cluster = vaulttest.NewCluster(t, nodes, vaulttest.Options{
		LogLevel: atTrace,
		AtEnd: func(s *vaulttest.Server) {
			assert.Empty(t, (&server{Server: s, secrets: c.secrets}).leaks(), "secrets in a node's logs")
			keep(t, s, filepath.Base(s.Dir))
		},
	})
	return c
}

func (c *cluster) watch(secrets func() []string) { c.secrets = append(c.secrets, secrets) }

// active waits for a node to be active.
func (c *cluster) active(t *testing.T) *server {
	t.Helper()
	s, err := c.Active(t.Context())
	require.NoError(t, err)
	return &server{Server: s}
}

// settled waits until all three nodes are there, and returns the active one.
func (c *cluster) settled(t *testing.T) *server {
	t.Helper()
	s, err := c.Settled(t.Context())
	require.NoError(t, err)
	return &server{Server: s}
}

// failBack makes a standby the active node, as an operator does: the active one steps down
// and, with the third one away, leaves no other choice.
func (c *cluster) failBack(t *testing.T, to *vaulttest.Server) {
	t.Helper()
	active := c.settled(t)
	require.NotSame(t, to, active.Server)
	for _, third := range c.Nodes {
		if third != to && third != active.Server {
			third.Kill()
			defer func() { require.NoError(t, third.Restart(t.Context())) }()
		}
	}
	client, err := active.Client()
	require.NoError(t, err)
	require.NoError(t, client.Sys().StepDownWithContext(t.Context()))
	require.Eventually(t, func() bool { return c.active(t).Server == to }, soon, often, "the node takes over")
}
