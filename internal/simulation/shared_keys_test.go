package simulation

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/session"
)

// checkShared reads a role whose leases share a key several times at once: all must be given the same key.
func (w *world) checkShared(role string) {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		uids = make(map[any]bool)
	)
	for range 4 {
		all.Go(func() {
			resp, err := w.handle(context.Background(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/" + role})
			mu.Lock()
			defer mu.Unlock()
			if err == nil && !resp.IsError() {
				uids[resp.Data["api_key_uid"]] = true
			}
		})
	}
	all.Wait()
	if len(uids) > 1 {
		w.broken(invOneKey, "four reads of creds/%s at once bring %d keys", role, len(uids))
	}
}

// replaced reads a shared key again that Palette has ended without the engine's knowledge. People have deleted the
// key, or a crash has taken the engine's memory of its end. The engine asks once in some minutes, and its next read
// brings another.
func (w *world) replaced(name string, r storedRole, resp *logical.Response) *logical.Response {
	for range 2 {
		if !r.Shared || alive(w.palette, resp.Data) || resp.Data["api_key"] == nil {
			break
		}
		time.Sleep(session.AskEvery + 10*time.Second)
		if again, err := w.readOnce(name); err == nil {
			resp = again
		}
	}
	return resp
}

// checkExpired looks for shared keys that have expired and that Palette still has: it counts them among those that a user
// may have. In calm the engine has had minutes to delete them. Where people have changed a secret, the key itself was asked to
// delete itself, which an expired key cannot.
func (w *world) checkExpired() {
	w.mu.Lock()
	changed := len(w.changed) > 0 || !w.takenAway.IsZero()
	w.mu.Unlock()
	if changed || w.plan.lag > 0 || w.isBroken() {
		return
	}
	listed := make(map[string]time.Time)
	for _, k := range w.palette.Keys() {
		listed[k.UID] = k.Expiry.Add(-w.plan.clock)
	}
	var waits strings.Builder
	for _, prefix := range []string{"owed/", "wal/"} {
		for _, text := range w.disk.below(prefix) {
			waits.Write(text)
		}
	}
	w.mu.Lock()
	var left *credential
	for _, c := range w.credentials {
		end, there := listed[c.id]
		// A key that a write-ahead entry alone accounts for dies by itself.
		if there && c.isShared() && !c.dropped && c.excused == "" && !c.in(waits.String()) && time.Since(end) > 3*time.Minute {
			left = c
		}
	}
	w.mu.Unlock()
	if left != nil {
		w.broken(invOneKey, "%s has expired, and Palette still has it", left)
	}
}
