package store_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"
)

// A connection is kept as long as a token or an API key that needs it can live.
func TestConnectionIsKeptAsLongAsACredentialMayLive(t *testing.T) {
	for _, c := range []struct{ maxLease, keep time.Duration }{
		{0, answer.MaxTokenLife + time.Hour},
		{answer.MaxTokenLife, answer.MaxTokenLife + time.Hour},
		{10 * answer.MaxTokenLife, 10*answer.MaxTokenLife + time.Hour},
	} {
		enginetest.Bubble(t, fmt.Sprint(c.maxLease), func(t *testing.T) {
			s := enginetest.NewStorage()
			conn := store.DefaultConnection(here)
			require.NoError(t, store.KeepConnection(t.Context(), s, "ci", conn))
			time.Sleep(c.keep - time.Second)
			forgotten, err := store.ForgetConnections(t.Context(), s, c.maxLease)
			require.NoError(t, err)
			assert.Empty(t, forgotten)
			time.Sleep(time.Second)
			forgotten, err = store.ForgetConnections(t.Context(), s, c.maxLease)
			require.NoError(t, err)
			assert.Equal(t, []palette.Connection{conn}, forgotten)
			assert.Empty(t, s.Keys(store.ConnectionPrefix))
		})
	}
}

// Kept again, a connection counts from then on, and is the newer one.
func TestConnectionIsKeptOncePerConfigAndAddress(t *testing.T) {
	s := enginetest.NewStorage()
	for i, c := range []struct{ name, address string }{{"ci", here}, {"ci", here}, {"ci", there}, {"cd", here}} {
		require.NoError(t, store.KeepConnection(t.Context(), s, c.name, store.DefaultConnection(c.address)))
		assert.Len(t, s.Keys(store.ConnectionPrefix), max(1, i))
	}
	for _, key := range s.Keys(store.ConnectionPrefix) {
		assert.NotContains(t, key, "example.com")
	}
}

// One that cannot be read or deleted does not keep the others.
func TestConnectionStorageFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.NewStorage()
		for _, address := range []string{here, there} {
			require.NoError(t, store.KeepConnection(t.Context(), s, "ci", store.DefaultConnection(address)))
		}
		time.Sleep(store.ConnectionKept)
		forget := func() (int, error) {
			forgotten, err := store.ForgetConnections(t.Context(), s, 0)
			return len(forgotten), err
		}
		for _, op := range []string{"list", "get", "delete"} {
			s.FailOn(op, store.ConnectionPrefix)
			n, err := forget()
			assert.Zero(t, n)
			require.ErrorIs(t, err, enginetest.ErrDisk, op)
		}
		s.FailOn("put", store.ConnectionPrefix)
		require.ErrorIs(t, store.KeepConnection(t.Context(), s, "ci", store.DefaultConnection(here)), enginetest.ErrDisk)
		s.Heal()
		s.Plant(s.Keys(store.ConnectionPrefix)[0], "{a secret")
		n, err := forget()
		assert.Equal(t, 1, n, "the other one")
		require.ErrorContains(t, err, "cannot be decoded")
		assert.NotContains(t, err.Error(), "a secret")
	})
}
