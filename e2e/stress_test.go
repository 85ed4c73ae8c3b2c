package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	stressClients = 8
	stressOps     = 5000
	// heldLeases is how many leases a client keeps at most.
	heldLeases = 12
	// raceReport begins what the race detector prints.
	raceReport = "DATA RACE"
)

// stress is a mount under a load of all that clients and operators do.
type stress struct {
	*fixture
	// more tells whether there is another call to make.
	more func() bool

	mu     sync.Mutex
	counts map[string]int
}

// stressClient is one of those who do it. Its roles for plain and API key leases are its
// own, so that it knows what their prefixes end; the shared role and the config are all
// clients'.
type stressClient struct {
	*stress
	n      int
	rand   *rand.Rand
	leases []heldLease
}

// heldLease is a lease and the role that it is of.
type heldLease struct {
	id, role  string
	renewable bool
}

// stressOp is what a client does, how often of all times, and which error it may meet.
type stressOp struct {
	name   string
	weight int
	do     func(*stressClient) error
	// may is the status and the text of an error that others cause.
	status int
	may    string
}

// endedTwice is for a key's call whose session is ended under it, and the next one too.
const endedTwice = `API key for config "default" (Palette's message "the token is invalid or has expired"`

var stressMix = []stressOp{
	{"read of a token", 18, (*stressClient).readOwn, 0, ""},
	{"read of a shared session", 14, func(c *stressClient) error { return c.issue("shared") }, 0, ""},
	{"read of an API key", 10, func(c *stressClient) error { return c.issue(c.role("key")) }, http.StatusBadRequest, endedTwice},
	{"renewal", 20, (*stressClient).renew, http.StatusBadRequest, endedTwice},
	{"revocation, waited for", 10, func(c *stressClient) error { return c.revoke(true) }, 0, ""},
	{"revocation", 8, func(c *stressClient) error { return c.revoke(false) }, 0, ""},
	{"revocation by prefix", 1, func(c *stressClient) error { return c.revokePrefix(true) }, 0, ""},
	{"revocation by prefix, not waited for", 1, func(c *stressClient) error { return c.revokePrefix(false) }, 0, ""},
	{"write of the config", 4, (*stressClient).writeConfig, http.StatusConflict, "is being changed by others at the same time"},
	{"write of a role", 4, (*stressClient).writeRole, 0, ""},
	{"a config that comes and goes", 1, (*stressClient).comeAndGo, 0, ""},
	{"read of the session", 3, func(c *stressClient) error { return c.look("sessions/default", "config", "roles/shared") }, 0, ""},
	{"end of the session", 1, (*stressClient).endSession, 0, ""},
	{"rotation", 1, func(c *stressClient) error { return c.put("rotate-root", nil) }, http.StatusConflict, "is being rotated already"},
	{"list", 4, (*stressClient).list, 0, ""},
	{"check of the config", 1, func(c *stressClient) error { return c.look("check/default") }, 0, ""},
	{"metrics", 2, (*stressClient).metrics, 0, ""},
}

// Eight clients do all that can be done, at once, on a plugin that looks for data races.
// Nothing fails but what is to fail, and nothing is left alive.
func TestStress(t *testing.T) {
	t.Parallel()
	palette := palettetest.New(t, palettetest.WithLifetime(palettetest.DefaultLifetime), palettetest.WithLockout())
	s := newStress(t, vaulttest.Options{LogLevel: atTrace, Plugin: raceBuild(t)}, palette, 0)
	plugin := s.vault.PluginPIDs()
	require.Len(t, plugin, 1)
	var left atomic.Int64
	left.Store(stressOps)
	s.more = func() bool { return left.Add(-1) >= 0 }
	began := time.Now()
	s.run()
	t.Logf("%d clients made %d calls in %.0f s: %s", stressClients, stressOps, time.Since(began).Seconds(), s.sum())
	for _, op := range stressMix {
		assert.Positive(t, s.counts[op.name], op.name)
	}
	assert.Zero(t, s.palette.FailedLogins())
	assert.Equal(t, "0", s.vault.irrevocable(t))

	assert.Equal(t, plugin, s.vault.PluginPIDs(), "the process is the one that began")

	require.NoError(t, s.api.Sys().UnmountWithContext(t.Context(), s.mount))
	assert.Empty(t, s.palette.LiveTokens())
	assert.Empty(t, s.palette.LiveKeys())
	log := s.vault.Log()
	if at := strings.Index(log, raceReport); at >= 0 {
		assert.Fail(t, "the race detector has found something", log[at:min(len(log), at+8000)])
	}
	assert.False(t, s.hasLogged("panic in the background"))
	for _, token := range s.palette.Issued() {
		require.True(t, strings.HasPrefix(token, jwtBegin), "else the search for secrets would not find it")
	}
}

// newStress starts a server of its own, whose log is the plugin's as well, with a limit of
// so many calls a second.
func newStress(t *testing.T, opts vaulttest.Options, palette *palettetest.Server, limit int) *stress {
	t.Helper()
	v := serverOf(t, opts)
	v.watch(palette.Passwords)
	// There are thousands of tokens, but all of them begin alike.
	v.watchText(jwtBegin)
	s := &stress{fixture: mountFor(t, v, palette, "palette"), counts: make(map[string]int)}
	s.write("config", s.login())
	s.write("config", map[string]any{"rate_limit": limit})
	s.write("roles/shared", map[string]any{"shared": true, "renewable": true})
	for n := range stressClients {
		s.palette.AddUser(stressUser(n))
		s.write(fmt.Sprintf("roles/app%d", n), map[string]any{"renewable": true})
		s.write(fmt.Sprintf("roles/key%d", n), map[string]any{"credential_type": "api_key"})
	}
	return s
}

// stressUser is the account of the config that a client lets come and go.
func stressUser(n int) palettetest.User {
	return palettetest.User{Email: fmt.Sprintf("client%d@example.com", n), Org: "example", Password: fmt.Sprintf("Client-%d-Has-A-Secret", n)}
}

// jwtBegin is the header of each of the stand-in's tokens.
const jwtBegin = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."

// seedOf is the seed that STRESS_SEED gives, or a new one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("STRESS_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("STRESS_SEED=%d makes the same calls again, though not in the same order among the clients", seed)
	return seed
}

// run has all clients make calls until there is none left.
func (s *stress) run() {
	s.t.Helper()
	seed := seedOf(s.t)
	var clients sync.WaitGroup
	for n := range stressClients {
		c := &stressClient{stress: s, n: n, rand: rand.New(rand.NewPCG(seed, uint64(n)))}
		clients.Go(c.run)
	}
	clients.Wait()
}

// run makes the client's share of the calls.
func (c *stressClient) run() {
	total := 0
	for _, op := range stressMix {
		total += op.weight
	}
	for c.more() && !c.t.Failed() {
		pick := c.rand.IntN(total)
		for _, op := range stressMix {
			if pick -= op.weight; pick < 0 {
				c.check(op, op.do(c))
				break
			}
		}
	}
}

func (c *stressClient) check(op stressOp, err error) {
	name := op.name
	var answer *api.ResponseError
	if err != nil {
		may := op.may != "" && errors.As(err, &answer) && answer.StatusCode == op.status && strings.Contains(err.Error(), op.may)
		assert.True(c.t, may, "%s: %v", op.name, err)
		name += ", refused"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[name]++
}

// sum tells how often each was done.
func (s *stress) sum() string {
	var out []string
	for name, n := range s.counts {
		out = append(out, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}
