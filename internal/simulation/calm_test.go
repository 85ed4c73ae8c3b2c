package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// calm ends the faults, gives the mount a few minutes, and checks all that must hold then.
func (w *world) calm(repair bool) {
	w.traps.clear()
	w.idle()
	w.traps.clear() // a step under way may have set one
	if w.sealed.Load() || w.isBroken() {
		return
	}
	if repair {
		w.repair()
	}
	if _, err := w.current(); err != nil { // a crashed node starts again
		return
	}
	w.trouble()
	waits := w.left()
	time.Sleep(unaccounted + 90*time.Second)
	w.idle()
	w.quietLogins()
	w.check()
	w.checkSecrets()
	w.checkLeft(waits)
	w.checkReads()
	w.checkExpired()
	w.check()
}

// rollbackAge is when Vault has handed over a write-ahead entry to be undone, at the latest.
const rollbackAge = 17 * time.Minute

// left are the storage keys of what waits to be done.
func (w *world) left() []string {
	var keys []string
	for _, prefix := range []string{"owed/", "wal/"} {
		for name, text := range w.disk.below(prefix) {
			var ahead struct {
				CreatedAt int64 `json:"created_at"`
			}
			_ = json.Unmarshal(text, &ahead)
			// One that the storage has taken in spite of its error is unknown to the engine, until Vault hands it over.
			if prefix == "owed/" || time.Since(time.Unix(ahead.CreatedAt, 0)) > rollbackAge {
				keys = append(keys, prefix+name)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// checkLeft checks that nothing waits now that has waited before: Palette takes everything in calm.
func (w *world) checkLeft(before []string) {
	w.mu.Lock()
	changed := len(w.changed) > 0 && slices.Contains(slices.Collect(maps.Values(w.changed)), true)
	w.mu.Unlock()
	if changed || w.plan.lag > 0 && w.rotatesAllTheTime() {
		return
	}
	now := w.left()
	for _, key := range before {
		if slices.Contains(now, key) {
			w.broken(invAccounted, "%s is still there after minutes in which nothing was in the way", key)
		}
	}
}

// rotatesAllTheTime tells whether a config is rotated each minute. With a lag its logins fail at the beginning of a
// minute, when the engine looks after what is left.
func (w *world) rotatesAllTheTime() bool {
	for _, c := range w.storedConfigs() {
		if c.RotationPeriod == time.Minute {
			return true
		}
	}
	return false
}

// quietLogins waits until no account is suspended, nor the guard withholds logins, for what is over.
func (w *world) quietLogins() {
	recent := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, times := range w.rejections {
			if time.Since(times[len(times)-1]) < palettetest.LockoutTime {
				return true
			}
		}
		return false
	}
	suspended := func() bool {
		for _, email := range accountsOf {
			if w.palette.Suspended(email, w.plan.system.org(email)) {
				return true
			}
		}
		return false
	}
	if recent() || suspended() {
		time.Sleep(palettetest.LockoutTime + time.Minute)
	}
	// Palette also counts the rejections whose answer was lost, of which the guard cannot know.
	for range 6 {
		if suspended() {
			time.Sleep(palettetest.LockoutTime / 3)
		}
	}
	w.idle()
}

// checkSecrets checks that the secret which works is the one that a config holds.
func (w *world) checkSecrets() {
	for name := range w.storedConfigs() {
		knows, email := w.knows(name)
		for range 8 { // a rotation that rotation_period asks for may be under way
			if knows || w.isChanged(email) {
				break
			}
			time.Sleep(20 * time.Second)
			knows, email = w.knows(name)
		}
		if knows {
			w.setChanged(email, false)
		} else if !w.isChanged(email) {
			w.broken(invSecretWorks, "the secret of config %s does not work", name)
		}
	}
}

// knows tells whether the secret of a config works, and whose it is.
func (w *world) knows(config string) (bool, string) {
	c, has := w.storedConfigs()[config]
	email := account(config, c)
	if !has {
		return true, email
	}
	if c.APIKey != "" {
		return w.palette.KeyAlive(c.APIKey), email
	}
	user, _ := w.palette.User(email, w.plan.system.org(email))
	return user.Password == c.Password, email
}

// checkReads reads each role whose config is in order: that must succeed.
func (w *world) checkReads() {
	configs := w.storedConfigs()
	roles := w.storedRoles()
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		r := roles[name]
		c, has := configs[r.ConfigName]
		email := account(r.ConfigName, c)
		if !has || w.isBroken() || !c.serves(r) || w.isChanged(email) || w.palette.Suspended(email, w.plan.system.org(email)) {
			continue
		}
		time.Sleep(3 * time.Second) // a config may allow three calls a second, and wait for a turn no longer than one
		resp, err := w.readOnce(name)
		if err != nil && w.plan.lag > 0 { // a rotation of this moment is not known everywhere
			time.Sleep(3*time.Minute + 20*time.Second)
			resp, err = w.readOnce(name)
		}
		if err != nil && w.keysFull() {
			continue
		}
		if err != nil {
			w.broken(invSecretWorks, "in calm a read of creds/%s fails: %s", name, err)
			return
		}
		resp = w.replaced(name, r, resp)
		if !alive(w.palette, resp.Data) && !w.endedByHand(resp.Data) {
			w.broken(invSecretWorks, "in calm a read of creds/%s brings a credential that is dead", name)
		}
		outcome, _ := w.vault.register("creds/"+name, resp, false)
		w.story.tell("calm", "creds/%s: %s", name, outcome)
		if r.Shared && r.CredentialType == "api_key" {
			w.checkShared(name)
		}
	}
}

func (w *world) readOnce(role string) (*logical.Response, error) {
	resp, err := w.handle(context.Background(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/" + role})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return resp, err
}

// keysFull tells whether a user has as many API keys as Palette lets it have.
func (w *world) keysFull() bool {
	count := make(map[string]int)
	for _, k := range w.palette.Keys() {
		if count[k.UserUID]++; w.plan.keyLimit > 0 && count[k.UserUID] >= w.plan.keyLimit {
			return true
		}
	}
	return false
}

// endedByHand tells whether people have ended the session of a credential at Palette: the engine cannot know.
func (w *world) endedByHand(data map[string]any) bool {
	token, _ := data["token"].(string)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.endedSessions[claim(token, "sessionId")]
}

// end unmounts, or ends the life another way, and checks that nothing is left.
func (w *world) end(way string) {
	w.calm(way != "unmount-broken")
	if w.isBroken() {
		return
	}
	w.metrics()
	n, err := w.current()
	if err != nil {
		return
	}
	w.story.tell("vault", "the life ends by %s", way)
	if way == "unmount" || way == "unmount-broken" {
		w.unmount(n)
		return
	}
	w.sealed.Store(true)
	w.closed(n, w.close(n))
}

// closed checks that the node's connections end with it.
func (w *world) closed(n *node, took time.Duration) {
	if took > briefly {
		time.Sleep(5 * time.Minute)
	}
	time.Sleep(time.Second)
	if open := n.open(); open > 0 && !n.dead.Load() {
		w.broken(invEnded, "%d connections are open after the mount's end", open)
	}
}

// metrics reads the metrics, for the search for secrets.
func (w *world) metrics() {
	resp, err := w.handle(context.Background(), &logical.Request{Operation: logical.ReadOperation, Path: "metrics"})
	if err != nil {
		w.broken(invDeclared, "the metrics cannot be read: %s", err)
		return
	}
	_, _ = fmt.Fprintf(w.log, "%s", resp.Data[logical.HTTPRawBody])
	w.checkTexts()
}

// briefly is how long a clean-up takes at most that has seen the end of all calls: the engine waits five seconds for them.
const briefly = 4 * time.Second

// close calls Clean, and checks that it takes no longer than others of Vault's mounts can wait, and leaves no call under
// way that makes a credential.
func (w *world) close(n *node) time.Duration {
	began := time.Now()
	n.b.Cleanup(context.Background())
	took := time.Since(began)
	if took > time.Minute {
		w.broken(invEnded, "the clean-up takes %s", took)
	}
	if took < briefly {
		time.Sleep(time.Millisecond) // what is broken off is so by then
		if left := w.network.making(n, began); left > 0 && !n.dead.Load() {
			w.broken(invEnded, "the clean-up has not waited for %d calls that make credentials", left)
		}
	}
	return took
}

// unmount ends the mount. Nothing is in the way, so Palette ends all that it has made for the mount.
func (w *world) unmount(n *node) {
	w.tainted.Store(true)
	outcome := w.vault.leave()
	took := w.close(n)
	w.story.tell("vault", "unmounts: %s; the clean-up takes %s", outcome, took)
	w.disk.wipe()
	w.sealed.Store(true)
	w.closed(n, took)
	// The engine has five seconds: Palette takes ten calls a second, and may not know yet what was made just now.
	if took > briefly || w.plan.lag > 0 {
		return
	}
	live := w.live()
	w.mu.Lock()
	var lost *credential
	for _, c := range w.credentials {
		if live[c.id] && c.excused == "" && !c.dropped && !c.isRoot() { // a config's own key is what its people have
			lost = c
		}
	}
	w.mu.Unlock()
	if lost != nil {
		w.broken(invAccounted, "the mount is gone, and %s is alive", lost)
	}
}

// finish ends all that runs, and looks at what is left of it. The bubble finds goroutines that wait for ever.
func (w *world) finish() {
	w.over.Store(true)
	w.sealed.Store(true)
	for _, l := range w.vault.all() {
		w.vault.drop(l)
	}
	w.checkTexts()
	w.node.stop()
	w.node.cut()
	w.network.shut()
	w.palette.Close()
	time.Sleep(longest) // fake time stands still when the life is over: whoever waits then waits for ever
}
