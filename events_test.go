package palettesecrets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// listener takes the events and observations of a mount, as an Enterprise server does.
type listener struct {
	mu       sync.Mutex
	events   []happened
	observed []happened
	fail     error
	// held keeps each event back until it can be read from.
	held chan struct{}
}

// happened is one event: its type and metadata.
type happened struct {
	kind     string
	metadata fields
}

// wait waits while events are held back.
func (l *listener) wait(ctx context.Context) error {
	if l.held == nil {
		return nil
	}
	select {
	case <-l.held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *listener) SendEvent(ctx context.Context, kind logical.EventType, event *logical.EventData) error {
	if err := l.wait(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, happened{string(kind), event.GetMetadata().AsMap()})
	return l.fail
}

func (l *listener) RecordObservationFromPlugin(ctx context.Context, kind string, data map[string]any) error {
	if err := l.wait(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observed = append(l.observed, happened{kind, data})
	return l.fail
}

// take returns the events since the last time, which must be the observations too, and
// without the lease's name, which is made up.
func (l *listener) take(w *world) []happened {
	w.t.Helper()
	w.wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	assert.Equal(w.t, l.events, l.observed)
	out := l.events
	l.events, l.observed = nil, nil
	for _, e := range out {
		for _, value := range e.metadata {
			w.noSecret("an event", value.(string))
		}
		delete(e.metadata, "lease")
	}
	return out
}

// listened is a world whose server has events and observations.
func listened(t *testing.T) (*world, *listener) {
	t.Helper()
	w, l := configured(t), new(listener)
	w.write("roles/shared", fields{"shared": true, "renewable": true})
	w.write("roles/key", fields{"credential_type": "api_key"})
	w.b.events.Connect(l, l)
	return w, l
}

const eventsHead = `<!-- Written by make docs. -->

# Events

Vault Enterprise takes [event notifications](https://developer.hashicorp.com/vault/docs/concepts/events) from the engine. A server that has
observations takes them as such too. The engine sends none to a community server, which has neither. Nothing of a credential is in an event.

%[1]spath%[1]s is below the mount. %[1]slease%[1]s is the engine's own name for a lease, the same in all events of that lease. A request waits two
seconds at most until Vault has taken its event. %[1]svault_palette_events_lost_total%[1]s counts the events that Vault did not take.

| Type | When | Metadata |
| --- | --- | --- |
`

// eventsPage is docs/reference/events.md, of events that were sent and of what the code says of them.
func eventsPage(t *testing.T, sent []happened) string {
	t.Helper()
	text, err := os.ReadFile("internal/telemetry/events.go")
	require.NoError(t, err)
	page := fmt.Sprintf(eventsHead, "`")
	for _, declared := range regexp.MustCompile(`(?m)^\tEvent\w+ += "(.+)" +// (.+)$`).FindAllStringSubmatch(string(text), -1) {
		var names []string
		for _, e := range sent {
			if e.kind != declared[1] {
				continue
			}
			if e.metadata["role"] != nil {
				names = append(names, "`lease`")
			}
			for name := range e.metadata {
				names = append(names, "`"+name+"`")
			}
		}
		require.NotEmpty(t, names, "no row sends %s", declared[1])
		slices.Sort(names)
		page += fmt.Sprintf("| `%s` | %s | %s |\n", declared[1], declared[2], strings.Join(slices.Compact(names), " "))
	}
	return page
}

// What changes is told, and docs/reference/events.md has each type.
func TestEventsTellWhatChanges(t *testing.T) {
	changed := func(kind, path, operation string) happened {
		return happened{kind, fields{"path": path, "operation": operation, "modified": "true"}}
	}
	lease := func(kind, role, holds string, more ...string) happened {
		e := happened{kind, fields{"path": "creds/" + role, "role": role, "config": "default", "type": holds}}
		for i := 0; i+1 < len(more); i += 2 {
			e.metadata[more[i]] = more[i+1]
		}
		return e
	}
	rotated := func(kind, modified string) happened {
		return happened{kind, fields{"path": "rotate-root/default", "config": "default", "secret": "password", "modified": modified}}
	}
	revokeInVain := func(w *world) {
		l := w.creds("app")
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500})
		require.Error(t, l.revoke())
		w.palette.ClearAll()
		w.minute()
	}
	rows := []struct {
		name string
		do   func(*world)
		want []happened
	}{
		{"a config", func(w *world) { w.write("config/ci", w.login()); w.remove("config/ci") }, []happened{
			changed("palette/config-write", "config/ci", "create"), changed("palette/config-delete", "config/ci", "delete"),
		}},
		{"a role", func(w *world) { w.write("roles/app", fields{"ttl": 60}); w.remove("roles/app") }, []happened{
			changed("palette/role-write", "roles/app", "update"), changed("palette/role-delete", "roles/app", "delete"),
		}},
		{"a trust", func(w *world) { w.write("trust/default", fields{"tls_server_name": "palette.example.com"}) }, []happened{changed("palette/trust-write", "trust/default", "update")}},
		{"a mistake", func(w *world) { w.mistake(logical.UpdateOperation, "roles/app", fields{"ttl": "1y"}) }, nil},
		{"a token", func(w *world) { l := w.creds("app"); l.mustRenew(); l.mustRevoke() }, []happened{
			lease("palette/creds-create", "app", "token"), lease("palette/creds-renew", "app", "token"), lease("palette/creds-revoke", "app", "token", "pending", "false"),
		}},
		{"a shared session", func(w *world) { w.creds("shared").mustRevoke(); w.remove("sessions/default") }, []happened{
			lease("palette/creds-create", "shared", "shared_session"), lease("palette/creds-revoke", "shared", "shared_session", "pending", "false"),
			changed("palette/session-delete", "sessions/default", "delete"),
		}},
		{"an API key", func(w *world) { l := w.creds("key"); l.mustRenew(); l.mustRevoke(); w.remove("sessions/default") }, []happened{
			lease("palette/creds-create", "key", "api_key"), lease("palette/creds-renew", "key", "api_key"), lease("palette/creds-revoke", "key", "api_key", "pending", "false"),
			changed("palette/session-delete", "sessions/default", "delete"),
		}},
		{"a revocation that fails", revokeInVain, []happened{
			lease("palette/creds-create", "app", "token"), lease("palette/creds-revoke-fail", "app", "token", "pending", "true"),
			{"palette/pending-revoke", fields{"path": "pending", "type": "token", "count": "1"}},
		}},
		{"a rotation", func(w *world) { w.write("rotate-root", nil) }, []happened{rotated("palette/root-rotate", "true")}},
		{"a rotation that fails", func(w *world) {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 403})
			w.mistake(logical.UpdateOperation, "rotate-root", nil)
		}, []happened{rotated("palette/root-rotate-fail", "false")}},
	}
	var all []happened
	for _, c := range rows {
		all = append(all, c.want...)
		bubble(t, c.name, func(t *testing.T) {
			w, l := listened(t)
			c.do(w)
			assert.Equal(t, c.want, l.take(w))
		})
	}
	enginetest.Generated(t, "docs/reference/events.md", eventsPage(t, all))
}

