package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// longLife outlives the outage, so that whoever ends the tokens here it is not their own
	// expiry.
	longLife = time.Hour
	// hangTimeout is the config's request_timeout, and hangBound what a call may take all the
	// same when Palette does not answer.
	hangTimeout = 10 * time.Second
	hangBound   = hangTimeout + slack
	// failBound is what a call may take when Palette says at once that it is not there. Four
	// tries and their pauses take up to 2.2 s.
	failBound = 2200*time.Millisecond + slack
	// slack is for a busy machine.
	slack = 3 * time.Second
	// overBound is how long after Palette's return all is dead that was to end meanwhile: the
	// engine goes through its list each minute.
	overBound = 2 * time.Minute
	// betweenRounds is the pause between two looks at how reads and renewals fail.
	betweenRounds = 5 * time.Second
	// prefixLeases are those that end by their prefix in each part of the outage.
	prefixLeases = 10
)

// breakdown is a way in which Palette is away.
type breakdown struct {
	name   string
	begin  func(*fixture, *door) (end func())
	says   string // in each error
	within time.Duration
}

var breakdowns = []breakdown{
	{"connections are refused", func(_ *fixture, d *door) func() {
		d.shut()
		return d.reopen
	}, "connection refused", failBound},
	{"no call is answered", func(f *fixture, _ *door) func() {
		var gates []*palettetest.Gate
		for _, e := range engineCalls {
			gates = append(gates, f.palette.Hold(e))
		}
		return func() {
			for _, g := range gates {
				g.Release()
			}
		}
	}, "no answer within 10s (request_timeout)", hangBound},
	{"each call is answered 503", func(f *fixture, _ *door) func() {
		for _, e := range engineCalls {
			f.palette.Inject(e, palettetest.Fault{Status: 503})
		}
		return f.palette.ClearAll
	}, "it answered 503", failBound},
}

// engineCalls are the calls that the engine makes.
var engineCalls = []palettetest.Endpoint{
	palettetest.Login, palettetest.Refresh, palettetest.Revoke, palettetest.UserInfo,
	palettetest.APIKeyCreate, palettetest.APIKeyUpdate, palettetest.APIKeyDelete, palettetest.APIKeyList,
}

// longOutage is a mount whose Palette is away for long.
type longOutage struct {
	*fixture
	door *door
	// kept are leases, by role, that live through it; the others end in it, and what they
	// hold with them. Of these some are revoked one by one, in each part others.
	kept         map[string]*api.Secret
	leases       []string
	revoked      [][]string
	tokens, keys []string

	mu   sync.Mutex
	took map[string][]time.Duration // by breakdown and operation
}

// Palette is away for 20 minutes, in three ways. Reads say so within a bound, leases that
// live on stay as they are, and those that end meanwhile do so in Vault: Vault would give
// them up within 5 to 15.5 minutes. What they held dies when Palette is back.
func TestALongOutage(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("OUTAGE"))
	if err != nil {
		t.Skip("OUTAGE is not set: how long Palette is to be away; `make outage` takes 20m")
	}
	part := lasts / time.Duration(len(breakdowns))
	o := newLongOutage(t, part)
	before := map[string]time.Time{"app": o.endOf(o.kept["app"].LeaseID), "key": o.endOf(o.kept["key"].LeaseID)}
	expiry := o.keyOf(o.kept["key"]).Expiry

	began := time.Now()
	back := func() {}
	for i, b := range breakdowns {
		next := b.begin(o.fixture, o.door)
		back() // the way before: at no time is Palette there
		back = next
		o.away(i, b, began.Add(part*time.Duration(i+1)))
	}
	for _, lease := range o.leases {
		o.leaseEnds(lease, givenUp)
	}
	t.Logf("Palette was away for %s; Vault has let go of %d leases, and given up none", time.Since(began).Round(time.Second), len(o.leases))
	assert.Equal(t, "0", o.vault.irrevocable(t))
	o.assertAlive(len(o.tokens), len(o.keys), "the leases are gone, and what they held is on the engine's list")
	for role, end := range before {
		assert.Equal(t, end, o.endOf(o.kept[role].LeaseID), "a renewal that failed leaves the lease of %s as it was", role)
	}
	assert.Equal(t, expiry, o.keyOf(o.kept["key"]).Expiry)
	o.report()

	back()
	began = time.Now()
	require.Eventually(t, func() bool { t, k := o.alive(); return t+k == 0 }, overBound, often)
	t.Logf("%d tokens and %d API keys died within %.0f s of Palette's return", len(o.tokens), len(o.keys), time.Since(began).Seconds())
	o.goesOn()
	assert.Equal(t, "0", o.vault.irrevocable(t))
	assert.Zero(t, o.palette.FailedLogins())
}

