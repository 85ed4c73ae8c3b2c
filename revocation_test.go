package palettesecrets

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Whether a revocation ends a session's other tokens is not known: either is safe.
func TestRevocationEndsEveryTokenOfTheLease(t *testing.T) {
	for _, scope := range []palettetest.RevokeScope{palettetest.ByToken, palettetest.BySession} {
		bubble(t, fmt.Sprint(scope), func(t *testing.T) {
			w := configured(t, palettetest.WithRevokeScope(scope))
			l := w.creds("app")
			other := w.creds("app")
			for range 3 {
				time.Sleep(time.Minute)
				l.mustRenew()
			}
			calls := w.palette.TotalCalls()
			l.mustRevoke()
			assert.Equal(t, []string{other.token()}, w.palette.LiveTokens())
			assert.Equal(t, calls+1, w.palette.TotalCalls(), "all in one call")
			l.mustRevoke() // once more: a 401 for each
			other.mustRevoke()
		})
	}
}

func TestRevocationOutlivesRoleConfigAndPassword(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world, l *heldLease)
	}{
		{"role deleted", func(w *world, _ *heldLease) { w.remove("roles/app") }},
		{"config deleted", func(w *world, _ *heldLease) { w.remove("config") }},
		{"both deleted, and a restart", func(w *world, _ *heldLease) { w.remove("roles/app"); w.remove("config"); w.mount() }},
		{"password changed", func(w *world, _ *heldLease) {
			w.palette.SetPassword("vault@example.com", "example", "Another-Password-1")
			w.write("config", fields{"password": "Another-Password-1"})
		}},
		{"config leads elsewhere", func(w *world, _ *heldLease) {
			w.write("config", w.login(fields{"address": "https://palette.example.com", "verify_connection": false}))
		}},
		{"config leads elsewhere, and is deleted", func(w *world, _ *heldLease) {
			w.write("config", w.login(fields{"address": "https://palette.example.com", "ca_cert": "", "verify_connection": false}))
			w.remove("config")
		}},
		{"config got its CA only after the issue, and is deleted", func(w *world, _ *heldLease) {
			w.write("config", w.login(fields{"tls_skip_verify": true}))
			w.write("config", w.login(fields{"tls_skip_verify": false, "ca_cert": string(w.palette.CA()), "tls_server_name": "localhost"}))
			w.remove("config")
		}},
		{"role led to another config of the same login, renewed, and both deleted", func(w *world, l *heldLease) {
			w.write("config/b", w.login(fields{"ca_cert": string(w.palette.CA())}))
			w.write("config", w.login(fields{"ca_cert": "", "verify_connection": false})) // does not reach Palette any more
			w.write("roles/app", fields{"config_name": "b"})
			l.mustRenew()
			w.remove("config/b")
			w.remove("config")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := onSockets(t, palettetest.WithTLS())
			w.write("config", w.login(fields{"ca_cert": string(w.palette.CA())}))
			w.write("roles/app", fields{"renewable": true})
			l := w.creds("app")
			c.prepare(w, l)
			l.mustRevoke()
			assert.Empty(t, w.palette.LiveTokens())
		})
	}
}

func TestRevocationByTheBareAddressWhenNothingElseIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.remove("config")
		for _, key := range w.keys(store.ConnectionPrefix) {
			require.NoError(t, w.storage.Delete(t.Context(), key))
		}
		l.mustRevoke()
	})
}

func TestKeptConnectionsGoWhenNoTokenCanNeedThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.system.DefaultLeaseTTLVal, w.system.MaxLeaseTTLVal = time.Hour, time.Hour
		l := w.creds("app")
		w.remove("config")
		time.Sleep(store.ConnectionKept - 2*time.Minute)
		w.minute()
		assert.Len(t, w.keys(store.ConnectionPrefix), 1)
		w.minute()
		assert.Empty(t, w.keys(store.ConnectionPrefix))
		l.mustRevoke() // its token is long dead
	})
}

func TestRevocationOfDeadTokensNeedsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		time.Sleep(15 * time.Minute)
		w.palette.Down(true)
		calls := w.palette.TotalCalls()
		l.mustRevoke()
		assert.Equal(t, calls, w.palette.TotalCalls())
	})
}

// A 401 says that the token which authenticated the call is dead, and nothing of others.
func TestRevocationGoesOnAfterA401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		first := l.token()
		time.Sleep(time.Minute)
		l.mustRenew()
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 401, Times: 1})
		require.True(t, w.palette.Alive(first))
		l.mustRevoke()
		assert.False(t, w.palette.Alive(first), "the second call, authenticated by the first token, ended it")
		time.Sleep(15 * time.Minute)
	})
}

func TestRevocationWithATokenThatPaletteRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithStrictRevoke(), palettetest.AllowLiveTokens())
		l := w.creds("app")
		time.Sleep(time.Minute)
		l.mustRenew()
		both := l.tokens()
		require.NoError(t, w.b.revocations.End(t.Context(), revocation.AccountOf(w.config()), []store.Token{{Token: secret(both[0]), ExpiresAt: time.Now()}}))
		l.mustRevoke() // Palette refuses the two together; apart, one ends and the other is dead
		assert.False(t, w.palette.Alive(both[1]))
	})
}

