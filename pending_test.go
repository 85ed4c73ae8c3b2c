package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/revocation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// A revocation that fails leaves the lease in Vault, where it can be renewed: what that
// brings has to end too.
func TestPendingRevocationOfALeaseThatIsRenewed(t *testing.T) {
	bubble(t, "a token", func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500, Times: 1})
		require.Error(t, l.revoke())
		time.Sleep(revocation.RetryAfter)
		l.mustRenew()
		l.mustRevoke()
		w.minute()
		assert.Zero(t, w.pending())
	})
	bubble(t, "an API key", func(t *testing.T) {
		w := issuing(t)
		l := w.creds("key")
		time.Sleep(50 * time.Minute)
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500})
		require.Error(t, l.revoke())
		time.Sleep(revocation.RetryAfter)
		l.mustRenew()
		require.Error(t, l.revoke(), "the pending deletion has another expiry")
		for range 12 { // until the first expiry is over
			w.minute()
		}
		w.palette.ClearAll()
		w.minute()
		assert.Zero(t, w.pending())
		assert.Empty(t, w.palette.LiveKeys())
		w.remove("sessions/default")
	})
}

// crowds are pending API keys of two configs: six of config b, six of the default one.
func (w *world) crowds(other fields) {
	w.t.Helper()
	w.write("config/b", other)
	w.write("roles/b", fields{"config_name": "b", "credential_type": "api_key", "ttl": "5h"})
	w.write("roles/key", fields{"ttl": "5h"})
	var all []*heldLease
	for range 6 {
		all = append(all, w.creds("b"), w.creds("key"))
	}
	w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500})
	for _, l := range all {
		require.Error(w.t, l.revoke())
	}
	w.palette.ClearAll()
	require.Equal(w.t, 12, w.pending())
}

func TestPendingKeysOfOneConfigDoNotWaitForThoseOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t, palettetest.AllowLiveTokens())
		w.crowds(w.login(fields{"email": admin.Email, "password": admin.Password}))
		w.plant("config/b", "{")
		w.uncache()
		time.Sleep(time.Minute)
		require.ErrorContains(t, w.periodic(), "config/b")
		assert.Equal(t, 6, w.pending(), "those of the config that can be read are deleted")
	})
}
