package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// trap is a fault that waits for its operations: it lets some pass, and then meets so many.
type trap struct {
	// where is "storage" or "network".
	where string
	// what is an operation of the storage ("put", "get", "delete", "list") or an endpoint of Palette; "" is any.
	what string
	// prefix is of the storage's keys.
	prefix string
	// skip and times say which of the operations are met.
	skip, times int
	// effect says what happens to them.
	effect string
	// delay is how long a slow call is under way.
	delay time.Duration
	// status and body are somebody else's answer.
	status int
	body   string
	// lasts is how long the trap waits at most; zero is until it has met all or calm comes.
	lasts time.Duration

	until time.Time
}

func (t *trap) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "trap: %s %s%s: %s", t.where, orAny(t.what), t.prefix, t.effect)
	if t.delay > 0 {
		fmt.Fprintf(&b, " %s", t.delay)
	}
	if t.status > 0 {
		fmt.Fprintf(&b, " %d %q", t.status, t.body)
	}
	fmt.Fprintf(&b, ", after %d, %d times", t.skip, t.times)
	if t.lasts > 0 {
		fmt.Fprintf(&b, ", for %s", t.lasts)
	}
	return b.String()
}

func orAny(what string) string {
	if what == "" {
		return "any"
	}
	return what + " "
}

// traps are those that are set.
type traps struct {
	mu  sync.Mutex
	set []*trap
}

func (s *traps) add(t trap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.lasts > 0 {
		t.until = time.Now().Add(t.lasts)
	}
	s.set = append(s.set, &t)
}

func (s *traps) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = nil
}

// meet finds the first trap that an operation meets.
func (s *traps) meet(where, what, key string) *trap {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var met *trap
	left := s.set[:0]
	for _, t := range s.set {
		if t.times == 0 || !t.until.IsZero() && now.After(t.until) {
			continue
		}
		left = append(left, t)
		if met != nil || t.where != where || t.what != "" && t.what != what || !strings.HasPrefix(key, t.prefix) {
			continue
		}
		if t.skip > 0 {
			t.skip--
			continue
		}
		t.times--
		met = t
	}
	s.set = left
	return met
}

// onStorage is the effect on an operation of the storage, "" for none.
func (s *traps) onStorage(op operation) string {
	if t := s.meet("storage", op.what, op.key); t != nil {
		return t.effect
	}
	return ""
}

// onNetwork is the trap that a call meets; without an effect where there is none.
func (s *traps) onNetwork(e palettetest.Endpoint) trap {
	if e == palettetest.SystemLogin {
		e = palettetest.Login
	}
	if t := s.meet("network", string(e), ""); t != nil {
		return *t
	}
	return trap{}
}

// The dice of traps.
var (
	storageWhats    = []string{"put", "put", "get", "delete", "list", ""}
	storagePrefixes = []string{"", "config/", "owed/", "sessions/", "shared-keys/", "wal/", "wal/", "roles/", "connections/"}
	storageEffects  = []string{"fail", "fail", "fail-after", "garble"}
	networkEffects  = []string{"drop", "drop-after", "drop-after", "slow", "slow", "500", "503", "502-after", "429", "cut", "refuse", "foreign", "foreign", "foreign-after"}
	foreignStatuses = []int{200, 201, 301, 400, 401, 401, 403, 404, 407, 409, 418, 500, 502, 503, 504}
	foreignBodies   = []string{"", "<html><body>Sign in</body></html>", `{"message":"no Route matched with those values"}`, `{"code":"","message":"Forbidden"}`, `{"Code":"X","Message":"Y"}`, "null", "[]", "gateway timeout"}
	crashEffects    = []string{"crash-before", "crash-after"}
	endpoints       = []palettetest.Endpoint{
		palettetest.Login, palettetest.Login, palettetest.Refresh, palettetest.Revoke, palettetest.Revoke, palettetest.UserInfo,
		palettetest.PasswordChange, palettetest.PasswordChange, palettetest.APIKeyCreate, palettetest.APIKeyCreate,
		palettetest.APIKeyList, palettetest.APIKeyUpdate, palettetest.APIKeyDelete, "", "",
	}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func storageTrap(r *rand.Rand, effects []string) trap {
	t := trap{where: "storage", what: pick(r, storageWhats), prefix: pick(r, storagePrefixes), effect: pick(r, effects), skip: r.IntN(3), times: 1 + r.IntN(3)}
	if t.effect == "garble" {
		t.what = "get"
	}
	if strings.HasPrefix(t.effect, "crash") {
		t.times = 1
	} else if r.IntN(4) == 0 { // for a while
		t.times, t.lasts = 1000, time.Duration(1+r.IntN(240))*time.Second
	}
	return t
}

func networkTrap(r *rand.Rand, effects []string) trap {
	t := trap{where: "network", what: string(pick(r, endpoints)), effect: pick(r, effects), skip: r.IntN(3), times: 1 + r.IntN(3)}
	switch {
	case t.effect == "slow":
		t.delay = pick(r, []time.Duration{213 * time.Millisecond, 3137 * time.Millisecond, 11137 * time.Millisecond, 34137 * time.Millisecond})
	case strings.HasPrefix(t.effect, "foreign"):
		t.status, t.body = pick(r, foreignStatuses), pick(r, foreignBodies)
	case strings.HasPrefix(t.effect, "crash"):
		t.times = 1
	case r.IntN(4) == 0:
		t.times, t.lasts = 1000, time.Duration(1+r.IntN(240))*time.Second
	}
	return t
}
