package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// haLife outlives a failover and what follows on a busy machine.
const haLife = 36 * time.Second

// unrefreshed is how long a shared session is handed out as it is.
const unrefreshed = haLife / 3

// kill is how the active node dies, with a call to Palette under way for each interruption.
type kill struct {
	name string
	hold func(palettetest.Endpoint) func(*palettetest.Server) *palettetest.Gate
	// frozen: what follows the calls, a write to the storage or the answer to Vault, is
	// under way; see step.
	frozen bool
	// goesOn: the plugin, which kill -9 of Vault leaves behind, does.
	goesOn bool
	// late: Palette gets the calls when the next node has served already.
	late bool
}

var kills = []kill{
	{name: "Palette's answers are under way", hold: after},
	{name: "Palette's answers are under way, and the plugin goes on", hold: after, goesOn: true},
	{name: "Vault is about to store what came", hold: after, frozen: true},
	{name: "Palette gets the calls late, since the plugin goes on", hold: before, goesOn: true, late: true},
}

// interruption is what the kill interrupts.
type interruption struct {
	name string
	role map[string]any
	// call is the one to Palette that is under way, begin what leads to it; none: nothing is.
	call  palettetest.Endpoint
	begin func(f *fixture, lease *api.Secret) error
	// intact checks on the next node that nothing is lost.
	intact func(c *interrupted)
}

// interruptions: the shared session comes first, since it goes on only while its token lives.
var interruptions = []interruption{
	{"a shared session's refresh", map[string]any{"shared": true}, palettetest.Refresh, readAnother, (*interrupted).sharedLease},
	{"a login", map[string]any{"renewable": true}, palettetest.Login, readAnother, (*interrupted).ownLease},
	{"between renewals", map[string]any{"renewable": true}, "", nil, (*interrupted).ownLease},
	{"a renewal", map[string]any{"renewable": true}, palettetest.Refresh, renew, (*interrupted).ownLease},
	{"a rotation", map[string]any{"renewable": true}, palettetest.PasswordChange, rotate, (*interrupted).rotation},
}

func readAnother(f *fixture, _ *api.Secret) error {
	_, err := f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/creds/app")
	return err
}

func renew(f *fixture, lease *api.Secret) error {
	_, err := f.api.Sys().RenewWithContext(f.t.Context(), lease.LeaseID, 0)
	return err
}

func rotate(f *fixture, _ *api.Secret) error {
	_, err := f.api.Logical().WriteWithContext(f.t.Context(), f.mount+"/rotate-root", nil)
	return err
}

// interrupted is an interruption in its mount.
type interrupted struct {
	*fixture
	interruption
	kill kill

	lease  *api.Secret // read before
	logins int         // before the kill
	held   *palettetest.Gate
	answer chan error
	// before and after count the tokens that Palette had issued when the call began, and
	// when it was over at the latest.
	before, after int
}

// The active one of three nodes is killed with a call of each kind under way. The next one
// goes on with all that there was. What Palette gave out for the calls under way nobody
// knows: it is all that lives on, to its own expiry.
//
// The application and the Vault Agent of examples/ run through it. Each kill comes when one of
// them is about to need Vault, and neither presents a dead token for longer than Vault is away.
func TestAFailoverLosesNothing(t *testing.T) {
	t.Parallel()
	const inEach = 2 // kills of a cluster: the second one comes to a node that took over from another
	for n := 0; n < len(kills); n += inEach {
		t.Run(fmt.Sprintf("cluster %d", n/inEach+1), func(t *testing.T) {
			t.Parallel()
			survives(t, kills[n:n+inEach])
		})
	}
}

// survives kills the active node of a cluster again and again.
func survives(t *testing.T, kills []kill) {
	t.Helper()
	whole := t
	c := newCluster(t)
	x := startConsumers(t, c)
	var last *vaulttest.Server
	for _, k := range kills {
		survived := t.Run(k.name, func(t *testing.T) {
			var all []*interrupted
			for _, i := range interruptions {
				all = append(all, c.interrupt(t, whole, i, k))
			}
			x.awaitNeed(unrefreshed)
			readAll(all)
			f := c.kill(all, k, x)
			for _, i := range all {
				t.Run(i.name, func(t *testing.T) { i.check(t) })
			}
			assert.Equal(t, k.goesOn, f.killed.KillPlugins() > 0, "kill -9 of Vault leaves the plugin behind")
			require.NoError(t, f.killed.Restart(t.Context()))
			x.survive(t, f)
			last = f.killed
		})
		if !survived {
			return // with a node away
		}
	}
	t.Run("the application and the Agent end", x.end)
	t.Run("back to the node that was killed last", func(t *testing.T) { c.back(t, whole, last) })
}

