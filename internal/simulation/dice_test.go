package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// dice are all that may happen. A new kind is a row in one of the tables.
var dice = slices.Concat(vaultDice, trapDice, paletteDice, peopleDice, keyPeopleDice)

var roleNames = []string{"app", "short", "shared", "ci", "cishared", "key", "skey", "one", "sone"}

func roleFields(r *rand.Rand, name string) map[string]any {
	data := map[string]any{"renewable": r.IntN(4) > 0}
	switch name {
	case "short":
		data["ttl"], data["max_ttl"] = pick(r, []int{20, 90}), pick(r, []int{100, 600})
	case "shared":
		data["shared"] = true
	case "ci":
		data["config_name"] = "ci"
	case "cishared":
		data["config_name"], data["shared"] = "ci", true
	case "key":
		data["config_name"], data["credential_type"], data["ttl"] = "keys", "api_key", pick(r, []int{60, 600, 3600})
	case "skey": // keys that are made through a session
		data["config_name"], data["credential_type"] = pick(r, []string{"default", "ci"}), "api_key"
	case "one", "sone": // keys that their leases share
		data["config_name"], data["credential_type"], data["shared"] = "keys", "api_key", r.IntN(8) > 0
		if name == "sone" {
			data["config_name"] = pick(r, []string{"default", "default", "ci"})
		}
		data["ttl"], data["max_ttl"] = pick(r, []int{0, 20, 300, 3600}), pick(r, []int{0, 60, 600, 3600})
		if data["max_ttl"] == 60 {
			data["ttl"] = 20
		} else if data["max_ttl"] == 600 {
			data["ttl"] = 300
		}
	}
	return data
}

func (w *world) writeRole(name string, data map[string]any) string {
	_, outcome := w.ask(logical.UpdateOperation, "roles/"+name, maps.Clone(data), 0)
	return outcome
}

func role(r *rand.Rand) string { return pick(r, roleNames) }

func configName(r *rand.Rand) string { return pick(r, []string{"default", "default", "ci", "keys"}) }

// hangUp is after how long a caller hangs up.
func hangUp(r *rand.Rand) time.Duration {
	return pick(r, []time.Duration{time.Microsecond, 3 * time.Millisecond, 20*time.Millisecond + time.Microsecond, 150 * time.Millisecond, 310 * time.Millisecond, 2 * time.Second, 20 * time.Second})
}

func increment(r *rand.Rand) time.Duration {
	return pick(r, []time.Duration{0, 0, time.Second, 20 * time.Second, 10 * time.Minute, time.Hour, 1000 * time.Hour})
}

// many runs a deed several times at once.
func many(n int, deed func(w *world, i int) string) func(*world) string {
	return func(w *world) string {
		for i := range n {
			w.spawn(func() { w.story.tell("vault", "%d of %d: %s", i+1, n, deed(w, i)) })
		}
		return ""
	}
}

func readStep(r *rand.Rand, data map[string]any, hang time.Duration, fails bool) step {
	name := role(r)
	what := fmt.Sprintf("reads creds/%s %v", name, data)
	if hang > 0 {
		what += fmt.Sprintf(", hangs up after %s", hang)
	}
	if fails {
		what += ", cannot store the lease"
	}
	return step{who: "vault", what: what, do: func(w *world) string { return w.read(name, maps.Clone(data), hang, fails) }}
}

func renewStep(r *rand.Rand, hang time.Duration, fails bool) step {
	k, by := r.IntN(1000), increment(r)
	what := fmt.Sprintf("renews by %s", by)
	if hang > 0 {
		what += fmt.Sprintf(", hangs up after %s", hang)
	}
	if fails {
		what += ", cannot store it"
	}
	return step{who: "vault", what: what, do: func(w *world) string { return w.renew(k, by, hang, fails) }}
}

// readDie is what happens most.
var readDie = die{"read", 0, func(r *rand.Rand) step {
	switch r.IntN(8) {
	case 0:
		return readStep(r, map[string]any{"ttl": pick(r, []int{1, 30, 300, 100000})}, 0, false)
	case 1, 2, 3:
		return renewStep(r, 0, false)
	}
	return readStep(r, nil, 0, false)
}}

