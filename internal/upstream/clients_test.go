package upstream_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// counted is a client that counts its closing.
type counted struct {
	upstream.API
	closed *int
}

func (c *counted) Close() { *c.closed++ }

func at(address string) palette.Connection { return store.DefaultConnection(address) }

const (
	here  = "https://palette.example.com"
	there = "https://other.example.com"
)

func TestClientsAreOneEachConnection(t *testing.T) {
	made, closed := 0, 0
	c := &upstream.Clients{New: func(palette.Connection) (upstream.API, error) { made++; return &counted{closed: &closed}, nil }}
	slow := at(here)
	slow.RequestTimeout = time.Hour
	for range 2 {
		for _, conn := range []palette.Connection{at(here), slow, at(there)} {
			client, err := c.For(conn)
			require.NoError(t, err)
			assert.NotNil(t, client)
		}
	}
	assert.Equal(t, 3, made)
	assert.ElementsMatch(t, []palette.Connection{at(here), slow, at(there)}, c.Connections())
	c.Drop(slow)
	c.Drop(slow)
	assert.Equal(t, 1, closed)
	assert.Len(t, c.Connections(), 2)
	for _, key := range []string{store.RolePrefix + "app", store.SessionPrefix + "ci"} {
		c.Invalidate(key)
	}
	assert.Equal(t, 1, closed, "no config has changed")
	c.Invalidate(store.ConfigPrefix + "ci")
	assert.Equal(t, 3, closed)
	_, err := c.For(slow)
	require.NoError(t, err)
	c.Clean(t.Context(), nil, false)
	assert.Empty(t, c.Connections())
}

func TestClientsOfAConnectionThatCannotBeUsed(t *testing.T) {
	c := &upstream.Clients{New: func(palette.Connection) (upstream.API, error) { return nil, errors.New("ca_cert holds no certificate") }}
	_, err := c.For(at(here))
	require.EqualError(t, err, "the connection to "+here+" cannot be used: ca_cert holds no certificate")
	assert.Empty(t, c.Connections())
}

// Each minute the clients go that no config has: each change of a config would leave one behind.
func TestClientsGoThatNoConfigNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := enginetest.New(t)
		cfg := e.Configure()
		for _, conn := range []palette.Connection{cfg.Connection, at(there)} {
			_, err := e.Clients.For(conn)
			require.NoError(t, err)
		}
		e.Storage.Plant(store.ConfigPrefix+"broken", "{")
		require.NoError(t, e.Clients.EachMinute(t.Context(), e.Storage))
		assert.Equal(t, []palette.Connection{cfg.Connection}, e.Clients.Connections())
		for _, prefix := range []string{store.ConfigPrefix, store.ConnectionPrefix} {
			e.Storage.FailOn("list", prefix)
			require.ErrorIs(t, e.Clients.EachMinute(t.Context(), e.Storage), enginetest.ErrDisk)
		}
		assert.Len(t, e.Clients.Connections(), 1)
	})
}

// Kept connections are replicated: on a secondary the primary deletes them.
func TestClientsForgetKeptConnectionsOnThePrimary(t *testing.T) {
	for name, c := range map[string]struct {
		state consts.ReplicationState
		kept  int
	}{"primary": {consts.ReplicationPerformancePrimary, 0}, "secondary": {consts.ReplicationPerformanceSecondary, 1}} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			e := enginetest.New(t)
			e.System.ReplicationStateVal = c.state
			require.NoError(t, store.KeepConnection(t.Context(), e.Storage, "ci", at(there)))
			require.NoError(t, e.Clients.EachMinute(t.Context(), e.Storage))
			assert.Len(t, e.Storage.Keys(store.ConnectionPrefix), 1)
			time.Sleep(enginetest.Month + time.Hour)
			require.NoError(t, e.Clients.EachMinute(t.Context(), e.Storage))
			assert.Len(t, e.Storage.Keys(store.ConnectionPrefix), c.kept)
		})
	}
}