func TestEventsThatVaultDoesNotTakeHinderNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := listened(t)
		l.fail = errors.New("no")
		w.creds("app").mustRevoke()
		assert.Len(t, l.take(w), 2)
		assert.InDelta(t, 2, w.metrics()["events_lost_total"], 0)
	})
}

// A server that takes no event holds a request for a moment, and no request fails for it.
func TestEventsOfASlowServerAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := listened(t)
		l.held = make(chan struct{})
		began := time.Now()
		w.write("roles/app", fields{"ttl": 60})
		assert.Less(t, time.Since(began), 10*time.Second)
		assert.InDelta(t, 1, w.metrics()["events_lost_total"], 0)
		close(l.held)
		w.write("roles/app", fields{"ttl": 60})
		assert.Len(t, l.take(w), 1, "and it goes on")
	})
}

func TestEventsOfAServerWithoutThemAreNoError(t *testing.T) {
	for _, has := range []string{"events", "observations", "neither"} {
		bubble(t, has, func(t *testing.T) {
			w, l := listened(t)
			switch has {
			case "events":
				w.b.events.Connect(l, nil)
			case "observations":
				w.b.events.Connect(nil, l)
			default:
				w.b.events.Connect(nil, nil)
			}
			w.creds("app").mustRevoke()
			w.wait()
			assert.InDelta(t, 0, w.metrics()["events_lost_total"], 0)
			assert.Len(t, slices.Concat(l.events, l.observed), map[string]int{"events": 2, "observations": 2}[has])
		})
	}
}

func TestEventsGoToServersThatKeepThem(t *testing.T) {
	for _, c := range []struct {
		server string
		env    *logical.PluginEnvironment
		events int
	}{
		{"Enterprise", &logical.PluginEnvironment{VaultVersion: "1.21.2", VaultVersionMetadata: "ent"}, 2},
		{"Enterprise, FIPS", &logical.PluginEnvironment{VaultVersion: "1.21.2", VaultVersionMetadata: "ent.hsm.fips1403"}, 2},
		{"community", &logical.PluginEnvironment{VaultVersion: "1.21.2"}, 0},
		{"one that does not say", nil, 2},
	} {
		bubble(t, c.server, func(t *testing.T) {
			w, l := listened(t)
			w.system.PluginEnvironment = c.env
			require.NoError(t, w.b.Initialize(t.Context(), &logical.InitializationRequest{Storage: w.storage}))
			w.creds("app").mustRevoke()
			assert.Len(t, l.take(w), c.events)
		})
	}
}

func TestEventsGoThroughTheServersSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		b := newBackend(newWorld(t).process, "v0.0.0-test")
		require.NoError(t, b.setUp(t.Context(), &logical.BackendConfig{System: &logical.StaticSystemView{}, EventsSender: l, ObservationRecorder: l}))
		b.events.Send("palette/a-test", "a/path")
		assert.Equal(t, []happened{{"palette/a-test", fields{"path": "a/path"}}}, l.events)
	})
}