// interrupt mounts the engine for an interruption.
func (c *cluster) interrupt(t, whole *testing.T, what interruption, k kill) *interrupted {
	t.Helper()
	return &interrupted{interruption: what, kill: k, fixture: c.mount(t, whole, what.role), answer: make(chan error, 1)}
}

// readAll reads what is there before the kill, and returns when the shared session is due to
// be refreshed. The other leases are new then.
func readAll(all []*interrupted) {
	for _, i := range all {
		i.lease = i.read()
		if i.role["shared"] == true {
			expires := moment(i.t, i.lease.Data["expires_at"])
			require.Eventually(i.t, func() bool { return time.Until(expires) < haLife-unrefreshed }, haLife, often)
		}
	}
}

// mount is newFixture on a cluster. Its stand-in lasts to the end of the whole test, which
// fails for what is alive then: the tokens of the calls under way must be dead by themselves.
func (c *cluster) mount(t, whole *testing.T, role map[string]any) *fixture {
	t.Helper()
	palette := palettetest.New(whole, palettetest.WithLockout(), palettetest.WithLifetime(haLife))
	watchPalette(c, palette)
	whole.Cleanup(func() {
		assert.Eventually(whole, func() bool { return len(palette.LiveTokens()) == 0 }, haLife+time.Second, often)
	})
	f := mountFor(t, c.settled(t), palette, mountName(t)+"-"+strings.TrimPrefix(palette.URL(), "http://127.0.0.1:"))
	f.write("config", f.login())
	f.write("roles/app", role)
	return f
}

// failover is the death of the active node and what came of it.
type failover struct {
	killed *vaulttest.Server
	// away is how long nobody served.
	away time.Duration
	// before and after count the tokens that the consumers' Palette had issued a little before
	// the kill, and when the next node became active.
	before, after int
}

// kill kills the active node when all calls are where they ought to be, and leads the mounts
// to the next one.
func (c *cluster) kill(all []*interrupted, k kill, x *consumers) *failover {
	t := all[0].t
	t.Helper()
	active := c.settled(t)
	f := &failover{killed: active.Server, before: len(x.palette.Issued())}
	for _, i := range all {
		i.at(active)
		i.start(k)
	}
	began := time.Now()
	if k.frozen || !k.goesOn {
		all[0].freeze()
	}
	if k.frozen {
		release(all)
		time.Sleep(frozenFor)
	}
	if !k.goesOn {
		active.KillPlugins() // before Vault, which stands still: to its death the plugin would react
	}
	active.Kill()
	if k.late {
		passLater(all)
	} else {
		// A plugin that does not know yet that Vault is dead hands it what comes, and ends nothing.
		time.Sleep(noticed)
		release(all)
	}
	next := c.active(t)
	f.after = len(x.palette.Issued())
	for _, i := range all {
		if i.begin != nil {
			require.Error(t, <-i.answer, "%s: nobody is told of a success", i.name)
		}
		i.at(next)
		i.firstRead("roles/app")
		i.after = len(i.palette.Issued())
	}
	f.away = time.Since(began)
	t.Logf("the next node serves after %.1f s", f.away.Seconds())
	if k.late {
		for _, i := range all {
			i.cli("lease", "revoke", "-sync", i.readBack().LeaseID)
		}
		release(all)
	}
	return f
}

// start begins the call that is under way at the kill.
func (i *interrupted) start(k kill) {
	i.t.Helper()
	i.logins, i.before = i.palette.Calls(palettetest.Login), len(i.palette.Issued())
	if i.begin == nil {
		return
	}
	i.held = k.hold(i.call)(i.palette)
	i.t.Cleanup(i.held.Release)
	go func() { i.answer <- i.begin(i.fixture, i.lease) }()
	select {
	case <-i.held.Arrived():
	case <-time.After(soon):
		require.Fail(i.t, "the call does not reach Palette")
	}
}

func release(all []*interrupted) {
	for _, i := range all {
		if i.held != nil {
			i.held.Release()
		}
	}
}

// passLater lets calls pass that come from now on, and those that are held stay.
func passLater(all []*interrupted) {
	for _, i := range all {
		if i.held != nil {
			i.palette.Hold(i.call).Release() // a new gate in the place of the old one
		}
	}
}
