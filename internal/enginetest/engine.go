// Package enginetest wires the managers of a mount over one stand-in for Palette and a storage that
// can fail. The unit tests of the packages under internal/ share it; the plugin does not contain it.
package enginetest

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/keyusage"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Month is Vault's default for a mount's longest lease.
const Month = 768 * time.Hour

// Name is the config that [Engine.Configure] writes.
const Name = "default"

// Epoch is when each Engine begins: a bubble's own clock begins in 2000.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Engine is the managers of a mount, their storage, and a Palette.
type Engine struct {
	T       *testing.T
	Palette *palettetest.Server
	Process *exchange.Process
	Storage *Storage
	System  *System
	Log     *Log

	Configs     *store.Configs
	Clients     *upstream.Clients
	Tasks       *tasks.Group
	Revocations *revocation.Manager
	Credentials *rootcred.Manager
	Writer      *config.Manager
	Sessions    *session.Manager
	Keys        *apikey.Manager
	Usage       *keyusage.Manager
	Roles       *store.Roles
	// Counts is what the revocations have counted.
	Counts Counts
}

// Counts is what revocations tell revocation.Metrics.
type Counts struct{ Enqueued, Removed, Tokens, Keys atomic.Int64 }

// PendingEnqueued implements revocation.Metrics.
func (c *Counts) PendingEnqueued() { c.Enqueued.Add(1) }

// PendingRemoved implements revocation.Metrics.
func (c *Counts) PendingRemoved() { c.Removed.Add(1) }

// PendingRevoked implements revocation.Metrics.
func (c *Counts) PendingRevoked(n int, kind string) {
	if kind == revocation.KindKey {
		c.Keys.Add(int64(n))
		return
	}
	c.Tokens.Add(int64(n))
}

// System is Vault's view of a mount that may be on its way out.
type System struct {
	logical.StaticSystemView
	Removed bool
}

// Tainted implements logical.SystemView.
func (s *System) Tainted() bool { return s.Removed }

// Bubble runs a row of a table with fake time, which goes on when all goroutines wait.
func Bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// New is an Engine in the test's bubble. At the end of the test the log is searched for secrets, and
// the stand-in fails the test where a credential is left alive.
func New(t *testing.T, opts ...palettetest.Option) *Engine {
	t.Helper()
	time.Sleep(time.Until(Epoch))
	e := &Engine{
		T: t, Log: &Log{}, Storage: NewStorage(), Process: exchange.NewProcess().WithDial(palettetest.Dial),
		Palette: palettetest.New(t, append(opts, palettetest.InMemory())...),
		System:  &System{StaticSystemView: logical.StaticSystemView{DefaultLeaseTTLVal: Month, MaxLeaseTTLVal: Month}},
	}
	e.Restart()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		_ = e.Tasks.Drain(ctx)
		e.Clients.DropAll()
		for _, secret := range append(append(e.Palette.Passwords(), e.Palette.KeySecrets()...), e.Palette.Issued()...) {
			assert.NotContains(t, e.Log.String(), secret, "the log holds a secret")
		}
	})
	return e
}

