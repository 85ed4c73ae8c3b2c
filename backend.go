// Package palette is a Vault secrets engine that issues short-lived authorization
// tokens of Spectro Cloud's Palette under leases.
package palette

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-palette/internal/palette"
)

// Storage prefixes. Each ends in a slash: seal wrapping matches an exact key or a
// prefix that does, so that "config" would leave config/ci unwrapped.
const (
	configPrefix     = "config/"
	rolePrefix       = "roles/"
	connectionPrefix = "connections/"
	owedPrefix       = "owed/"
	sessionPrefix    = "sessions/"
)

// process is what all mounts of this plugin process share towards Palette.
var process = palette.NewProcess()

// backend is one mount of the engine.
type backend struct {
	*framework.Backend
	process   *palette.Process
	userAgent string
	// storage is the mount's, for Clean, which gets none.
	storage logical.Storage

	configs entries[config]
	roles   entries[role]
	// configLocks and roleLocks make a read, change and write of one entry whole. They
	// are never held over a call to Palette.
	configLocks, roleLocks []*locksutil.LockEntry

	limits   mountLimits
	clients  clientCache
	sessions sessionKeeper
	batches  batcher
	flushing flusher
	// paying is a single flight: one run over the list at a time.
	paying *semaphore.Weighted
	// queueFull: a run over the list was stopped by the rate limit.
	queueFull atomic.Bool

	rotations  rotationKeeper
	lostKeys   lostKeys
	background background

	metrics   *metrics
	announcer announcer
}

// cleanPatience is how long Clean waits for calls under way. Vault holds a lock against
// all mounts of the process meanwhile.
const cleanPatience = 5 * time.Second

// Factory makes a mount's backend; it is what Vault's plugin catalog and its tests call.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	return FactoryFor("v0.0.0-dev")(ctx, conf)
}

// FactoryFor makes a Factory for a build of the given version (a "v" and a semantic
// version), which Vault shows with the mount.
func FactoryFor(version string) logical.Factory { return FactoryOn(process, version) }

// FactoryOn is FactoryFor with another process than this one: two simulated nodes in one test
// share nothing towards Palette.
func FactoryOn(process *palette.Process, version string) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(process, version)
		if err := b.setUp(ctx, conf); err != nil {
			return nil, err
		}
		return b, nil
	}
}

// setUp is Setup, and keeps the storage and where events go.
func (b *backend) setUp(ctx context.Context, conf *logical.BackendConfig) error {
	b.storage = conf.StorageView
	b.announcer.events, b.announcer.observations = conf.EventsSender, conf.ObservationRecorder
	return b.Setup(ctx, conf)
}

func newBackend(process *palette.Process, version string) *backend {
	b := &backend{
		process:     process,
		userAgent:   "vault-plugin-secrets-palette/" + strings.TrimPrefix(version, "v"),
		configs:     entries[config]{prefix: configPrefix, blank: blankConfig},
		roles:       entries[role]{prefix: rolePrefix},
		configLocks: locksutil.CreateLocks(),
		roleLocks:   locksutil.CreateLocks(),
		sessions:    newSessionKeeper(),
		metrics:     newMetrics(version),
		paying:      semaphore.NewWeighted(1),
	}
	b.Backend = &framework.Backend{
		Help:           strings.TrimSpace(backendHelp),
		BackendType:    logical.TypeLogical,
		RunningVersion: version,
		Paths: framework.PathAppend(
			b.pathConfig(),
			b.pathRoles(),
			b.pathCreds(),
			b.pathSessions(),
			b.pathRotate(),
			b.pathCheck(),
			b.pathMetrics(),
		),
		Secrets: []*framework.Secret{b.tokenSecret(), b.keySecret()},
		PathsSpecial: &logical.Paths{
			SealWrapStorage: []string{configPrefix, connectionPrefix, owedPrefix, sessionPrefix, framework.WALPrefix},
			// A performance secondary has leases of its own, so what it owes is its own too, and
			// so are its sessions and its write-ahead entries.
			LocalStorage: []string{owedPrefix, sessionPrefix, framework.WALPrefix},
		},
		InitializeFunc:    b.initialize,
		Invalidate:        b.invalidate,
		WALRollback:       b.walRollback,
		WALRollbackMinAge: walMinAge,
		PeriodicFunc:      b.periodic,
		Clean:             b.clean,
	}
	return b
}

