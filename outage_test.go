package palettesecrets

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/apikey"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	outage = 20 * time.Minute
	// vaultsTries is how often Vault tries a revocation before it gives the lease up.
	vaultsTries = 6
	// outageStep divides each of Vault's pauses and the minute.
	outageStep = 10 * time.Second
)

// vaultsPause is how long Vault waits after so many failures: 20 s doubled with each, give
// or take half (revokeExponentialBackoff of Vault 1.21.2).
func vaultsPause(failures int, spread float64) time.Duration {
	return time.Duration(float64(10*time.Second<<failures) * (1 + spread))
}

// endingLease is a lease that Vault is ending: how often that has failed, and when it is
// tried next.
type endingLease struct {
	*heldLease
	failures int
	next     time.Time
	over     bool
}

// longOutage is a mount whose Palette is away, and its leases: those that live through
// it, and those that end in it, one each minute and many at once.
type longOutage struct {
	*world
	spread    float64
	kept, key *heldLease
	ending    []*endingLease
}

// Palette is away for 20 minutes, with tokens that live for an hour. Vault would give up
// each lease that it cannot end in six tries, which takes it 5 to 15.5 minutes.
func TestOutageGivesUpNoLease(t *testing.T) {
	for _, c := range []struct {
		name   string
		away   func(*palettetest.Server)
		spread float64 // of Vault's pauses
	}{
		{"connections are closed, and Vault is early", func(p *palettetest.Server) { p.Down(true) }, -0.5},
		{"503, and Vault is late", func(p *palettetest.Server) { answerAll(p, palettetest.Fault{Status: 503}) }, 0.5},
		{"a proxy's page", func(p *palettetest.Server) { answerAll(p, palettetest.Fault{Garbage: true, Status: 502}) }, 0},
	} {
		bubble(t, c.name, func(t *testing.T) {
			o := newLongOutage(t, c.spread)
			c.away(o.palette)
			o.pass()
			o.palette.Down(false)
			o.palette.ClearAll()
			o.over()
		})
	}
}

// answerAll makes each call of the engine meet a fault.
func answerAll(p *palettetest.Server, f palettetest.Fault) {
	for _, e := range []palettetest.Endpoint{
		palettetest.Login, palettetest.Refresh, palettetest.Revoke,
		palettetest.APIKeyCreate, palettetest.APIKeyUpdate, palettetest.APIKeyDelete, palettetest.APIKeyList,
	} {
		p.Inject(e, f)
	}
}

func newLongOutage(t *testing.T, spread float64) *longOutage {
	t.Helper()
	w := configured(t, palettetest.WithLifetime(time.Hour))
	w.write("roles/key", fields{"credential_type": "api_key"})
	w.write("roles/many", fields{"shared": true, "renewable": true})
	o := &longOutage{world: w, spread: spread, kept: w.creds("app"), key: w.creds("key")}
	for after := time.Duration(0); after < outage; after += time.Minute {
		role := []string{"app", "key"}[len(o.ending)%2]
		o.ends(w.creds(role), after)
	}
	for range 10 { // by their prefix
		l := w.creds("app")
		l.mustRenew()
		o.ends(l, 3*time.Minute)
	}
	return o
}

// ends has a lease end so long after the outage's beginning.
func (o *longOutage) ends(l *heldLease, after time.Duration) {
	o.ending = append(o.ending, &endingLease{heldLease: l, next: time.Now().Add(after)})
}

// pass is the outage, step by step.
func (o *longOutage) pass() {
	o.t.Helper()
	for passed := time.Duration(0); passed < outage; passed += outageStep {
		o.tryDue()
		if passed%time.Minute == 0 {
			require.NoError(o.t, o.b.periodic(o.t.Context(), &logical.Request{Storage: o.storage}))
			o.says()
		}
		o.wait() // else the step is request_timeout for what is under way
		time.Sleep(outageStep)
	}
}

// tryDue does as Vault does, for each lease whose next try has come.
func (o *longOutage) tryDue() {
	o.t.Helper()
	for _, l := range o.ending {
		if l.over || l.next.After(time.Now()) {
			continue
		}
		if err := l.revoke(); err == nil {
			l.over = true
			continue
		}
		l.failures++
		require.Less(o.t, l.failures, vaultsTries, "Vault has given the lease up")
		l.next = time.Now().Add(vaultsPause(l.failures, o.spread))
	}
}

// says checks what is answered meanwhile.
func (o *longOutage) says() {
	o.t.Helper()
	for _, role := range []string{"app", "key"} {
		o.fault(logical.ReadOperation, "creds/"+role, nil, 502, "at Palette (127.0.0.1:")
	}
	o.creds("many").mustRenew() // by the session's present token
	tokens, expiry := o.kept.tokens(), o.key.key().Expiry
	require.Error(o.t, o.kept.renew())
	require.Error(o.t, o.key.renew())
	assert.Equal(o.t, tokens, o.kept.tokens(), "a renewal that failed leaves the lease as it was")
	assert.Equal(o.t, expiry, o.key.key().Expiry)
}

// over is the time after the outage: within two minutes all is dead that was to end.
func (o *longOutage) over() {
	o.t.Helper()
	o.minute()
	o.minute()
	o.tryDue()
	assert.Zero(o.t, o.pending())
	for _, l := range o.ending {
		assert.True(o.t, l.over)
		for _, token := range l.tokens() {
			assert.False(o.t, o.palette.Alive(token))
		}
	}
	assert.Len(o.t, o.palette.LiveKeys(), 1, "the one that was kept")
	o.kept.mustRenew()
	o.key.mustRenew()
	o.creds("many")
	o.kept.mustRevoke()
	o.key.mustRevoke()
	o.end()
}

// Keys that may have been made are looked for each minute: a Palette that is down is asked
// once for a config, since what comes after waits for it.
func TestKeysInterruptedAskAPaletteThatIsDownOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.write("config/b", w.login(fields{"email": admin.Email, "password": admin.Password}))
		w.write("roles/b", fields{"config_name": "b", "credential_type": "api_key"})
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true})
		for range 5 {
			w.fault(read, "creds/key", nil, http.StatusBadGateway)
			w.fault(read, "creds/b", nil, http.StatusBadGateway)
		}
		w.palette.ClearAll()
		w.palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 500})
		w.minute()
		assert.Equal(t, 2, w.palette.Calls(palettetest.APIKeyList))
		for _, key := range w.keys(framework.WALPrefix) { // Vault's rollback comes after it
			entry, err := framework.GetWAL(t.Context(), w.storage, strings.TrimPrefix(key, framework.WALPrefix))
			require.NoError(t, err)
			require.ErrorIs(t, w.b.walRollback(t.Context(), &logical.Request{Storage: w.storage}, entry.Kind, entry.Data), apikey.ErrBackedOff)
		}
		assert.Equal(t, 2, w.palette.Calls(palettetest.APIKeyList))
		assert.Len(t, w.keys(framework.WALPrefix), 10)
		w.palette.ClearAll()
		w.minute()
		w.remove("sessions/b")
		w.end()
	})
}

// A key that Palette refuses to look for says nothing of the others.
func TestKeysInterruptedAreEachAskedForWherePaletteRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 3})
		for range 3 {
			w.fault(read, "creds/key", nil, http.StatusBadGateway)
		}
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 403, Times: 1})
		w.minute()
		assert.Len(t, w.palette.LiveKeys(), 1)
		w.minute()
		w.end()
	})
}
