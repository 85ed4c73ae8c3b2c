package palettesecrets

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pending revocation goes out through a connection that the config has left. Its client goes when
// that is done: otherwise each change of a config would leave one behind.
func TestClientsGoThatNoConfigNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.Down(true)
		require.Error(t, l.revoke())
		w.palette.Down(false)
		w.write("config", fields{"request_timeout": 10})
		w.minute()
		assert.Zero(t, w.pending())
		w.creds("app").mustRevoke()
		assert.Len(t, w.b.clients.Connections(), 1, "the config's own")
		assert.Contains(t, w.b.clients.Connections(), w.config().Connection)
	})
}
