package palettesecrets

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// clusterStorage is what a cluster sees of a replicated mount: its own entries under the local prefixes,
// and the primary's under all others.
type clusterStorage struct {
	logical.Storage
	own   logical.Storage
	local []string
}

func (s *clusterStorage) of(key string) logical.Storage {
	if slices.ContainsFunc(s.local, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
		return s.own
	}
	return s.Storage
}

func (s *clusterStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	return s.of(key).Get(ctx, key)
}

func (s *clusterStorage) Put(ctx context.Context, e *logical.StorageEntry) error {
	return s.of(e.Key).Put(ctx, e)
}

func (s *clusterStorage) Delete(ctx context.Context, key string) error {
	return s.of(key).Delete(ctx, key)
}

func (s *clusterStorage) List(ctx context.Context, prefix string) ([]string, error) {
	return s.of(prefix).List(ctx, prefix)
}

// secondary is the same mount on a performance secondary: another process, over the replicated storage.
func (w *world) secondary() *world {
	w.t.Helper()
	local := w.b.PathsSpecial.LocalStorage
	second := &world{
		t: w.t, log: &logBuffer{}, process: exchange.NewProcess().WithDial(palettetest.Dial), palette: w.palette,
		system:  &logical.StaticSystemView{DefaultLeaseTTLVal: month, MaxLeaseTTLVal: month, ReplicationStateVal: consts.ReplicationPerformanceSecondary},
		storage: &storage{Storage: &clusterStorage{Storage: w.storage, own: &logical.InmemStorage{}, local: local}},
	}
	second.mount()
	w.t.Cleanup(func() {
		second.b.clean(context.WithoutCancel(w.t.Context()))
		w.noSecret("the secondary's log", second.log.String())
	})
	return second
}

// The primary has rotated, and Palette has ended the user's sessions with that. A performance secondary hears of the
// rotation by the invalidation of the config, and hands out no dead token.
func TestASecondarysSessionIsSuspectWhereThePrimaryHasRotated(t *testing.T) {
	for _, ends := range []bool{true, false} {
		name := map[bool]string{true: "the change ends sessions", false: "sessions go on"}[ends]
		bubble(t, name, func(t *testing.T) {
			var opts []palettetest.Option
			if ends {
				opts = append(opts, palettetest.WithPasswordChangeEndsSessions())
			}
			w := configured(t, opts...)
			w.write("roles/shared", fields{"shared": true, "renewable": true})
			second := w.secondary()
			first := second.creds("shared").token()
			assert.Equal(t, first, second.creds("shared").token(), "it is fresh")
			assert.Empty(t, w.list("sessions/"), "the session is the secondary's own")
			w.write("rotate-root", nil)
			w.wait()
			logins := w.palette.Calls(palettetest.Login)
			second.b.InvalidateKey(t.Context(), store.ConfigPrefix+"default")
			second.b.InvalidateKey(t.Context(), store.ConfigPrefix+"other") // of another config

			l := second.creds("shared")
			assert.NotEqual(t, first, l.token())
			assert.True(t, w.palette.Alive(l.token()))
			again := 0
			if ends {
				again = 1
			}
			assert.Equal(t, again, w.palette.Calls(palettetest.Login)-logins, "where the session goes on it is refreshed")
			assert.Equal(t, l.token(), second.creds("shared").token(), "once")
			second.remove("sessions/default")
		})
	}
}

// A session of another config is none of the invalidation's.
func TestInvalidationOfAConfigLeavesOtherSessionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/shared", fields{"shared": true, "renewable": true})
		second := w.secondary()
		first := second.creds("shared").token()
		for _, key := range []string{store.ConfigPrefix + "other", store.RolePrefix + "shared", store.ConfigPrefix + "default/x", "default"} {
			second.b.InvalidateKey(t.Context(), key)
		}
		assert.Equal(t, first, second.creds("shared").token())
		require.Equal(t, 1, w.palette.Calls(palettetest.Login)-1, "the config's check, and the session")
		second.remove("sessions/default")
	})
}