// newLongOutage issues all leases. Of those of a part, two run out in its midst.
func newLongOutage(t *testing.T, part time.Duration) *longOutage {
	t.Helper()
	palette := palettetest.New(t, palettetest.WithLifetime(longLife), palettetest.WithRateLimit(perSecond))
	door := newDoor(t, palette)
	v := ownServer(t, vaulttest.InMemory)
	watchPalette(v, palette)
	f := mountFor(t, v, palette, "palette")
	o := &longOutage{fixture: f, door: door, kept: make(map[string]*api.Secret), took: make(map[string][]time.Duration)}
	f.pace("", map[string]any{"address": o.door.URL, "request_timeout": hangTimeout.String()})
	f.write("roles/app", map[string]any{"renewable": true})
	f.write("roles/key", map[string]any{"credential_type": "api_key", "ttl": longLife.String()})
	f.write("roles/shared", map[string]any{"shared": true, "renewable": true})
	for i := range breakdowns {
		prefix := fmt.Sprintf("prefix%d", i)
		f.write("roles/"+prefix, map[string]any{"renewable": true})
		for range prefixLeases {
			o.issueDoomed(prefix, 0)
		}
		for range 2 {
			// What is issued takes its time, and must not run out before the outage begins.
			o.issueDoomed("app", part*time.Duration(i)+part/2+30*time.Second)
		}
		o.revoked = append(o.revoked, []string{o.issueDoomed("app", 0), o.issueDoomed("app", 0), o.issueDoomed("key", 0)})
		renewed, err := f.api.Sys().RenewWithContext(t.Context(), o.revoked[i][0], 0)
		require.NoError(t, err)
		o.tokens = append(o.tokens, tokenOf(t, renewed))
	}
	for _, role := range []string{"app", "key", "shared"} {
		o.kept[role] = o.issue(role, 0)
	}
	return o
}

// issue reads a credential, with a ttl unless it is 0.
func (o *longOutage) issue(role string, ttl time.Duration) *api.Secret {
	o.t.Helper()
	fields := map[string][]string{}
	if ttl > 0 {
		fields["ttl"] = []string{ttl.Round(time.Second).String()}
	}
	secret, err := o.api.Logical().ReadWithDataWithContext(o.t.Context(), o.mount+"/creds/"+role, fields)
	require.NoError(o.t, err)
	return secret
}

// issueDoomed is issue for a lease that is to end in the outage.
func (o *longOutage) issueDoomed(role string, ttl time.Duration) string {
	o.t.Helper()
	secret := o.issue(role, ttl)
	o.leases = append(o.leases, secret.LeaseID)
	if key, is := secret.Data["api_key"].(string); is {
		o.keys = append(o.keys, key)
	} else {
		o.tokens = append(o.tokens, tokenOf(o.t, secret))
	}
	return secret.LeaseID
}

