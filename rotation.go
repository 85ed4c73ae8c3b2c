package palette

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-palette/internal/palette"
)

// Kinds of write-ahead entries.
const (
	walPassword = "password" // a password that Palette may have been told
	walRootKey  = "root_key" // an API key of a config that may have been made
	walKey      = "api_key"  // an API key of a lease that may have been made
)

// walMinAge is the age from which Vault hands a write-ahead entry to the engine to be
// undone. Nothing that has one under way takes as long: the making of a key is two calls at
// most, with the login of the session that makes it, and a call waits at most
// maxQueueTimeout and then takes at most maxRequestTimeout.
const walMinAge = 15 * time.Minute

// gateWidth is the whole of a config's gate: a login takes one place, a rotation all.
const gateWidth = 1 << 30

// rotationKeeper holds, for each config, the gate between its logins and its rotation, and
// what a rotation has left behind.
type rotationKeeper struct {
	mu       sync.Mutex
	byConfig map[string]*rotationState
	// listed: the write-ahead entries of an earlier process have been looked up.
	listed bool
	// unreadable are those of them that could not be decoded.
	unreadable []string
}

// rotationState is one config's. All but gate is guarded by the keeper's mu.
type rotationState struct {
	// gate is a single flight: a rotation has it alone while it calls Palette.
	gate *semaphore.Weighted
	// rotating: a second rotation is refused.
	rotating bool
	// leftovers are write-ahead entries of rotations whose outcome is not known.
	leftovers []string
	// over are those leftovers whose outcome is known: only the storage has to let them go.
	over map[string]bool
	// watched are leftovers whose call had not reached Palette when it was asked, and may
	// still: until when. The config is used meanwhile.
	watched map[string]time.Time
	// trouble says why the leftovers could not be settled.
	trouble string
	// failures and nextTry pace the rotations that rotation_period asks for.
	failures int
	nextTry  time.Time
}

// of returns a config's state. The caller holds mu.
func (k *rotationKeeper) of(name string) *rotationState {
	if k.byConfig == nil {
		k.byConfig = make(map[string]*rotationState)
	}
	st, ok := k.byConfig[name]
	if !ok {
		st = &rotationState{gate: semaphore.NewWeighted(gateWidth)}
		k.byConfig[name] = st
	}
	return st
}

// with runs f on a config's state under the lock.
func (k *rotationKeeper) with(name string, f func(*rotationState)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.of(name))
}

func (k *rotationKeeper) gate(name string) (gate *semaphore.Weighted) {
	k.with(name, func(st *rotationState) { gate = st.gate })
	return gate
}

func (k *rotationKeeper) leftovers(name string) (ids []string) {
	k.with(name, func(st *rotationState) { ids = slices.Clone(st.leftovers) })
	return ids
}

// unsettled are the leftovers that keep a config from its use: those that are not watched,
// and those that have been for long enough.
func (k *rotationKeeper) unsettled(name string, now time.Time) (ids []string) {
	k.with(name, func(st *rotationState) {
		for _, id := range st.leftovers {
			if !now.Before(st.watched[id]) {
				ids = append(ids, id)
			}
		}
	})
	return ids
}

// watch lets a leftover wait for a call that may still reach Palette.
func (k *rotationKeeper) watch(name, id string, until time.Time) {
	k.with(name, func(st *rotationState) {
		if st.watched == nil {
			st.watched = make(map[string]time.Time)
		}
		st.watched[id], st.trouble = until, ""
	})
}

// unwatch makes all leftovers of a config unsettled again, and tells whether any was watched.
func (k *rotationKeeper) unwatch(name string) (any bool) {
	k.with(name, func(st *rotationState) {
		any = len(st.watched) > 0
		st.watched = nil
	})
	return any
}

func (k *rotationKeeper) resolved(name, id string) (over bool) {
	k.with(name, func(st *rotationState) { over = st.over[id] })
	return over
}

// resolve notes that a leftover's outcome is known.
func (k *rotationKeeper) resolve(name, id string) {
	k.with(name, func(st *rotationState) {
		if st.over == nil {
			st.over = make(map[string]bool)
		}
		st.over[id], st.trouble = true, ""
	})
}

func (k *rotationKeeper) addLeftover(name, id string) {
	k.with(name, func(st *rotationState) { st.leftovers = append(st.leftovers, id) })
}

