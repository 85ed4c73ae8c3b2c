package palettesecrets

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestMain(m *testing.M) {
	// OpenCensus, which Vault's SDK pulls in, starts a worker at init and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

func TestFactorySetsUpAMount(t *testing.T) {
	b, err := FactoryFor("v1.2.3")(t.Context(), &logical.BackendConfig{System: &logical.StaticSystemView{}})
	require.NoError(t, err)
	assert.Equal(t, logical.TypeLogical, b.Type())
	assert.Equal(t, "v1.2.3", b.(*backend).RunningVersion)
	_, err = Factory(t.Context(), &logical.BackendConfig{})
	require.NoError(t, err)
}

func TestSecretsAreStoredUnderSealWrappedPrefixes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("config/ci", w.login())
		w.write("roles/many", fields{"shared": true, "renewable": true})
		shared := w.creds("many").token()
		l := w.creds("app")
		w.palette.Down(true)
		require.Error(t, l.revoke()) // stores a pending revocation
		w.palette.Down(false)
		w.remove("config/ci") // fills connections/

		wrapped := w.b.SpecialPaths().SealWrapStorage
		for _, prefix := range wrapped {
			assert.True(t, strings.HasSuffix(prefix, "/"), "%s: seal wrapping matches an exact key or a prefix that ends in a slash", prefix)
		}
		var holding []string
		for _, key := range w.keys("") {
			entry, err := w.storage.Get(t.Context(), key)
			require.NoError(t, err)
			if !strings.Contains(string(entry.Value), palettetest.DefaultUser.Password) && !strings.Contains(string(entry.Value), l.token()) && !strings.Contains(string(entry.Value), shared) {
				continue
			}
			holding = append(holding, key)
			assert.True(t, slices.ContainsFunc(wrapped, func(prefix string) bool { return strings.HasPrefix(key, prefix) }), "%s holds a secret and is not seal-wrapped", key)
		}
		assert.Len(t, holding, 3, "config/default, the session and the pending revocation")
		w.minute()
		w.remove("sessions/default")
	})
}

func TestInvalidationDropsWhatAnotherNodeChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.creds("app").mustRevoke()
		for key, now := range map[string]string{
			store.ConfigPrefix + "default": `{"address":"https://other.example.com","email":"a@example.com","password":"p","request_timeout":1000000000}`,
			store.RolePrefix + "app":       `{"config_name":"default","ttl":60000000000}`,
		} {
			w.plant(key, now)
			w.b.InvalidateKey(t.Context(), key)
		}
		assert.Equal(t, "https://other.example.com", w.read("config").Data["address"])
		assert.EqualValues(t, 60, w.read("roles/app").Data["ttl"])
		assert.Empty(t, w.b.clients.Connections(), "clients of configs that may have changed")
	})
}

func TestHelpNamesEachField(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, path := range []string{"config", "config/ci", "roles/app", "creds/app", "config/", "roles/", "sessions/", "sessions/ci"} {
			resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path})
			require.NoError(t, err)
			help := fmt.Sprint(resp.Data["help"])
			for field := range w.b.Route(path).Fields {
				assert.Contains(t, help, field, path)
			}
		}
	})
}

func TestHelpDescribesEachOperation(t *testing.T) {
	for _, path := range newBackend(exchange.NewProcess(), "v1.0.0").Paths {
		assert.NotEmpty(t, path.HelpSynopsis, path.Pattern)
		assert.NotEmpty(t, path.HelpDescription, path.Pattern)
		for op, handler := range path.Operations {
			p := handler.Properties()
			assert.NotEmpty(t, p.Summary, "%s %s", op, path.Pattern)
			for status, responses := range p.Responses {
				assert.NotEmpty(t, responses[0].Description, "%s %s %d", op, path.Pattern, status)
			}
		}
		for name, field := range path.Fields {
			assert.NotEmpty(t, field.Description, "%s: %s", path.Pattern, name)
		}
	}
}

// A mount that ends waits for calls under way, but not for ever, and begins no others.
func TestCleanWaitsForCallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/app"}), context.Canceled)

		cleaned := make(chan struct{})
		go func() {
			defer close(cleaned)
			w.b.clean(t.Context())
		}()
		synctest.Wait()
		gate.Release()
		<-cleaned
		assert.Empty(t, w.palette.LiveTokens(), "the token that came late was revoked before Clean ended")
	})
}

func TestCleanDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		defer w.palette.Close() // the held call ends without its work
		require.ErrorIs(t, w.hangUp(gate, &logical.Request{Operation: read, Path: "creds/app"}), context.Canceled)

		cleaned := make(chan struct{})
		go func() {
			defer close(cleaned)
			w.b.clean(t.Context())
		}()
		synctest.Wait()
		_, err := w.handle(t.Context(), logical.ReadOperation, "creds/app", nil)
		requireCoded(t, err, http.StatusServiceUnavailable, "being sealed, reloaded or removed")
		time.Sleep(cleanTimeout)
		<-cleaned
		assert.Contains(t, w.log.String(), "calls to Palette under way")
	})
}

func TestPeriodicRunReportsStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, prefix := range []string{store.PendingPrefix, store.ConnectionPrefix, store.ConfigPrefix} {
			w.storage.failOn("list", prefix)
			require.ErrorIs(t, w.periodic(), errDisk)
		}
	})
}

// What cannot be read keeps nothing else from its turn, though its name comes first.
func TestPeriodicRunGoesOnPastWhatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("config", fields{"rotation_period": "1h"})
		pending := w.creds("app")
		w.palette.Down(true)
		require.Error(t, pending.revoke())
		w.palette.Down(false)
		w.uncache()
		old := w.password()
		for _, key := range []string{store.ConfigPrefix + "a", store.PendingPrefix + "0", store.ConnectionPrefix + "0"} {
			w.plant(key, "{")
		}
		time.Sleep(time.Hour)

		err := w.periodic()
		for _, key := range []string{"config/a", "owed/0", "connections/0"} {
			assert.ErrorContains(t, err, key)
		}
		w.wait()
		assert.Equal(t, 1, w.pending(), "but for the entry that cannot be read")
		assert.NotEqual(t, old, w.password(), "the rotation that was due")
		metrics := w.metrics()
		assert.InDelta(t, 2, metrics["configs"], 0)
		assert.InDelta(t, 1, metrics["configs_unreadable"], 0)
		assert.Contains(t, metrics, `root_secret_age_seconds{config="default"}`)
	})
}
