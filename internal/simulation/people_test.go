package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func rotatePath(config string) string {
	if config == "default" {
		return "rotate-root"
	}
	return "rotate-root/" + config
}

// askStep is a request of people.
func askStep(op logical.Operation, path string, data map[string]any, hang time.Duration) step {
	what := fmt.Sprintf("%s %s %v", op, path, data)
	if hang > 0 {
		what += fmt.Sprintf(", hang up after %s", hang)
	}
	return step{who: "people", what: what, do: func(w *world) string {
		_, outcome := w.ask(op, path, data, hang)
		return outcome
	}}
}

func perhaps(r *rand.Rand, hang time.Duration) time.Duration {
	if r.IntN(4) == 0 {
		return hang
	}
	return 0
}

var peopleDice = []die{
	{"change a config", 3, func(r *rand.Rand) step {
		field := pick(r, []string{"request_timeout", "queue_timeout", "rate_limit", "rate_burst", "rotation_period"})
		value := map[string][]int{"request_timeout": {2, 5, 30}, "queue_timeout": {1, 10, 55, 120}, "rate_limit": {3, 5, 10}, "rate_burst": {3, 10}, "rotation_period": {0, 0, 60, 600, 3600}}[field]
		return askStep(logical.UpdateOperation, "config/"+configName(r), map[string]any{field: pick(r, value)}, perhaps(r, hangUp(r)))
	}},
	{"write a secret that works", 3, func(r *rand.Rand) step {
		name, alias, pause, hang := configName(r), r.IntN(5)/4, time.Duration(r.IntN(30))*time.Second/time.Duration(1+r.IntN(10)), perhaps(r, hangUp(r))
		what := fmt.Sprintf("change the secret of %s at Palette and write it after %s (address %s, hang up: %s)", name, pause, address(alias), hang)
		return step{who: "people", what: what, do: func(w *world) string { return w.writeSecret(name, alias, pause, nil, hang) }}
	}},
	{"write a wrong password", 2, func(r *rand.Rand) step {
		name := pick(r, []string{"default", "ci"})
		return askStep(logical.UpdateOperation, "config/"+name, map[string]any{"password": "Wrong-Password-No-" + fmt.Sprint(r.IntN(3))}, 0)
	}},
	{"write a wrong password unchecked", 1, func(r *rand.Rand) step {
		name := pick(r, []string{"default", "ci"})
		return step{who: "people", what: "write a wrong password into " + name + " without a check", do: func(w *world) (outcome string) {
			w.spoil(accountsOf[name], func() {
				_, outcome = w.ask(logical.UpdateOperation, "config/"+name, map[string]any{"password": "Wrong-Password-Unchecked", "verify_connection": false}, 0)
			})
			return outcome
		}}
	}},
	{"delete a config", 1, func(r *rand.Rand) step {
		name := configName(r)
		again := r.IntN(3) > 0
		return step{who: "people", what: fmt.Sprintf("delete config/%s (write it again: %t)", name, again), do: func(w *world) string {
			w.excuseRootKeys("people have deleted a config")
			_, outcome := w.ask(logical.DeleteOperation, "config/"+name, nil, 0)
			w.excuseRootKeys("people have deleted a config")
			if again {
				outcome += "; " + w.writeSecret(name, 0, time.Second, nil, 0)
			}
			return outcome
		}}
	}},
	{"lead a config elsewhere", 1, func(r *rand.Rand) step {
		name := pick(r, []string{"default", "ci"})
		return step{who: "people", what: "lead config/" + name + " to the host's other name", do: func(w *world) string {
			w.excuseRootKeys("people have led a config elsewhere")
			return w.writeSecret(name, 1, 0, nil, 0)
		}}
	}},
	{"write a role", 2, func(r *rand.Rand) step {
		name := role(r)
		return askStep(logical.UpdateOperation, "roles/"+name, roleFields(r, name), 0)
	}},
	{"delete a role", 1, func(r *rand.Rand) step { return askStep(logical.DeleteOperation, "roles/"+role(r), nil, 0) }},
	{"rotate", 4, func(r *rand.Rand) step {
		return askStep(logical.UpdateOperation, rotatePath(configName(r)), nil, perhaps(r, hangUp(r)))
	}},
	{"rotate at once", 1, func(r *rand.Rand) step {
		name := configName(r)
		return step{who: "people", what: "rotate " + name + " three times at once", do: many(3, func(w *world, _ int) string {
			_, outcome := w.ask(logical.UpdateOperation, rotatePath(name), nil, 0)
			return outcome
		})}
	}},
	{"end a session", 1, func(r *rand.Rand) step {
		return askStep(logical.DeleteOperation, "sessions/"+pick(r, []string{"default", "ci", "keys"}), nil, perhaps(r, hangUp(r)))
	}},
	{"check", 2, func(r *rand.Rand) step {
		return askStep(logical.ReadOperation, "check/"+configName(r), map[string]any{"login": r.IntN(3) == 0}, perhaps(r, hangUp(r)))
	}},
	{"look", 2, func(r *rand.Rand) step {
		if r.IntN(4) == 0 {
			return askStep(logical.ListOperation, pick(r, []string{"config/", "roles/", "sessions/"}), nil, 0)
		}
		return askStep(logical.ReadOperation, pick(r, []string{"config/", "roles/", "sessions/"})+pick(r, append(roleNames, "default", "keys")), nil, 0)
	}},
	{"make a mistake", 1, func(r *rand.Rand) step {
		return askStep(logical.UpdateOperation, "config/"+configName(r), map[string]any{pick(r, []string{"nonsense", "request_timeout", "email"}): "?"}, 0)
	}},
}

var paletteDice = []die{
	{"password by hand", 1, func(r *rand.Rand) step {
		name := pick(r, []string{"default", "ci"})
		return step{who: "hand", what: "changes the password of " + name, wait: true, do: func(w *world) string { w.changeAtPalette(name); return "done" }}
	}},
	{"session by hand", 2, func(r *rand.Rand) step {
		k := r.IntN(1000)
		return step{who: "hand", what: "ends a session", wait: true, do: func(w *world) string {
			live := w.palette.LiveTokens()
			if len(live) == 0 {
				return "there is none"
			}
			token := live[k%len(live)]
			w.mu.Lock()
			w.endedSessions[claim(token, "sessionId")] = true
			w.mu.Unlock()
			w.palette.EndSession(token)
			return "done"
		}}
	}},
	{"key by hand", 1, func(r *rand.Rand) step {
		k := r.IntN(1000)
		return step{who: "hand", what: "deletes an API key", wait: true, do: func(w *world) string {
			live := w.palette.LiveKeys()
			if len(live) == 0 {
				return "there is none"
			}
			uid := live[k%len(live)].UID
			w.setChanged(accountsOf["keys"], true)
			w.palette.DeleteKey(uid)
			return "deleted " + uid
		}}
	}},
	{"token life", 1, func(r *rand.Rand) step {
		life := pick(r, []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 24 * time.Hour})
		return step{who: "hand", what: fmt.Sprintf("lets tokens live %s", life), wait: true, do: func(w *world) string { w.palette.SetLifetime(life); return "done" }}
	}},
}