func (k *rotationKeeper) dropLeftover(name, id string) {
	k.with(name, func(st *rotationState) {
		st.leftovers = slices.DeleteFunc(st.leftovers, func(other string) bool { return other == id })
		delete(st.over, id)
		delete(st.watched, id)
		if len(st.leftovers) == 0 {
			st.trouble = ""
		}
	})
}

// enter lets a call go out with a config's secret: it waits while a rotation is under way,
// and settles what an earlier one has left behind. leave ends what it let begin.
func (b *backend) enter(ctx context.Context, s logical.Storage, name string) (leave func(), err error) {
	if err = b.listLeftovers(ctx, s); err != nil {
		return nil, err
	}
	unsettled := func() bool { return len(b.rotations.unsettled(name, time.Now())) > 0 }
	for first := true; ; first = false {
		if unsettled() {
			if err = b.settleAlone(ctx, s, name); err != nil {
				return nil, err
			}
		}
		if leave, err = b.pass(ctx, name); err != nil || !first || !unsettled() {
			return leave, err
		}
		leave() // the rotation that this has waited for was broken off
	}
}

// pass waits for a config's rotation under way, and keeps others from beginning until leave
// is called.
func (b *backend) pass(ctx context.Context, name string) (leave func(), err error) {
	gate := b.rotations.gate(name)
	if err := gate.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for a rotation of config %q: %w", name, err)
	}
	return func() { gate.Release(1) }, nil
}

// enterAs is enter for a caller who has seen the config, and returns it as it is once a
// rotation under way is over: it must still be the same login.
func (b *backend) enterAs(ctx context.Context, s logical.Storage, name string, expected *config) (cfg *config, leave func(), err error) {
	if leave, err = b.enter(ctx, s, name); err != nil {
		return nil, nil, err
	}
	cfg, err = b.configs.get(ctx, s, name)
	if err == nil && (cfg == nil || !cfg.sameLogin(expected)) {
		err = logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("config %q has changed meanwhile; try again", name))
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	return cfg, leave, nil
}

// settleAlone settles what a config's rotations have left behind, alone.
func (b *backend) settleAlone(ctx context.Context, s logical.Storage, name string) error {
	gate := b.rotations.gate(name)
	if err := gate.Acquire(ctx, gateWidth); err != nil {
		return fmt.Errorf("waiting for the calls under way of config %q: %w", name, err)
	}
	defer gate.Release(gateWidth)
	return b.settle(ctx, s, name)
}

// passwordWAL is what is written ahead of a password change. The old password is in the
// config.
type passwordWAL struct {
	ConfigName string `json:"config_name"`
	origin
	Password palette.Secret `json:"password"`
	// Way is how Palette was to be reached: the password must go no other one. Entries of older
	// versions have none.
	Way string    `json:"way"`
	At  time.Time `json:"at"`
}

// wayOf is a digest of what a write of the config has to bring the password along for,
// beside address, organization and email: who is on the way to Palette and who is believed
// to be Palette.
func wayOf(c *config) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", c.ProxyURL.Reveal(), c.CACert, c.TLSServerName, c.TLSSkipVerify))
	return hex.EncodeToString(sum[:])
}

// keyWAL is what is written ahead of an API key's making: its name, by which it is found.
type keyWAL struct {
	ConfigName string    `json:"config_name"`
	Address    string    `json:"address"`
	Name       string    `json:"name"`
	Expiry     time.Time `json:"expiry"`
	At         time.Time `json:"at"`
	// OldUID is, for a config's own key, the one that it replaces.
	OldUID string `json:"old_uid,omitempty"`
}

// listLeftovers looks up, once in a process, what the one before has left behind. It calls
// nobody: it runs at Initialize, which Vault's unseal waits for, and once more at the first
// use where it failed there.
func (b *backend) listLeftovers(ctx context.Context, s logical.Storage) error {
	k := &b.rotations
	k.mu.Lock()
	listed := k.listed
	k.mu.Unlock()
	if listed {
		return nil
	}
	ids, err := framework.ListWAL(ctx, s)
	if err != nil {
		return fmt.Errorf("listing the write-ahead entries: %w", err)
	}
	left, err := readWALs(ctx, s, ids)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listed { // another request was quicker
		return nil
	}
	k.listed = true
	b.takeUp(left)
	for _, id := range left.unreadable {
		b.Logger().Error("a write-ahead entry cannot be decoded; what it tells of is not settled", "entry", framework.WALPrefix+id)
	}
	return nil
}