// invalidate is told which storage key another node has written.
func (b *backend) invalidate(_ context.Context, key string) {
	if b.configs.invalidate(key) {
		b.clients.dropAll() // which connection the config had is not known any more
	}
	b.roles.invalidate(key)
	b.sessions.entries.invalidate(key)
}

// periodic runs each minute on the active node. No part of it keeps the others from their
// turn: an entry that cannot be read would otherwise stop revocations and rotations for good.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
	errs := []error{b.listLeftovers(ctx, req.Storage), b.unreadableWALs(ctx, req.Storage)}
	b.findLostKeys(ctx, req.Storage)
	return errors.Join(append(errs,
		b.payOwed(ctx, req.Storage),
		b.tendConfigs(ctx, req.Storage),
		b.forgetConnections(ctx, req.Storage),
	)...)
}

// tendConfigs starts the rotations that are due, forgets the clients that no config has, and
// counts the rate limits anew.
func (b *backend) tendConfigs(ctx context.Context, s logical.Storage) error {
	used := make(map[palette.Connection]bool)
	listed := make(map[string]bool)
	rotates := b.writesConfigs()
	var errs []error
	err := b.configs.each(ctx, s, func(name string, cfg *config, err error) {
		listed[name] = true
		if err != nil {
			errs = append(errs, err)
			return
		}
		used[cfg.Connection] = true
		b.recountLimit(ctx, s, name)
		if rotates {
			b.rotateDue(s, name, cfg)
		}
	})
	if err != nil {
		return err
	}
	for _, holder := range b.limitHolders() {
		if !listed[holder.name] {
			b.recountLimit(ctx, s, holder.name)
		}
	}
	b.clients.dropIf(func(conn palette.Connection) bool { return !used[conn] })
	return errors.Join(errs...)
}

// clean runs at seal, reload and unmount. At an unmount what is left at Palette is ended,
// within cleanPatience. Always it gives the calls under way a moment to end, so that a
// token that arrives late is still revoked.
func (b *backend) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cleanPatience)
	defer cancel()
	if b.storage != nil && b.System().Tainted() {
		b.background.leave() // what was sent comes back, and is revoked, while this goes on
		b.endMount(ctx)
	}
	if b.background.finish(ctx) != nil {
		b.Logger().Warn("the mount ends with calls to Palette under way; tokens that they bring live to their own expiry")
	}
	b.clients.dropAll()
	for _, holder := range b.limitHolders() {
		b.process.UncountLimit(holder)
	}
}

// connectionOf finds how to reach the Palette that issued a lease: by the config where
// it still leads there, since it knows the CA of today; else by the copy that was kept
// when the config changed or went; else by the bare address.
func (b *backend) connectionOf(ctx context.Context, s logical.Storage, l *lease) (palette.Connection, error) {
	cfg, err := b.configs.get(ctx, s, l.ConfigName)
	if err != nil {
		return palette.Connection{}, err
	}
	if cfg != nil && cfg.Address == l.Address {
		return cfg.Connection, nil
	}
	kept, err := loadConnection(ctx, s, connectionKey(l.ConfigName, l.Address))
	if err != nil {
		return palette.Connection{}, err
	}
	if kept != nil {
		return kept.Connection, nil
	}
	return defaultConnection(l.Address), nil
}

const backendHelp = `
The palette secrets engine issues authorization tokens for Spectro Cloud's Palette.

Palette's login is written once to "config" (or "config/<name>"); a role under
"roles/<name>" says which config to use and how long leases last; "creds/<role>" logs
in to Palette and returns a token under a lease, which is renewed through Palette's
refresh endpoint and revoked at Palette when the lease ends. Roles can hand out one shared
session ("sessions/<config>" shows and ends it), or API keys instead of tokens;
"rotate-root/<config>" gives a config a new password that nobody sees. "check/<config>" tells
whether a config works and what to do where it does not, "metrics" what the mount does.
`
