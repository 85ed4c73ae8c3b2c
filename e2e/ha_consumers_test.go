package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// polling is how far apart what a failover's end and a dead token's are seen by may be: two
// looks at a file, two of the balancer at a node, two calls of the application. That is half a
// second, and more where other tests run. Who loses a lease in a failover presents a dead token
// until the next renewal: for a third of its life, haLife / 3, or longer.
const polling = 4 * time.Second

// needed is when a consumer is about to need Vault, counted from when it got its token: the
// application renews at two thirds of the token's life, the Agent reads at three quarters.
const needed = haLife * 13 / 20

// consumers are the application and the Vault Agent of examples/, on a mount of their own. Their
// address is that of a load balancer before a cluster.
type consumers struct {
	*examples
	balancer   *balancer
	app, agent *program
	stop       func() // no more looks into the Agent's file
	each       []*consumer

	// underWay are the tokens that Palette gave out around the kills: it may be that nobody got
	// them.
	underWay []string
}

// consumer is one of them, known by its calls with a token.
type consumer struct {
	name    string
	of      func(recorded) bool
	checked int // of its calls
}

// startConsumers sets examples/ up on a cluster, and starts what uses it.
func startConsumers(t *testing.T, c *cluster) *consumers {
	t.Helper()
	x := &consumers{
		examples: &examples{t: t, vault: c.settled(t), palette: palettetest.New(t, palettetest.WithLifetime(haLife))},
		each:     []*consumer{{name: "the application", of: ofApp}, {name: "the Agent", of: ofLooks}},
	}
	x.calls = newRecorder(t, x.palette)
	watchPalette(c, x.palette)
	client, err := x.vault.Client()
	require.NoError(t, err)
	x.api = client
	x.setUp(t)
	x.balancer = newBalancer(t, c)
	require.NoError(t, client.SetAddress(x.balancer.URL))
	x.app = x.startApp(t, "VAULT_ADDR="+x.balancer.URL)
	agent, file := x.startAgent(t, "VAULT_ADDR="+x.balancer.URL)
	x.agent, x.stop = agent, x.lookAt(t, file)
	require.Eventually(t, func() bool { return strings.Contains(x.app.said(), "msg=renewed") }, soon, often)
	return x
}

// awaitNeed returns that long before one of them is about to need Vault, or at once where that
// is past.
func (x *consumers) awaitNeed(before time.Duration) {
	oldest := time.Now()
	for _, who := range x.each {
		calls := x.calls.that(who.of)
		newest := calls[len(calls)-1].token
		got := calls[slices.IndexFunc(calls, func(c recorded) bool { return c.token == newest })].at
		if got.Before(oldest) {
			oldest = got
		}
	}
	time.Sleep(time.Until(oldest.Add(needed - before)))
}

// survive waits until each presents a token that lives and was issued after the failover. None
// may have presented a dead one for longer than Vault was away.
func (x *consumers) survive(t *testing.T, f *failover) {
	t.Helper()
	t.Logf("by then Vault has been asked in vain %d times", x.balancer.refused.Load())
	x.underWay = append(x.underWay, x.palette.Issued()[f.before:f.after]...)
	old := x.palette.Issued()[:f.after]
	for _, who := range x.each {
		var calls []recorded
		goesOn := func() bool {
			calls = x.calls.that(who.of)
			last := calls[len(calls)-1]
			return last.status == http.StatusOK && !slices.Contains(old, last.token)
		}
		require.Eventually(t, goesOn, haLife+soon, often, "%s must get a new token", who.name)
		calls, who.checked = calls[who.checked:], len(calls)
		dead := deadFor(calls)
		t.Logf("%s: %d calls with %d tokens; a dead one for %.1f s, and Vault was away for %.1f s", who.name, len(calls), len(tokens(calls)), dead.Seconds(), f.away.Seconds())
		assert.LessOrEqual(t, dead, f.away+polling, who.name)
		assert.Greater(t, len(calls), 50, who.name)
	}
}

// end ends them and the mount. What lives on then is what nobody got.
func (x *consumers) end(t *testing.T) {
	t.Helper()
	assert.Positive(t, x.balancer.refused.Load(), "nobody has needed Vault while it was away")
	x.stop()
	require.Zero(t, x.agent.end(t))
	require.Zero(t, x.app.end(t))
	assert.Contains(t, x.app.said(), "revoked the lease")
	assert.Empty(t, leaksIn("what they said", x.app.said()+x.agent.said(), x.palette.Issued()))
	require.NoError(t, x.api.Sys().UnmountWithContext(t.Context(), "palette"))
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Subset(c, x.underWay, x.palette.LiveTokens(), "tokens live on that somebody got")
	}, soon, often)
	assert.Eventually(t, func() bool { return len(x.palette.LiveTokens()) == 0 }, haLife, often)
}

// lookAt tries the token in the Agent's file at Palette, again and again until stop.
func (x *examples) lookAt(t *testing.T, file string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			token := tokenIn(file)
			assert.NotEmpty(t, token, "the file is never without a token")
			_, err := callPalette(t.Context(), x.calls.URL, token)
			assert.NoError(t, err)
			time.Sleep(often)
		}
	})
	stop = func() { cancel(); looking.Wait() }
	t.Cleanup(stop)
	return stop
}

// ofLooks tells whether a call is one of lookAt's.
func ofLooks(c recorded) bool {
	return c.path == "/v1/users/info" && strings.HasPrefix(c.agent, "Go-http-client")
}

// deadFor is the longest time from a call with a dead token to the next one that works.
func deadFor(calls []recorded) time.Duration {
	var longest time.Duration
	var since time.Time // zero: the last call has worked
	for _, c := range calls {
		works := c.status == http.StatusOK
		if since.IsZero() && !works {
			since = c.at
		}
		if !since.IsZero() {
			longest = max(longest, c.at.Sub(since))
		}
		if works {
			since = time.Time{}
		}
	}
	return longest
}

// deadFor has to find a dead token, or it proves nothing.
func TestDeadFor(t *testing.T) {
	t.Parallel()
	const ok, dead = http.StatusOK, http.StatusUnauthorized
	for _, row := range []struct {
		name     string
		statuses []int // one a second
		want     time.Duration
	}{
		{"never", []int{ok, ok, ok}, 0},
		{"to the next one that works", []int{ok, dead, dead, dead, ok}, 3 * time.Second},
		{"the longest", []int{dead, ok, dead, dead, ok}, 2 * time.Second},
		{"to the end", []int{ok, ok, dead, dead, dead}, 2 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var calls []recorded
			for n, status := range row.statuses {
				calls = append(calls, recorded{at: time.Unix(int64(n), 0), status: status})
			}
			assert.Equal(t, row.want, deadFor(calls))
		})
	}
}
