package palettesecrets

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/revocation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/upstream"
)

// crowd is n leases.
func (w *world) crowd(n int) []*heldLease {
	w.t.Helper()
	leases := make([]*heldLease, n)
	for i := range leases {
		leases[i] = w.creds("app")
	}
	return leases
}

// revokeAll revokes leases at once: one goes out, and the others arrive meanwhile.
func (w *world) revokeAll(leases []*heldLease) []error {
	w.t.Helper()
	gate := w.palette.Hold(palettetest.Revoke)
	errs := make([]error, len(leases))
	var all sync.WaitGroup
	all.Go(func() { errs[0] = leases[0].revoke() })
	<-gate.Arrived()
	for i := range leases[1:] {
		all.Go(func() { errs[i+1] = leases[i+1].revoke() })
	}
	synctest.Wait()
	gate.Release()
	all.Wait()
	return errs
}

func TestRevocationBatchTakesWhatArrivesDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		calls := w.palette.Calls(palettetest.Revoke)
		for _, err := range w.revokeAll(w.crowd(251)) {
			require.NoError(t, err)
		}
		assert.Equal(t, calls+4, w.palette.Calls(palettetest.Revoke), "1, 100, 100 and 50")
		assert.Equal(t, revocation.MaxBatch, w.palette.LargestRevoke())
		assert.Empty(t, w.palette.LiveTokens())
	})
}

func TestRevocationBatchCountsTokensNotLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		leases := w.crowd(40)
		for _, l := range leases {
			for range 2 {
				time.Sleep(time.Second)
				l.mustRenew()
			}
		}
		calls := w.palette.Calls(palettetest.Revoke)
		for _, err := range w.revokeAll(leases) {
			require.NoError(t, err)
		}
		assert.Equal(t, calls+3, w.palette.Calls(palettetest.Revoke), "3, 99 and 18 tokens")
		assert.Equal(t, 99, w.palette.LargestRevoke())
	})
}

// One bad token fails alone, and each lease gets its own answer.
func TestRevocationBatchWithOneBadTokenIsTakenApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithStrictRevoke())
		leases := w.crowd(50)
		bad := leases[33]
		bad.secret.InternalData = viaJSON(t, bad.secret.InternalData)
		good := bad.token()
		bad.secret.InternalData["tokens"].([]any)[0].(map[string]any)["token"] = jwtWith(`{"jti":"nobody's"}`)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{})
		errs := w.revokeAll(leases)
		for i, err := range errs {
			if i == 33 {
				continue
			}
			require.NoError(t, err, i)
		}
		require.NoError(t, errs[33], "a token that nobody knows is a dead one: asked for alone, it gets a 401")
		assert.Equal(t, []string{good}, w.palette.LiveTokens())
		time.Sleep(15 * time.Minute)
	})
}

func TestRevocationBatchIsOneAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := palettetest.User{Email: "b@example.com", Org: "example", Password: "Another-Password-1"}
		w := configured(t)
		w.palette.AddUser(other)
		w.write("config/b", w.login(fields{"email": other.Email, "password": other.Password}))
		w.write("roles/b", fields{"config_name": "b", "renewable": true})
		leases := w.crowd(3)
		for range 3 {
			leases = append(leases, w.creds("b"))
		}
		var all sync.WaitGroup
		for _, l := range leases {
			all.Go(l.mustRevoke)
		}
		all.Wait() // Palette refuses tokens of another user, and nothing of that is in the log
		assert.Empty(t, w.palette.LiveTokens())
		assert.NotContains(t, w.log.String(), "[WARN]")
	})
}

func TestRevocationBatchOfADownPaletteFailsForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		leases := w.crowd(30)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500})
		for _, err := range w.revokeAll(leases) {
			require.ErrorContains(t, err, "is pending in Vault's storage")
		}
		assert.Equal(t, 30, w.pending())
		w.palette.ClearAll()
		calls := w.palette.Calls(palettetest.Revoke)
		w.minute()
		assert.Zero(t, w.pending())
		assert.Equal(t, calls+1, w.palette.Calls(palettetest.Revoke), "together")
	})
}

// buggy panics in each call.
type buggy struct{ upstream.API }

func (buggy) Close() {}

func TestRevocationBatchSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		works := w.b.clients.New
		w.b.clients.New = func(palette.Connection) (upstream.API, error) { return buggy{}, nil }
		w.b.clients.DropAll()
		require.Error(t, l.revoke())
		w.wait()
		w.b.clients.New = works
		require.Len(t, w.b.clients.Connections(), 1)
		w.write("config", fields{"request_timeout": 7}) // another client
		l.mustRevoke()
	})
}
