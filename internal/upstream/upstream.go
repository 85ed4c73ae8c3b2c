// Package upstream is the engine's way to Palette: a client for each connection, and what an
// error of Palette's means to Vault.
//
// Promise: the user's mistake becomes a [Mistake] (400), a fault that a retry can mend a coded
// error (502, 503). No error holds a secret, and none accuses the wrong side.
//
// State: [Clients] keeps one client, and so one pool of connections, for each connection. Its
// lock is never held over a call.
package upstream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/store"
)

// API is what the engine calls at Palette.
type API interface {
	Login(ctx context.Context, login palette.Login) (palette.Token, error)
	Refresh(ctx context.Context, token palette.Secret) (palette.Token, error)
	Revoke(ctx context.Context, auth palette.Secret, tokens []palette.Secret) error
	UserInfo(ctx context.Context, auth palette.Auth) (palette.UserInfo, error)
	ChangePassword(ctx context.Context, auth palette.Auth, change palette.PasswordChange) error
	OnPalettesClock(ctx context.Context, auth palette.Auth, at time.Time) (time.Time, error)
	CreateAPIKey(ctx context.Context, auth palette.Auth, key palette.NewAPIKey) (uid string, made palette.Secret, err error)
	UpdateAPIKey(ctx context.Context, auth palette.Auth, uid string, key palette.NewAPIKey) error
	DeleteAPIKey(ctx context.Context, auth palette.Auth, uid string) error
	ListAPIKeys(ctx context.Context, auth palette.Auth) ([]palette.APIKey, error)
	// OnOurClock is a time of Palette's clock on ours.
	OnOurClock(at time.Time) time.Time
	// Close closes the idle connections. Calls under way go on.
	Close()
}

// Clients keeps a client for each connection.
type Clients struct {
	// New makes a client. It sends nothing.
	New     func(palette.Connection) (API, error)
	Configs *store.Configs
	// WritesConfigs tells whether this node may write what Vault replicates.
	WritesConfigs func() bool
	// MaxLease is the mount's longest lease.
	MaxLease func() time.Duration

	mu           sync.Mutex
	byConnection map[palette.Connection]API
}

// For returns the client of a connection. The error names the connection's field that cannot be
// used.
func (c *Clients) For(conn palette.Connection) (API, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.byConnection[conn]; ok {
		return client, nil
	}
	client, err := c.New(conn)
	if err != nil {
		return nil, fmt.Errorf("the connection to %s cannot be used: %w", conn.Address, err)
	}
	if c.byConnection == nil {
		c.byConnection = make(map[palette.Connection]API)
	}
	c.byConnection[conn] = client
	return client, nil
}

// Drop forgets the client of a connection. Calls under way go on.
func (c *Clients) Drop(conn palette.Connection) {
	c.DropIf(func(other palette.Connection) bool { return other == conn })
}

// DropIf forgets the clients of the connections that match.
func (c *Clients) DropIf(matches func(palette.Connection) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, client := range c.byConnection {
		if matches(conn) {
			client.Close()
			delete(c.byConnection, conn)
		}
	}
}

// DropAll forgets all clients.
func (c *Clients) DropAll() { c.DropIf(func(palette.Connection) bool { return true }) }

// Connections are those that have a client.
func (c *Clients) Connections() []palette.Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.byConnection))
}

// Invalidate forgets all clients where another node has written a config: the connection that the
// config had is not known any more.
func (c *Clients) Invalidate(key string) {
	if strings.HasPrefix(key, store.ConfigPrefix) {
		c.DropAll()
	}
}

// EachMinute forgets the clients that no config has, and deletes the kept connections that no
// living credential can need. On a performance secondary the primary deletes them.
func (c *Clients) EachMinute(ctx context.Context, s logical.Storage) error {
	used := make(map[palette.Connection]bool)
	err := c.Configs.Each(ctx, s, func(_ string, cfg *store.Config, err error) {
		if err == nil {
			used[cfg.Connection] = true
		}
	})
	if err != nil {
		return err
	}
	c.DropIf(func(conn palette.Connection) bool { return !used[conn] })
	if !c.WritesConfigs() {
		return nil
	}
	forgotten, err := store.ForgetConnections(ctx, s, c.MaxLease())
	for _, conn := range forgotten {
		c.Drop(conn)
	}
	return err
}

// Clean closes all connections.
func (c *Clients) Clean(context.Context, logical.Storage, bool) { c.DropAll() }