// Restart makes new managers over the storage as it is, as a crash does.
func (e *Engine) Restart() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: e.Log})
	log := func() hclog.Logger { return logger }
	system := func() logical.SystemView { return e.System }
	if e.Clients != nil {
		e.Clients.DropAll()
	}
	e.Configs, e.Clients, e.Tasks, e.Revocations = store.NewConfigs(), &upstream.Clients{}, &tasks.Group{Logger: log}, revocation.New()
	e.Credentials, e.Sessions, e.Keys = &rootcred.Manager{}, session.New(store.SessionPrefix), &apikey.Manager{SharedKeys: session.New(store.SharedKeyPrefix)}
	newClient := func(conn palette.Connection) (upstream.API, error) {
		return palette.NewClient(e.Process, conn, "a-test", wiretest.Nobody{})
	}
	longest := func() time.Duration { return e.System.MaxLeaseTTLVal }
	*e.Clients = upstream.Clients{New: newClient, Configs: e.Configs, WritesConfigs: e.Credentials.WritesConfigs, MaxLease: longest}
	r := e.Revocations
	r.Configs, r.Clients, r.Tasks, r.Logger = e.Configs, e.Clients, e.Tasks, log
	r.Metrics, r.Tainted, r.Keys = &e.Counts, e.System.Tainted, e.Keys
	c := e.Credentials
	c.Configs, c.Clients, c.Revocations, c.Tasks, c.System, c.Logger = e.Configs, e.Clients, e.Revocations, e.Tasks, system, log
	c.Hooks = rootcred.Hooks{
		Changed: e.Sessions.MarkSuspect, Listed: func(name string, cfg *store.Config, keys []palette.APIKey) { e.Usage.Listed(name, cfg, keys) }, KeysInterrupted: e.Keys.Interrupted,
		Rotated: func(context.Context, logical.Storage, string, error) {},
	}
	e.Writer = &config.Manager{Configs: e.Configs, Clients: e.Clients, Revocations: e.Revocations, Credentials: e.Credentials, System: system, Logger: log}
	e.Roles = store.NewRoles()
	s := e.Sessions
	s.Kind = &session.Logins{Configs: e.Configs, Clients: e.Clients, Revocations: e.Revocations, Credentials: e.Credentials, Logger: log}
	s.Tasks, s.Logger = e.Tasks, log
	e.Usage = &keyusage.Manager{Configs: e.Configs, Clients: e.Clients, Credentials: e.Credentials, Sessions: e.Sessions, Tasks: e.Tasks, Logger: log}
	k := e.Keys
	k.Configs, k.Clients, k.Revocations, k.Credentials, k.Sessions = e.Configs, e.Clients, e.Revocations, e.Credentials, e.Sessions
	k.Usage, k.Tasks, k.Logger, k.MaxLease = e.Usage, e.Tasks, log, longest
	s = k.SharedKeys
	s.Kind, s.Tasks, s.Logger = &apikey.Shared{Manager: k, Roles: e.Roles}, e.Tasks, log
}

// Config is a config for the stand-in's default user. Its connection has no rate limit, and gives up
// at once where a call would have to wait.
func (e *Engine) Config(changes ...func(*store.Config)) *store.Config {
	u := palettetest.DefaultUser
	cfg := &store.Config{Connection: store.DefaultConnection(e.Palette.URL()), Email: u.Email, Org: u.Org, Password: palette.Secret(u.Password)}
	cfg.RateLimit, cfg.QueueTimeout = 0, time.Second
	for _, change := range changes {
		change(cfg)
	}
	return cfg
}

// Configure stores [Engine.Config] as "default".
func (e *Engine) Configure(changes ...func(*store.Config)) *store.Config {
	e.T.Helper()
	cfg := e.Config(changes...)
	require.NoError(e.T, e.Configs.Put(e.T.Context(), e.Storage, Name, cfg))
	return cfg
}

// Stored is the config "default" as the managers see it.
func (e *Engine) Stored() *store.Config {
	e.T.Helper()
	cfg, err := e.Configs.Get(e.T.Context(), e.Storage, Name)
	require.NoError(e.T, err)
	return cfg
}

// Login is a token of the config "default".
func (e *Engine) Login() store.Token {
	e.T.Helper()
	token, err := e.Credentials.Login(e.T.Context(), e.Storage, Name, e.Stored())
	require.NoError(e.T, err)
	return store.TokenOf(token)
}

// Logins is n of them.
func (e *Engine) Logins(n int) []store.Token {
	e.T.Helper()
	tokens := make([]store.Token, n)
	for i := range tokens {
		tokens[i] = e.Login()
	}
	return tokens
}

// End revokes tokens, so that the stand-in finds none alive.
func (e *Engine) End(tokens ...store.Token) {
	e.T.Helper()
	require.NoError(e.T, e.Revocations.End(e.T.Context(), revocation.AccountOf(e.Config()), tokens))
}

// Password is the default user's password at Palette.
func (e *Engine) Password() palette.Secret {
	u, _ := e.Palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
	return palette.Secret(u.Password)
}

// Alive tells whether a token opens something at Palette.
func (e *Engine) Alive(token store.Token) bool { return e.Palette.Alive(token.Token.Reveal()) }

// Wait waits for all tasks.
func (e *Engine) Wait() {
	e.T.Helper()
	require.NoError(e.T, e.Tasks.Wait(e.T.Context()))
}

// Pending counts the pending revocations in storage.
func (e *Engine) Pending() int { return len(e.Storage.Keys(store.PendingPrefix)) }

// WALs counts the write-ahead entries in storage.
func (e *Engine) WALs() int { return len(e.Storage.Keys(framework.WALPrefix)) }

// Logged requires a message in the log.
func (e *Engine) Logged(messages ...string) {
	e.T.Helper()
	for _, message := range messages {
		assert.True(e.T, strings.Contains(e.Log.String(), message), "the log does not say %q", message)
	}
}
