package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// polling is how far apart what a failover's end and a dead token's are seen by may be: two
// looks at a file, two of the balancer at a node, two calls of the application.
const polling = 500 * time.Millisecond

// The Vault Agent and the application of examples/ run through the death of the active node,
// which comes when each is about to need Vault. Neither presents a dead token for longer than
// Vault is away.
func TestConsumersSurviveAFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	x := &examples{t: t, vault: c.settled(t), palette: palettetest.New(t, palettetest.WithLifetime(haLife))}
	x.calls = newRecorder(t, x.palette)
	watchPalette(c, x.palette)
	client, err := x.vault.Client()
	require.NoError(t, err)
	x.api = client
	x.setUp(t)
	lb := newBalancer(t, c)
	app := x.startApp(t, "VAULT_ADDR="+lb.URL)
	agent, file := x.startAgent(t, "VAULT_ADDR="+lb.URL)
	stop := x.lookAt(t, file)

	// The application renews at two thirds of a token's life, the Agent reads at three quarters.
	require.Eventually(t, func() bool { return strings.Contains(app.said(), "msg=renewed") }, soon, often)
	time.Sleep(haLife * 13 / 20) // a little less than two thirds
	renewals, held := strings.Count(app.said(), "msg=renewed"), tokenIn(file)
	_, err = c.KillActive(t.Context())
	require.NoError(t, err)
	killed := time.Now()
	require.NoError(t, client.SetAddress(lb.URL))
	var read *api.Secret
	require.Eventually(t, func() bool {
		read, err = client.Logical().ReadWithContext(t.Context(), "palette/creds/app")
		return err == nil
	}, haLife, often, "the next node must serve")
	failover := time.Since(killed)
	require.True(t, x.palette.Alive(tokenOf(t, read)))
	// By then whoever has not noticed holds a dead token.
	time.Sleep(haLife + polling)
	stop()

	for name, calls := range map[string][]recorded{"the application": x.calls.that(ofApp), "the Agent": x.calls.that(ofLooks)} {
		dead := deadFor(calls)
		t.Logf("%s: %d tokens in %d calls; a dead one for %.1f s, and Vault was away for %.1f s", name, len(tokens(calls)), len(calls), dead.Seconds(), failover.Seconds())
		assert.LessOrEqual(t, dead, failover+polling, name)
		assert.Greater(t, len(calls), 100)
		assert.Equal(t, http.StatusOK, calls[len(calls)-1].status, name)
	}
	assert.Greater(t, strings.Count(app.said(), "msg=renewed"), renewals, "the lease goes on, or a new one")
	assert.NotEqual(t, held, tokenIn(file))
	require.Zero(t, agent.end(t))
	require.Zero(t, app.end(t))
	assert.Contains(t, app.said(), "revoked the lease")
	assert.Empty(t, leaksIn("what they said", app.said()+agent.said(), x.palette.Issued()))
	require.NoError(t, client.Sys().UnmountWithContext(t.Context(), "palette"))
	require.Eventually(t, func() bool { return len(x.palette.LiveTokens()) == 0 }, haLife, often, "what was under way at the kill dies by itself")
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