func TestRevocationWithoutTheEndpointIsSuccessWithAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithoutRevoke(), palettetest.AllowLiveTokens())
		l := w.creds("app")
		l.mustRevoke()
		assert.Contains(t, w.log.String(), "no endpoint to revoke")
		assert.Contains(t, w.log.String(), "2026-03-01 12:15:00", "when the token dies by itself")
		assert.Zero(t, w.pending())
	})
}

// Palette is down: the engine makes the revocation pending, asks Vault to try again for 30 seconds,
// then answers with success and goes on by itself each minute.
func TestRevocationWhilePaletteIsDown(t *testing.T) {
	for _, fault := range []palettetest.Fault{{Status: 503}, {Status: 429}, {Drop: true}, {Garbage: true, Status: 502}, {Garbage: true}, {Status: 400}} {
		bubble(t, fmt.Sprint(fault), func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			w.palette.Inject(palettetest.Revoke, fault)
			requireCoded(t, l.revoke(), http.StatusBadGateway, "is pending in Vault's storage", "each minute")
			assert.Equal(t, 1, w.pending())

			time.Sleep(29 * time.Second)
			requireCoded(t, l.revoke(), http.StatusBadGateway, "pending")
			time.Sleep(time.Second)
			l.mustRevoke()
			assert.Contains(t, w.log.String(), revocation.MsgLeaseEndsPending)
			assert.Equal(t, 1, w.pending())

			w.minute()
			assert.Equal(t, 1, w.pending(), "Palette is still down")
			assert.True(t, w.palette.Alive(l.token()))
			w.palette.ClearAll()
			w.minute()
			assert.Zero(t, w.pending())
			assert.False(t, w.palette.Alive(l.token()))
			assert.Contains(t, w.log.String(), revocation.MsgPendingRevoked)
		})
	}
}

func TestRevocationThatWorksAtTheSecondTryIsNotPendingAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 500, Times: 1})
		require.Error(t, l.revoke())
		l.mustRevoke()
		assert.Zero(t, w.pending())
	})
}

func TestPendingRevocationOfDeadTokensIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.Down(true)
		require.Error(t, l.revoke())
		time.Sleep(15 * time.Minute)
		calls := w.palette.TotalCalls()
		w.minute()
		assert.Zero(t, w.pending())
		assert.Equal(t, calls, w.palette.TotalCalls())
	})
}

func TestPendingRevocationSurvivesARestartAndTheConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.palette.Down(true)
		require.Error(t, l.revoke())
		w.remove("config")
		w.mount()
		w.palette.Down(false)
		w.minute()
		assert.Zero(t, w.pending())
		assert.Empty(t, w.palette.LiveTokens())
	})
}

// With Palette down each try takes request_timeout: one an address and run.
func TestPendingRevocationsAskADownPaletteOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		var leases []*heldLease
		for range 5 {
			leases = append(leases, w.creds("app"))
		}
		w.palette.Down(true)
		for _, l := range leases {
			require.Error(t, l.revoke())
		}
		calls := w.palette.TotalCalls()
		w.minute()
		assert.Equal(t, calls+1, w.palette.TotalCalls())
		w.palette.Down(false)
		w.minute()
		assert.Zero(t, w.pending())
	})
}

func TestRevocationStorageFaults(t *testing.T) {
	for _, c := range []struct{ op, prefix string }{{"get", store.PendingPrefix}, {"get", store.ConfigPrefix}, {"put", store.PendingPrefix}} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := configured(t)
			l := w.creds("app")
			w.uncache()
			w.storage.failOn(c.op, c.prefix)
			w.palette.Down(true)
			require.ErrorIs(t, l.revoke(), errDisk, "%s of %s", c.op, c.prefix)
			w.storage.heal()
			w.palette.Down(false)
			l.mustRevoke() // Vault tries again
		})
	}
}

func TestKeptConnectionFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		w.remove("config")
		w.storage.failOn("get", store.ConnectionPrefix)
		require.ErrorIs(t, l.revoke(), errDisk)
		require.ErrorIs(t, w.periodic(), errDisk)
		w.storage.failOn("delete", store.ConnectionPrefix)
		time.Sleep(month + time.Hour) // API keys may live as long as the mount lets a lease last
		require.ErrorIs(t, w.periodic(), errDisk)
		w.storage.heal()
		key := w.keys(store.ConnectionPrefix)[0]
		w.plant(key, "{")
		assert.ErrorContains(t, w.b.clients.EachMinute(t.Context(), w.storage), "cannot be decoded")
	})
}

// The caller hangs up in the middle of a revocation: the pending revocation is written all the same.
func TestRevocationWhoseCallerHangsUpIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		l := w.creds("app")
		gate := w.palette.Hold(palettetest.Revoke)
		defer gate.Release()
		require.ErrorContains(t, w.hangUp(gate, logical.RevokeRequest("creds/app", l.secret, l.data)), "is pending in Vault's storage")
		assert.Equal(t, 1, w.pending())
		gate.Release()
		w.minute()
		assert.Zero(t, w.pending())
	})
}