// away is one part of the outage: leases are revoked in each way, and then reads and
// renewals are tried again and again.
func (o *longOutage) away(i int, b breakdown, until time.Time) {
	o.t.Helper()
	for _, lease := range o.revoked[i] {
		out, err := o.vault.CLI(o.t.Context(), "", "lease", "revoke", "-sync", lease)
		require.NoError(o.t, err)
		require.Equal(o.t, 2, out.Code, "%s: a revocation must say that Palette is away", b.name)
		assert.Contains(o.t, out.Stderr, "is pending in Vault's storage")
		o.cli("lease", "revoke", lease) // asynchronously, which Vault repeats
	}
	o.cli("lease", "revoke", "-prefix", fmt.Sprintf("%s/creds/prefix%d", o.mount, i))
	for {
		o.round(b)
		if !time.Now().Before(until) {
			break
		}
		time.Sleep(min(betweenRounds, time.Until(until)))
	}
}

// round tries what must fail, and what must not, all at once.
func (o *longOutage) round(b breakdown) {
	var asking sync.WaitGroup
	ask := func(name string, status int, call func() (*api.Secret, error)) {
		asking.Go(func() {
			began := time.Now()
			_, err := call()
			o.note(b, name, time.Since(began))
			if status == 0 {
				assert.NoError(o.t, err, "%s while %s", name, b.name)
				return
			}
			var answer *api.ResponseError
			if assert.ErrorAs(o.t, err, &answer, "%s while %s", name, b.name) {
				assert.Equal(o.t, status, answer.StatusCode, err.Error())
				assert.Contains(o.t, err.Error(), b.says, name)
				assert.Contains(o.t, err.Error(), strings.TrimPrefix(o.door.URL, "http://"), name)
			}
		})
	}
	for role, status := range map[string]int{"app": 502, "key": 502, "shared": 0} {
		for range 2 {
			ask("read of "+role, status, func() (*api.Secret, error) { return o.creds(role) })
		}
	}
	for role, status := range map[string]int{"app": 400, "key": 400, "shared": 0} { // Vault makes 400 of each
		ask("renewal of "+role, status, func() (*api.Secret, error) {
			return o.api.Sys().RenewWithContext(o.t.Context(), o.kept[role].LeaseID, 0)
		})
	}
	asking.Wait()
}

func (o *longOutage) note(b breakdown, name string, took time.Duration) {
	assert.Less(o.t, took, b.within, "%s while %s", name, b.name)
	o.mu.Lock()
	defer o.mu.Unlock()
	key := fmt.Sprintf("%-27s %s", b.name, name)
	o.took[key] = append(o.took[key], took)
}

// report shows how long calls have taken, the longest of all too.
func (o *longOutage) report() {
	var lines []string
	for key, took := range o.took {
		slices.Sort(took)
		lines = append(lines, fmt.Sprintf("%-47s n %3d  p50 %5.2f s  p100 %5.2f s", key, len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds()))
	}
	slices.Sort(lines)
	o.t.Logf("the bound of p100 is %s, and %s where no call is answered\n%s", failBound, hangBound, strings.Join(lines, "\n"))
}

// alive counts what of the ended leases is alive at Palette.
func (o *longOutage) alive() (tokens, keys int) {
	for _, token := range o.tokens {
		if o.palette.Alive(token) {
			tokens++
		}
	}
	for _, key := range o.keys {
		if o.palette.KeyAlive(key) {
			keys++
		}
	}
	return tokens, keys
}

func (o *longOutage) assertAlive(tokens, keys int, why string) {
	o.t.Helper()
	t, k := o.alive()
	assert.Equal(o.t, []int{tokens, keys}, []int{t, k}, why)
}

// goesOn shows that what lived through the outage is whole.
func (o *longOutage) goesOn() {
	o.t.Helper()
	for role, kept := range o.kept {
		renewed, err := o.api.Sys().RenewWithContext(o.t.Context(), kept.LeaseID, 0)
		require.NoError(o.t, err, role)
		if role == "key" {
			assert.True(o.t, o.palette.KeyAlive(kept.Data["api_key"].(string)))
			continue
		}
		assert.True(o.t, o.palette.Alive(tokenOf(o.t, renewed)), role)
		assert.True(o.t, o.palette.Alive(tokenOf(o.t, o.issue(role, 0))), role)
	}
}
