package palettetest_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestDialRefusesWhereNobodyListens(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		address := f.URL()[len("http://"):]
		conn, err := palettetest.Dial(t.Context(), "tcp", address)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		f.Close()
		for _, nobody := range []string{address, "127.0.0.1:1", "no port"} {
			_, err := palettetest.Dial(t.Context(), "tcp", nobody)
			require.ErrorIs(t, err, syscall.ECONNREFUSED, nobody)
		}
	})
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 { // where both are ready, either may be taken
			conn, err := palettetest.Dial(ctx, "tcp", f.URL()[len("http://"):])
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				return
			}
			require.NoError(t, conn.Close())
		}
		t.Fatal("a call that has ended gets a connection each time")
	})
}
