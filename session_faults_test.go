package palettesecrets

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestSessionStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.storage.failOn("put", store.SessionPrefix)
		_, err := w.handle(t.Context(), read, "creds/many", nil)
		require.ErrorIs(t, err, errDisk)
		assert.Empty(t, w.palette.LiveTokens(), "a session that could not be stored is none")
		w.storage.heal()
		first := w.creds("many").token()

		// A refresh that cannot be stored: the token is kept in memory and stored with the next.
		w.storage.failOn("put", store.SessionPrefix)
		time.Sleep(6 * time.Minute)
		second := w.creds("many").token()
		assert.NotEqual(t, first, second)
		assert.Equal(t, second, w.creds("many").token())
		w.storage.heal()
		time.Sleep(6 * time.Minute)
		w.creds("many")
		assert.Equal(t, 2, w.refreshes())
		assert.Equal(t, 2, w.read("sessions/default").Data["refreshes"])

		for _, c := range []struct {
			op      string
			request logical.Operation
			path    string
		}{{"get", read, "creds/many"}, {"get", read, "sessions/default"}, {"get", del, "sessions/default"}, {"list", logical.ListOperation, "sessions/"}, {"delete", del, "sessions/default"}} {
			w.uncache()
			w.storage.failOn(c.op, store.SessionPrefix)
			_, err := w.handle(t.Context(), c.request, c.path, nil)
			require.ErrorIs(t, err, errDisk, "%s for %s", c.op, c.path)
			w.storage.heal()
		}
		w.remove("sessions/default")
	})
}

func TestSessionReadAtTheEndOfTheMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		callBack := w.ended()
		w.fault(read, "creds/many", nil, http.StatusServiceUnavailable, "sealed, reloaded or removed")
		callBack()
	})
}

func TestSessionPanicShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		w.storage.fail = func(op, key string) error {
			if op == "put" {
				panic(palettetest.DefaultUser.Password)
			}
			return nil
		}
		_, err := w.handle(t.Context(), read, "creds/many", nil)
		require.ErrorIs(t, err, tasks.ErrPanic)
		time.Sleep(15 * time.Minute)
	})
}
