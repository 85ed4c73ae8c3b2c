package palette

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// paletteAPI is what the handlers need of Palette.
type paletteAPI interface {
	Login(ctx context.Context, login palette.Login) (palette.Token, error)
	Refresh(ctx context.Context, token palette.Secret) (palette.Token, error)
	Revoke(ctx context.Context, auth palette.Secret, tokens []palette.Secret) error
	UserInfo(ctx context.Context, auth palette.Auth) (palette.UserInfo, error)
	ChangePassword(ctx context.Context, auth palette.Auth, change palette.PasswordChange) error
	CreateAPIKey(ctx context.Context, auth palette.Auth, key palette.NewAPIKey) (uid string, made palette.Secret, err error)
	UpdateAPIKey(ctx context.Context, auth palette.Auth, uid string, key palette.NewAPIKey) error
	DeleteAPIKey(ctx context.Context, auth palette.Auth, uid string) error
	ListAPIKeys(ctx context.Context, auth palette.Auth) ([]palette.APIKey, error)
}

var _ paletteAPI = (*palette.Client)(nil)

// clientCache keeps one client, and so one pool of connections, for each way to reach a
// Palette.
type clientCache struct {
	mu     sync.Mutex
	byConn map[palette.Connection]*palette.Client
}

// limitHolder is a config of a mount, whose rate limit counts.
type limitHolder struct {
	mount *backend
	name  string
}

// countLimit makes the limit of a config count for its address, for all mounts of the
// process.
func (b *backend) countLimit(name string, cfg *config) {
	b.process.CountLimit(limitHolder{b, name}, cfg.Address, cfg.RateLimit)
}

// recountLimit makes the limit of a config count as it is stored, that of a deleted one no
// longer: another node may have written it. What cannot be read counts on.
func (b *backend) recountLimit(ctx context.Context, s logical.Storage, name string) {
	// A write of the config stores and counts under the lock; in between this would undo it.
	lock := locksutil.LockForKey(b.configLocks, name)
	lock.Lock()
	defer lock.Unlock()
	cfg, err := b.configs.get(ctx, s, name)
	switch {
	case err != nil:
	case cfg == nil:
		b.process.UncountLimit(limitHolder{b, name})
	default:
		b.countLimit(name, cfg)
	}
}

// limitHolders are the mount's.
func (b *backend) limitHolders() (mine []limitHolder) {
	for _, holder := range b.process.Holders() {
		if of, ok := holder.(limitHolder); ok && of.mount == b {
			mine = append(mine, of)
		}
	}
	return mine
}

// clientFor returns the client of a connection.
func (b *backend) clientFor(conn palette.Connection) (paletteAPI, error) {
	c := &b.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.byConn[conn]; ok {
		return client, nil
	}
	client, err := b.process.NewClient(conn, b.userAgent, b.metrics)
	if err != nil {
		return nil, fmt.Errorf("the connection to %s cannot be used: %w", conn.Address, err)
	}
	if c.byConn == nil {
		c.byConn = make(map[palette.Connection]*palette.Client)
	}
	c.byConn[conn] = client
	return client, nil
}

// initialize runs at unseal, reload and after a crash, and makes the rate limits of all
// configs count, so that the lowest one does from the start, and looks up what
// the process before has left behind. It calls nobody: Vault's unseal waits for it.
func (b *backend) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	b.detectListener(ctx)
	err := b.configs.each(ctx, req.Storage, func(name string, cfg *config, err error) {
		if err != nil { // the mount is of use without this config
			b.Logger().Error("a config cannot be used", "config", name, "error", err)
			return
		}
		b.countLimit(name, cfg)
	})
	if err != nil {
		return err
	}
	if err := b.listLeftovers(ctx, req.Storage); err != nil { // the first use tries again
		b.Logger().Error("what a crash has left behind could not be looked up", "error", err)
	}
	return nil
}

// drop forgets the client of a connection. Calls under way on it go on.
func (c *clientCache) drop(conn palette.Connection) {
	c.dropIf(func(other palette.Connection) bool { return other == conn })
}

// dropIf forgets the clients of the connections that match.
func (c *clientCache) dropIf(matches func(palette.Connection) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, client := range c.byConn {
		if matches(conn) {
			client.Close()
			delete(c.byConn, conn)
		}
	}
}

func (c *clientCache) dropAll() {
	c.dropIf(func(palette.Connection) bool { return true })
}
