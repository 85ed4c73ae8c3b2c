package palettesecrets

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
)

// The parts of a mount's life, each for the managers that have something to do in it.
type (
	// initializer is called at unseal, reload and after a crash. Vault's unseal waits for it, so it calls
	// nobody. The manager of pending revocations needs no call: each minute's run reads them from
	// storage.
	initializer interface {
		Initialize(ctx context.Context, s logical.Storage) error
	}
	// minuter is called each minute on the active node.
	minuter interface {
		EachMinute(ctx context.Context, s logical.Storage) error
	}
	// invalidator is told which storage key another node has written.
	invalidator interface{ Invalidate(key string) }
	// cleaner is called at seal, reload and unmount. removed tells whether the mount goes for good.
	cleaner interface {
		Clean(ctx context.Context, s logical.Storage, removed bool)
	}
)

func (b *backend) initializers() []initializer { return []initializer{b.events, b.credentials} }

// minuters are in their order: an interrupted making of a key is looked for before a pending
// revocation is retried.
func (b *backend) minuters() []minuter {
	return []minuter{b.credentials, b.keys, b.usage, b.keys.SharedKeys, b.revocations, b.clients}
}

func (b *backend) invalidators() []invalidator {
	return []invalidator{b.configs, b.roles, b.sessions, b.keys.SharedKeys, b.clients}
}

// cleaners are in their order. A deletion of an API key may begin a session, and the rate limit may hold
// back the session's end. So shared keys come first, and sessions and pending revocations twice.
func (b *backend) cleaners() []cleaner {
	return []cleaner{b.keys.SharedKeys, b.sessions, b.revocations, b.sessions, b.revocations, revocation.Report{Manager: b.revocations}, b.tasks, b.clients}
}

func (b *backend) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	var errs []error
	for _, m := range b.initializers() {
		errs = append(errs, m.Initialize(ctx, req.Storage))
	}
	return errors.Join(errs...)
}

// periodic runs each minute on the active node. A manager that fails does not keep the others from
// their turn: an entry that cannot be read would otherwise stop revocations and rotations for good.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
	var errs []error
	for _, m := range b.minuters() {
		errs = append(errs, m.EachMinute(ctx, req.Storage))
	}
	return errors.Join(errs...)
}

func (b *backend) invalidate(_ context.Context, key string) {
	for _, m := range b.invalidators() {
		m.Invalidate(key)
	}
}

// cleanTimeout is how long Clean waits for Palette and for calls under way. Vault holds a lock
// against all mounts of the process meanwhile (source: Vault 1.21's plugin catalog).
const cleanTimeout = 5 * time.Second

// clean runs at seal, reload and unmount. At an unmount the mount's credentials are ended at
// Palette, as far as cleanTimeout allows.
func (b *backend) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	removed := b.storage != nil && b.tainted()
	if removed {
		b.tasks.Leave() // what was sent comes back, and is revoked, while this goes on
	}
	for _, m := range b.cleaners() {
		m.Clean(ctx, b.storage, removed)
	}
}

// walMinAge is the age from which Vault hands a write-ahead entry to the engine. Nothing that has an
// entry under way takes as long. The making of a key is two calls at most, with the login of its
// session; a call waits maxQueueTimeout at most, and then takes maxRequestTimeout at most.
const walMinAge = 15 * time.Minute

// walRollback is Vault's: nil lets Vault delete the entry.
func (b *backend) walRollback(ctx context.Context, req *logical.Request, kind string, data any) error {
	switch kind {
	case store.WALKey:
		return b.keys.Rollback(ctx, req.Storage, data)
	case store.WALPassword, store.WALRootKey:
		return b.credentials.Rollback(ctx, req.Storage, data)
	}
	return fmt.Errorf("a write-ahead entry is of the unknown kind %q", kind)
}