var vaultDice = []die{
	{"burst", 3, func(r *rand.Rand) step {
		n, name := 2+r.IntN(pick(r, []int{6, 14, 60})), role(r)
		return step{who: "vault", what: fmt.Sprintf("%d reads of creds/%s at once", n, name), do: many(n, func(w *world, _ int) string { return w.read(name, nil, 0, false) })}
	}},
	{"hang-up", 5, func(r *rand.Rand) step { return readStep(r, nil, hangUp(r), false) }},
	{"lost lease", 3, func(r *rand.Rand) step { return readStep(r, nil, 0, true) }},
	{"renewals at once", 2, func(r *rand.Rand) step {
		k, by := r.IntN(1000), increment(r)
		return step{who: "vault", what: "renews a lease twice at once", do: many(2, func(w *world, _ int) string { return w.renew(k, by, 0, false) })}
	}},
	{"renewals in a row", 1, func(r *rand.Rand) step {
		k := r.IntN(1000)
		return step{who: "vault", what: "renews a lease ten times in a row", do: func(w *world) (outcome string) {
			for range 10 {
				outcome = w.renew(k, 0, 0, false)
				time.Sleep(time.Second)
			}
			return outcome
		}}
	}},
	{"renewal hang-up", 2, func(r *rand.Rand) step { return renewStep(r, hangUp(r), false) }},
	{"lost renewal", 2, func(r *rand.Rand) step { return renewStep(r, 0, true) }},
	{"revoke", 6, func(r *rand.Rand) step {
		k := r.IntN(1000)
		return step{who: "vault", what: "revokes", do: func(w *world) string { return w.revoke(k, false, 0) }}
	}},
	{"revoke and wait", 3, func(r *rand.Rand) step {
		k, hang := r.IntN(1000), time.Duration(0)
		if r.IntN(3) == 0 {
			hang = hangUp(r)
		}
		return step{who: "vault", what: fmt.Sprintf("revokes for a caller who waits (hangs up: %s)", hang), do: func(w *world) string { return w.revoke(k, true, hang) }}
	}},
	{"renew and revoke", 2, func(r *rand.Rand) step {
		k := r.IntN(1000)
		return step{who: "vault", what: "renews and revokes a lease at once", do: many(2, func(w *world, i int) string {
			if i == 0 {
				return w.renew(k, 0, 0, false)
			}
			return w.revoke(k, true, 0)
		})}
	}},
	{"revoke prefix", 1, func(*rand.Rand) step {
		return step{who: "vault", what: "revokes all", do: func(w *world) string { return w.vault.endAll() }}
	}},
	{"seal", 1, func(r *rand.Rand) step {
		lasts := pick(r, []time.Duration{time.Second, time.Minute, 10 * time.Minute})
		return step{who: "vault", what: "seals", do: func(w *world) string { return w.seal(lasts) }}
	}},
	{"reload", 1, func(*rand.Rand) step {
		return step{who: "vault", what: "reloads the plugin", do: func(w *world) string { return w.reload() }}
	}},
	{"move", 1, func(*rand.Rand) step {
		return step{who: "vault", what: "moves the mount", do: func(w *world) string { return w.move() }}
	}},
}

func trapStep(t trap) step {
	return step{who: "trap", what: strings.TrimPrefix(t.String(), "trap: "), wait: true, do: func(w *world) string { w.traps.add(t); return "set" }}
}

// With a rotation a trap meets what is rare otherwise.
func rotateInto(r *rand.Rand, t trap) step {
	name := configName(r)
	return step{who: "people", what: fmt.Sprintf("rotate %s into a %s", name, t.String()), do: func(w *world) string {
		w.traps.add(t)
		_, outcome := w.ask(logical.UpdateOperation, rotatePath(name), nil, 0)
		return outcome
	}}
}

var trapDice = []die{
	{"storage trap", 3, func(r *rand.Rand) step { return trapStep(storageTrap(r, storageEffects)) }},
	{"network trap", 6, func(r *rand.Rand) step { return trapStep(networkTrap(r, networkEffects)) }},
	{"crash at the storage", 2, func(r *rand.Rand) step { return trapStep(storageTrap(r, crashEffects)) }},
	{"crash at Palette", 2, func(r *rand.Rand) step { return trapStep(crashTrap(r)) }},
	{"crash", 1, func(*rand.Rand) step {
		return step{who: "crash", what: "of the node", do: func(w *world) string {
			if n, err := w.current(); err == nil {
				n.crash("at no operation")
			}
			return ""
		}}
	}},
	{"a key that comes late", 1, func(r *rand.Rand) step {
		name, before := pick(r, []string{"key", "skey", "one", "sone"}), time.Duration(1+r.IntN(7))*time.Second
		return step{who: "vault", what: fmt.Sprintf("reads creds/%s, whose making arrives when nobody waits for it and a minute is over (%s)", name, before), do: func(w *world) string {
			return w.lateKey(name, before)
		}}
	}},
	{"trapped making of a shared key", 2, func(r *rand.Rand) step {
		name, t := pick(r, []string{"one", "sone"}), storageTrap(r, append([]string{"fail", "fail-after"}, crashEffects...))
		t.what, t.prefix, t.skip = "put", "shared-keys/", 0
		return step{who: "vault", what: fmt.Sprintf("reads creds/%s, whose key has ended, into a %s", name, t.String()), do: func(w *world) string {
			if of := w.storedRoles()[name].ConfigName; of != "" {
				w.ask(logical.DeleteOperation, "sessions/"+of, nil, 0)
			}
			w.traps.add(t)
			return w.read(name, nil, 0, false)
		}}
	}},
	{"trapped rotation", 3, func(r *rand.Rand) step {
		return rotateInto(r, pick(r, []func() trap{
			func() trap { return storageTrap(r, storageEffects) }, func() trap { return networkTrap(r, networkEffects) },
			func() trap { return storageTrap(r, crashEffects) }, func() trap { return crashTrap(r) },
		})())
	}},
}

// lateKey reads a key so that its caller gives up a little before the minute is over, and Palette makes it a little after.
func (w *world) lateKey(role string, before time.Duration) string {
	timeout := w.storedConfigs()[w.storedRoles()[role].ConfigName].RequestTimeout
	now := time.Now()
	time.Sleep(now.Truncate(time.Minute).Add(2*time.Minute - timeout - before).Sub(now))
	w.traps.add(trap{where: "network", what: string(palettetest.APIKeyCreate), effect: "slow", delay: timeout + late, times: 1})
	return w.read(role, nil, 0, false)
}

// crashTrap is a crash at a call to Palette; what was sent arrives late in each second one.
func crashTrap(r *rand.Rand) trap {
	t := networkTrap(r, crashEffects)
	if t.effect == "crash-before" && r.IntN(2) == 0 {
		t.delay = pick(r, []time.Duration{100 * time.Millisecond, 2 * time.Second, 8 * time.Second})
	}
	return t
}
