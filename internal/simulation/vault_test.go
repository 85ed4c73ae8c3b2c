package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// vault holds the leases, as ../shared/vault measured it of a real one.
type vault struct {
	world *world

	mu     sync.Mutex
	leases map[int]*lease
	made   int
}

// What becomes of a lease.
const (
	stateLive        = "live"
	stateEnding      = "ending"
	stateIrrevocable = "irrevocable"
)

// lease is one as Vault keeps it. The vault's mu guards it.
type lease struct {
	id      int
	path    string
	secret  logical.Secret
	data    map[string]any
	issued  time.Time
	expires time.Time
	state   string
	timer   *time.Timer
	// internal is the internal data as stored, and version counts the times it was.
	internal string
	version  int
	// spoilt: Vault lost a renewal of the lease, so that it may outlive its credential.
	spoilt bool
	// renewing counts the renewals under way. overlapped: two were at a time, so that the key's expiry may
	// be that of the one, and the lease's end that of the other.
	renewing   int
	overlapped bool
}

func newVault(w *world) *vault { return &vault{world: w, leases: make(map[int]*lease)} }

// text is what the leases hold.
func (v *vault) text(into *strings.Builder) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.leases {
		into.WriteString(l.internal)
		into.WriteByte('\n')
	}
}

// nth picks a live lease, nil where there is none.
func (v *vault) nth(k int) *lease {
	v.mu.Lock()
	defer v.mu.Unlock()
	var ids []int
	for _, id := range slices.Sorted(maps.Keys(v.leases)) {
		if v.leases[id].state == stateLive {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return v.leases[ids[k%len(ids)]]
}

func (v *vault) all() []*lease {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []*lease
	for _, id := range slices.Sorted(maps.Keys(v.leases)) {
		all = append(all, v.leases[id])
	}
	return all
}

// load is the lease as it is stored, for a request about it. JSON is how Vault keeps it.
func (v *vault) load(l *lease) (secret *logical.Secret, data map[string]any, version int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	loaded := l.secret
	loaded.InternalData = make(map[string]any)
	_ = json.Unmarshal([]byte(l.internal), &loaded.InternalData)
	loaded.IssueTime = l.issued
	return &loaded, maps.Clone(l.data), l.version
}

// store keeps what a read or a renewal brought, and sets the timer of the lease's end. The caller holds mu.
func (v *vault) store(l *lease, secret *logical.Secret, data map[string]any) {
	text, err := json.Marshal(secret.InternalData)
	if err != nil {
		panic(fmt.Sprintf("internal data: %v", err))
	}
	l.secret, l.data, l.internal = *secret, data, string(text)
	l.expires = time.Now().Add(secret.TTL)
	l.version++
	l.state = stateLive
	v.leases[l.id] = l
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(secret.TTL, func() { v.expire(l) })
}

// register makes a lease of a read's answer, or fails to.
func (v *vault) register(path string, resp *logical.Response, fails bool) (outcome string, l *lease) {
	secret := resp.Secret
	ttl, _, err := framework.CalculateTTL(&v.world.system, 0, secret.TTL, 0, secret.MaxTTL, 0, time.Time{})
	if err != nil || ttl <= 0 {
		v.world.broken(invRevocable, "%s: Vault makes no lease of TTL %s and MaxTTL %s: %v", path, secret.TTL, secret.MaxTTL, err)
		return "no lease", nil
	}
	secret.TTL = ttl
	v.mu.Lock()
	v.made++
	l = &lease{id: v.made, path: path, issued: time.Now()}
	v.store(l, secret, resp.Data)
	if fails { // Nobody can renew or revoke a lease that Vault has not stored.
		l.state = stateEnding
	}
	v.mu.Unlock()
	if !fails {
		v.checkTerm(l)
		return fmt.Sprintf("lease %d for %s%s", l.id, ttl, map[bool]string{true: "", false: ", not renewable"}[secret.Renewable]), l
	}
	troubles := v.world.storageTrouble.Load()
	err = v.revokeOnce(context.Background(), l)
	if err != nil && (v.world.storageTrouble.Load() != troubles || errors.Is(err, errCrashed) || errors.Is(err, errSealed)) {
		v.world.excuse(l, "Vault's one revocation of a lease that it could not store met a failing storage, or no node")
	}
	v.drop(l)
	return fmt.Sprintf("lease %d could not be stored, and was revoked%s", l.id, failure(err)), nil
}

// drop forgets a lease.
func (v *vault) drop(l *lease) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.leases, l.id)
	l.state = "gone"
	if l.timer != nil {
		l.timer.Stop()
	}
}

// renew asks for a renewal, and stores it unless that fails.
func (v *vault) renew(ctx context.Context, l *lease, increment time.Duration, fails bool) string {
	secret, data, version := v.load(l)
	if !secret.Renewable {
		return "is not renewable"
	}
	secret.Increment = increment
	v.renewals(l, +1)
	defer v.renewals(l, -1)
	resp, err := v.world.handle(ctx, logical.RenewRequest(l.path, secret, data))
	switch {
	case err == nil && resp.IsError():
		err = resp.Error()
	case err == nil && (resp == nil || resp.Secret == nil):
		err = errors.New("the answer holds no secret")
	}
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, errCrashed) { // the key's expiry may have moved all the same
			v.mu.Lock()
			l.spoilt = true
			v.mu.Unlock()
		}
		return "fails: " + err.Error()
	}
	now := time.Now()
	ttl, _, err := framework.CalculateTTL(&v.world.system, increment, resp.Secret.TTL, 0, resp.Secret.MaxTTL, 0, secret.IssueTime)
	if err != nil || ttl <= 0 || fails {
		v.spoil(l, resp)
		return fmt.Sprintf("renewal is lost: Vault could not store it (%v)", err)
	}
	resp.Secret.TTL = ttl
	v.mu.Lock()
	if l.version != version { // another renewal came between, and what it brought is overwritten
		v.mu.Unlock()
		v.world.excuse(l, "a concurrent renewal of the lease overwrote it")
		v.mu.Lock()
		l.spoilt = true
	}
	if resp.Data == nil {
		resp.Data = data
	}
	v.store(l, resp.Secret, resp.Data)
	v.mu.Unlock()
	v.checkTerm(l)
	return fmt.Sprintf("renewed until %s", clock(now.Add(ttl).Sub(v.world.story.began)))
}

