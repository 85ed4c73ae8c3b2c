// Package palettesecrets is a Vault secrets engine that issues short-lived credentials of Spectro Cloud's
// Palette under leases. This package speaks Vault: it parses a request, calls one manager, and
// shapes the answer. docs/development/architecture.md shows the managers on one page.
package palettesecrets

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/check"
	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/keyusage"
	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

// backend is one mount of the engine: its handlers and its managers.
type backend struct {
	*framework.Backend
	// storage is the mount's. Vault's Clean hands over none.
	storage logical.Storage

	configs     *store.Configs
	roles       *store.Roles
	clients     *upstream.Clients
	tasks       *tasks.Group
	credentials *rootcred.Manager
	writer      *config.Manager
	sessions    *session.Manager
	keys        *apikey.Manager
	usage       *keyusage.Manager
	revocations *revocation.Manager
	checker     *check.Checker
	limits      *lease.Limits
	stored      *telemetry.Stored
	metrics     *telemetry.Metrics
	events      *telemetry.Events
	rules       *input.Rules
}

func newBackend(process *exchange.Process, version string) *backend {
	b := &backend{
		configs: store.NewConfigs(), roles: store.NewRoles(),
		clients: &upstream.Clients{}, tasks: &tasks.Group{}, credentials: &rootcred.Manager{}, writer: &config.Manager{}, sessions: session.New(store.SessionPrefix),
		keys: &apikey.Manager{SharedKeys: session.New(store.SharedKeyPrefix)}, usage: &keyusage.Manager{}, revocations: revocation.New(), checker: &check.Checker{},
		limits: &lease.Limits{}, metrics: telemetry.NewMetrics(version), events: &telemetry.Events{},
	}
	b.Backend = &framework.Backend{
		Help: strings.TrimSpace(help.Mount), BackendType: logical.TypeLogical, RunningVersion: version,
		Paths: framework.PathAppend(
			b.pathConfig(), b.pathRoles(), b.pathCreds(), b.pathSessions(), b.pathRotate(), b.pathTrust(), b.pathCheck(), b.pathMetrics(),
		),
		Secrets: []*framework.Secret{b.tokenSecret(), b.keySecret()},
		PathsSpecial: &logical.Paths{
			// These send a stored secret another way, so Vault asks for the capability "sudo".
			Root:            []string{"trust/*"},
			SealWrapStorage: []string{store.ConfigPrefix, store.ConnectionPrefix, store.PendingPrefix, store.SessionPrefix, store.SharedKeyPrefix, framework.WALPrefix},
			// A performance secondary has leases of its own, and so pending revocations, sessions, shared
			// keys and write-ahead entries of its own.
			LocalStorage: []string{store.PendingPrefix, store.SessionPrefix, store.SharedKeyPrefix, framework.WALPrefix},
		},
		InitializeFunc: b.initialize, Invalidate: b.invalidate, PeriodicFunc: b.periodic, Clean: b.clean,
		WALRollback: b.walRollback, WALRollbackMinAge: walMinAge,
	}
	b.rules = inputRules(b.Paths)
	b.wire(process, "vault-plugin-secrets-palette/"+strings.TrimPrefix(version, "v")) // by now there is a framework.Backend to take Logger and System from
	return b
}

// wire gives each manager what it needs. The arrows all point downwards; the one that would close a
// circle, from a rotation to the config's session, is a hook.
func (b *backend) wire(process *exchange.Process, userAgent string) {
	*b.clients = upstream.Clients{New: newClient(process, userAgent, b.metrics), Configs: b.configs, WritesConfigs: b.credentials.WritesConfigs, MaxLease: b.limits.MaxLease}
	b.stored = &telemetry.Stored{Configs: b.configs, ClockOffset: process.ClockOffset, KeysOf: func(name string, cfg *store.Config) (int, time.Time, bool) {
		u, known := b.usage.Of(name, cfg)
		return u.Keys, u.At, known
	}}
	b.tasks.Logger = b.Logger
	b.limits.System = b.System
	b.events.Logger, b.events.System, b.events.Metrics = b.Logger, b.System, b.metrics

	r := b.revocations
	r.Configs, r.Clients, r.Tasks, r.Logger = b.configs, b.clients, b.tasks, b.Logger
	r.Metrics, r.Tainted, r.Keys = telemetry.Pending{Metrics: b.metrics, Events: b.events}, b.tainted, b.keys

	c := b.credentials
	c.Configs, c.Clients, c.Revocations, c.Tasks, c.System, c.Logger = b.configs, b.clients, b.revocations, b.tasks, b.System, b.Logger
	c.Hooks = rootcred.Hooks{Changed: b.sessions.MarkSuspect, Rotated: b.rotationDone, Listed: b.usage.Listed, KeysInterrupted: b.keys.Interrupted}

	*b.writer = config.Manager{Configs: b.configs, Clients: b.clients, Revocations: b.revocations, Credentials: b.credentials, System: b.System, Logger: b.Logger}

	s := b.sessions
	s.Kind = &session.Logins{Configs: b.configs, Clients: b.clients, Revocations: b.revocations, Credentials: b.credentials, Logger: b.Logger}
	s.Tasks, s.Logger = b.tasks, b.Logger

	*b.usage = keyusage.Manager{Configs: b.configs, Clients: b.clients, Credentials: b.credentials, Sessions: b.sessions, Tasks: b.tasks, Logger: b.Logger}

	k := b.keys
	k.Configs, k.Clients, k.Revocations, k.Credentials, k.Sessions, k.Usage, k.Tasks, k.Logger, k.MaxLease = b.configs, b.clients, b.revocations, b.credentials, b.sessions, b.usage, b.tasks, b.Logger, b.limits.MaxLease
	s = k.SharedKeys
	s.Kind, s.Tasks, s.Logger = &apikey.Shared{Manager: k, Roles: b.roles}, b.tasks, b.Logger

	*b.checker = check.Checker{Clients: b.clients, Credentials: b.credentials, Sessions: b.sessions, Revocations: b.revocations, Tasks: b.tasks, Logger: b.Logger}
}

// tainted tells whether the mount is being unmounted or moved.
func (b *backend) tainted() bool { return b.System().Tainted() }

// Factory makes a mount's backend; Vault's plugin catalog and its tests call it.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	return FactoryFor("v0.0.0-dev")(ctx, conf)
}

// process is what all mounts of this plugin process share towards Palette.
var process = exchange.NewProcess()

// FactoryFor makes a Factory for a build of the given version (a "v" and a semantic version), which
// Vault shows with the mount.
func FactoryFor(version string) logical.Factory { return FactoryOn(process, version) }

// FactoryOn is FactoryFor with another process than this one: two simulated nodes in one test share
// nothing towards Palette.
func FactoryOn(process *exchange.Process, version string) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(process, version)
		if err := b.setUp(ctx, conf); err != nil {
			return nil, err
		}
		return b, nil
	}
}

// setUp is the framework's Setup; it keeps the storage and where events go.
func (b *backend) setUp(ctx context.Context, conf *logical.BackendConfig) error {
	b.storage = conf.StorageView
	b.events.Connect(conf.EventsSender, conf.ObservationRecorder)
	return b.Setup(ctx, conf)
}
