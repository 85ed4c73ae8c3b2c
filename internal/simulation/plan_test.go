package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// plan is what a seed fixes.
type plan struct {
	seed uint64
	// Palette's habits.
	life, sessionTimeout, latency                   time.Duration
	bySession, strictRevoke, endsSessions, needAuth bool
	// burst is how many calls of a resource Palette takes at once, keyLimit how many API keys a user may have.
	burst, keyLimit int
	// clock is how far Palette's is ahead, lag how long a new password or key is not known everywhere.
	clock, lag     time.Duration
	lagOldPassword bool
	// Vault's.
	maxTTL, storageDelay time.Duration
	system               systemLife
	// days: the life lasts days.
	days bool
	// end is how the life ends.
	end   string
	steps []step
}

// step is something that happens, after a gap.
type step struct {
	who, what string
	gap       time.Duration
	// wait: the next step comes when this one is over.
	wait bool
	do   func(w *world) (outcome string)
}

// die makes a step of a kind. A seed leaves some dice out, and throws others more often.
type die struct {
	name   string
	weight int
	throw  func(r *rand.Rand) step
}

// steps is how many a seed has beside its beginning.
const steps = 130

func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 0x9a1e77e))
	p := &plan{
		seed:   seed,
		life:   pick(r, []time.Duration{15 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Minute}),
		maxTTL: pick(r, []time.Duration{768 * time.Hour, 768 * time.Hour, 2 * time.Hour}),
		end:    pick(r, []string{"unmount", "unmount", "unmount", "unmount-broken", "seal"}),
		days:   r.IntN(100) == 0,
	}
	if r.IntN(4) == 0 {
		p.sessionTimeout = 30 * time.Minute
	}
	if r.IntN(2) == 0 {
		p.latency = pick(r, []time.Duration{20 * time.Millisecond, 300 * time.Millisecond})
	}
	if r.IntN(3) == 0 {
		p.storageDelay = pick(r, []time.Duration{time.Millisecond, 40 * time.Millisecond})
	}
	p.burst, p.keyLimit = pick(r, []int{50, 50, 10}), pick(r, []int{0, 0, 0, 20})
	if r.IntN(3) == 0 {
		p.clock = pick(r, []time.Duration{-14 * time.Minute, -3 * time.Minute, -20 * time.Second, 20 * time.Second, 3 * time.Minute, 14 * time.Minute})
	}
	if r.IntN(4) == 0 {
		p.lag, p.lagOldPassword = pick(r, []time.Duration{500 * time.Millisecond, 4 * time.Second, 12 * time.Second}), r.IntN(2) == 0
	}
	for _, flag := range []*bool{&p.bySession, &p.strictRevoke, &p.endsSessions, &p.needAuth} {
		*flag = r.IntN(3) == 0
	}
	p.system = newSystemLife(seed)
	p.steps = append(p.steps, beginning(r)...)
	p.throw(r)
	return p
}

// throw throws the dice for the steps of a life.
func (p *plan) throw(r *rand.Rand) {
	var hat []die
	for _, d := range dice {
		times := d.weight * pick(r, []int{0, 2, 2, 2, 3, 6})
		for range times {
			hat = append(hat, d)
		}
	}
	calmEvery := 20 + r.IntN(30)
	for i := range steps {
		d := readDie
		if len(hat) > 0 && r.IntN(4) > 0 {
			d = pick(r, hat)
		}
		s := d.throw(r)
		s.gap = gap(r, p.days)
		p.steps = append(p.steps, s)
		if i%calmEvery == calmEvery-1 && i < steps-10 {
			repair := r.IntN(2) == 0
			p.steps = append(p.steps, step{who: "calm", what: fmt.Sprintf("faults end (repair: %t)", repair), wait: true, do: func(w *world) string {
				w.calm(repair)
				return "over"
			}})
		}
	}
}

// gap is the time before a step: mostly next to none.
func gap(r *rand.Rand, days bool) time.Duration {
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(r.Int64N(int64(high-low))).Round(time.Millisecond)
	}
	switch n := r.IntN(100); {
	case n < 45:
		return between(0, 300*time.Millisecond)
	case n < 75:
		return between(300*time.Millisecond, 5*time.Second)
	case n < 90:
		return between(5*time.Second, time.Minute)
	case days && n > 96:
		return between(time.Hour, 20*time.Hour)
	case n < 98:
		return between(time.Minute, 10*time.Minute)
	}
	return between(10*time.Minute, 40*time.Minute)
}

// beginning writes the configs and roles of a life.
func beginning(r *rand.Rand) []step {
	write := func(what string, do func(w *world) string) step {
		return step{who: "people", what: "begin with " + what, wait: true, do: do}
	}
	out := []step{}
	for _, name := range []string{"default", "ci", "keys"} {
		if name != "default" && r.IntN(5) < 2 {
			continue
		}
		more := map[string]any{"rotation_period": pick(r, []int{0, 0, 0, 60, 600, 3600})}
		if r.IntN(2) == 0 {
			more["request_timeout"] = pick(r, []int{2, 10, 30})
			more["queue_timeout"] = pick(r, []int{1, 10, 55, 120})
		}
		out = append(out, write(fmt.Sprintf("config/%s %v", name, more), func(w *world) string { return w.writeSecret(name, 0, w.plan.lag, more, 0) }))
	}
	for _, name := range roleNames {
		if name != "app" && r.IntN(4) == 0 {
			continue
		}
		data := roleFields(r, name)
		out = append(out, write(fmt.Sprintf("roles/%s %v", name, data), func(w *world) string { return w.writeRole(name, data) }))
	}
	return out
}

func (p *plan) paletteOptions() []palettetest.Option {
	options := []palettetest.Option{
		palettetest.InMemory(), palettetest.AllowLiveTokens(), palettetest.WithLockout(), palettetest.WithLifetime(p.life),
		palettetest.WithSessionTimeout(p.sessionTimeout), palettetest.WithLatency(p.latency), palettetest.WithRateLimit(palettetest.PublishedRate),
	}
	for _, email := range accountsOf {
		options = append(options, palettetest.WithUser(p.system.user(email)))
	}
	for e, status := range p.system.refused {
		options = append(options, palettetest.WithSystemRefusal(status, e))
	}
	for option, on := range map[*palettetest.Option]bool{
		new(palettetest.WithRevokeScope(palettetest.BySession)): p.bySession, new(palettetest.WithStrictRevoke()): p.strictRevoke,
		new(palettetest.WithPasswordChangeEndsSessions()): p.endsSessions, new(palettetest.WithPasswordChangeNeedsAuth()): p.needAuth,
	} {
		if on {
			options = append(options, *option)
		}
	}
	return options
}

// String tells the world that a plan makes.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tokens live %s, the mount's maximum is %s, latency %s, storage %s, Palette's clock %s ahead, lag %s, burst %d, keys %d, the life ends by %s",
		p.life, p.maxTTL, p.latency, p.storageDelay, p.clock, p.lag, p.burst, p.keyLimit, p.end)
	for text, on := range map[string]bool{
		"a revocation ends the session": p.bySession, "revocations are strict": p.strictRevoke, "a password change ends sessions": p.endsSessions,
		"a password change needs a token": p.needAuth, "sessions time out": p.sessionTimeout > 0, "days": p.days,
	} {
		if on {
			b.WriteString("; " + text)
		}
	}
	if p.system.on {
		b.WriteString(p.system.String())
	}
	return b.String()
}