// renewals counts the renewals of a lease that are under way.
func (v *vault) renewals(l *lease, more int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l.renewing += more
	l.overlapped = l.overlapped || l.renewing > 1
}

// spoil notes that Vault lost a renewal: what it brought has no lease.
func (v *vault) spoil(l *lease, resp *logical.Response) {
	text, _ := json.Marshal(resp.Secret.InternalData)
	v.world.excuseIn(string(text), "Vault lost the renewal")
	v.mu.Lock()
	defer v.mu.Unlock()
	l.spoilt = true
}

// checkTerm compares a lease's end with its credential's.
func (v *vault) checkTerm(l *lease) {
	v.mu.Lock()
	data, expires, spoilt, overlapped := l.data, l.expires, l.spoilt, l.overlapped
	v.mu.Unlock()
	if spoilt {
		return
	}
	if token, ok := data["token"].(string); ok {
		if dead := expiry(token).Add(-v.world.plan.clock); expires.After(dead.Add(time.Second)) {
			v.world.broken(invRevocable, "lease %d of %s lasts %s longer than its token", l.id, l.path, expires.Sub(dead))
		}
		return
	}
	if overlapped {
		return
	}
	uid, _ := data["api_key_uid"].(string)
	for _, k := range v.world.palette.Keys() {
		if dead := k.Expiry.Add(-v.world.plan.clock); k.UID == uid && expires.After(dead.Add(time.Second)) && !v.world.updateLost(uid) {
			v.world.broken(invRevocable, "lease %d of %s lasts %s longer than its API key", l.id, l.path, expires.Sub(dead))
		}
	}
}

// revokeOnce calls the engine for the end of a lease.
func (v *vault) revokeOnce(ctx context.Context, l *lease) error {
	secret, data, _ := v.load(l)
	resp, err := v.world.handle(ctx, logical.RevokeRequest(l.path, secret, data))
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	if err != nil {
		return err
	}
	v.mu.Lock()
	now := l.internal
	v.mu.Unlock()
	before, _ := json.Marshal(secret.InternalData)
	if string(before) != now { // a renewal came between: what it brought goes with Vault's entry
		v.world.excuseIn(now, "a renewal during the lease's revocation")
	}
	return nil
}

// revokeSync ends a lease for a caller who waits. Where that fails the lease stays.
func (v *vault) revokeSync(ctx context.Context, l *lease) string {
	if err := v.revokeOnce(ctx, l); err != nil {
		return "fails: " + err.Error()
	}
	v.drop(l)
	return "revoked"
}

const (
	// revocations is how often Vault tries to revoke a lease, and the first pause after one that failed.
	revocations     = 6
	revocationPause = 10 * time.Second
	// revocationTime is how long Vault's worker gives a revocation.
	revocationTime = 90 * time.Second
)

// expire ends a lease in the background.
func (v *vault) expire(l *lease) {
	v.mu.Lock()
	ends := l.state == stateLive
	if ends {
		l.state = stateEnding
	}
	v.mu.Unlock()
	if ends {
		v.world.spawn(func() { v.end(l) })
	}
}

// end is Vault's worker for the end of a lease.
func (v *vault) end(l *lease) {
	clean := 0
	for attempt := range revocations {
		for v.world.sealed.Load() { // it begins anew with the unseal
			if v.world.over.Load() {
				return
			}
			time.Sleep(5 * time.Second)
		}
		troubles, nodes := v.world.storageTrouble.Load(), v.world.deaths.Load()
		ctx, cancel := context.WithTimeout(context.Background(), revocationTime)
		err := v.revokeOnce(ctx, l)
		cancel()
		if err == nil {
			v.world.story.tell("vault", "lease %d is revoked", l.id)
			v.drop(l)
			return
		}
		v.world.story.tell("vault", "lease %d: revocation %d fails: %s", l.id, attempt+1, err)
		if troubles == v.world.storageTrouble.Load() && nodes == v.world.deaths.Load() {
			clean++
		}
		pause := revocationPause << attempt
		pause = pause/2 + time.Duration((uint64(l.id)*7919+uint64(attempt)*104729)%uint64(pause))
		if attempt < revocations-1 {
			time.Sleep(pause)
		}
	}
	v.mu.Lock()
	l.state = stateIrrevocable
	v.mu.Unlock()
	v.world.story.tell("vault", "lease %d is irrevocable", l.id)
	if clean >= revocations-2 {
		v.world.broken(invRevocable, "lease %d of %s is irrevocable", l.id, l.path)
	}
}

// endAll ends all live leases in the background, in parallel.
func (v *vault) endAll() string {
	n := 0
	for _, l := range v.all() {
		if l.state == stateLive {
			v.expire(l)
			n++
		}
	}
	return fmt.Sprintf("%d leases end", n)
}

// leave revokes all leases one by one, as an unmount and a move do.
func (v *vault) leave() string {
	failed := 0
	all := v.all()
	for _, l := range all {
		if err := v.revokeOnce(context.Background(), l); err != nil {
			failed++
			continue
		}
		v.drop(l)
	}
	return fmt.Sprintf("%d leases revoked, %d failed", len(all)-failed, failed)
}
