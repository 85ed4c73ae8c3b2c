package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// caller is the context of one who hangs up after a while, or never where that is zero.
func caller(hangUp time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	if hangUp == 0 {
		return ctx, cancel
	}
	timer := time.AfterFunc(hangUp, cancel)
	return ctx, func() { timer.Stop(); cancel() }
}

// read asks for a credential.
func (w *world) read(role string, data map[string]any, hangUp time.Duration, fails bool) string {
	ctx, done := caller(hangUp)
	defer done()
	began := time.Now()
	resp, err := w.handle(ctx, &logical.Request{Operation: logical.ReadOperation, Path: "creds/" + role, Data: data})
	switch {
	case err != nil:
		return "fails: " + err.Error()
	case resp.IsError():
		return "is refused: " + resp.Error().Error()
	case ctx.Err() != nil:
		if time.Since(began) == hangUp { // nobody can tell which of the two was first
			w.excuseIn(fmt.Sprint(resp.Data), "its caller hung up at that moment")
		}
		return "comes too late for its caller"
	}
	outcome, _ := w.vault.register("creds/"+role, resp, fails)
	return outcome
}

// renew renews the k-th lease.
func (w *world) renew(k int, increment, hangUp time.Duration, fails bool) string {
	l := w.vault.nth(k)
	if l == nil {
		return "there is no lease"
	}
	ctx, done := caller(hangUp)
	defer done()
	return fmt.Sprintf("lease %d: %s", l.id, w.vault.renew(ctx, l, increment, fails))
}

// revoke ends the k-th lease: in the background, or for a caller who waits.
func (w *world) revoke(k int, waits bool, hangUp time.Duration) string {
	l := w.vault.nth(k)
	if l == nil {
		return "there is no lease"
	}
	if !waits {
		w.vault.expire(l)
		return fmt.Sprintf("lease %d ends", l.id)
	}
	ctx, done := caller(hangUp)
	defer done()
	return fmt.Sprintf("lease %d: %s", l.id, w.vault.revokeSync(ctx, l))
}

// ask makes a request that is no read of a credential.
func (w *world) ask(op logical.Operation, path string, data map[string]any, hangUp time.Duration) (bool, string) {
	ctx, done := caller(hangUp)
	defer done()
	resp, err := w.handle(ctx, &logical.Request{Operation: op, Path: path, Data: data})
	switch {
	case err != nil:
		return false, "fails: " + err.Error()
	case resp.IsError():
		return false, "is refused: " + resp.Error().Error()
	}
	return true, "done"
}

// killed ends a node whose clean-up is over. What its memory alone knew is lost where something was in the way.
func (w *world) killed(n *node, took time.Duration, quiet time.Time) {
	if n.dead.Swap(true) {
		return
	}
	if took > briefly || time.Since(quiet) < 3*time.Minute {
		w.crashed(n)
	}
	n.cut()
	n.stop()
	w.trouble()
}

// seal ends the node as a seal does, and starts the next after a while.
func (w *world) seal(lasts time.Duration) string {
	n, err := w.current()
	if err != nil || w.sealed.Swap(true) {
		return "it is sealed"
	}
	quiet := w.quietSince()
	n.stop()
	took := w.close(n)
	w.killed(n, took, quiet)
	time.Sleep(lasts)
	w.trouble()
	w.sealed.Store(false)
	_, _ = w.current()
	return fmt.Sprintf("the clean-up took %s, unsealed after %s", took, lasts)
}

// reload ends the node as a reload of the plugin does, and starts the next.
func (w *world) reload() string {
	n, err := w.current()
	if err != nil {
		return "it is sealed"
	}
	quiet := w.quietSince()
	took := w.close(n)
	w.killed(n, took, quiet)
	_, _ = w.current()
	return fmt.Sprintf("the clean-up took %s", took)
}

// move moves the mount: all its leases end one by one, and it lives on.
func (w *world) move() string {
	if w.sealed.Load() || w.tainted.Swap(true) {
		return "it cannot move now"
	}
	defer w.tainted.Store(false)
	return w.vault.leave()
}

// newSecret is a password that people make up.
func (w *world) newSecret() string {
	w.mu.Lock()
	w.handMade++
	n := w.handMade
	w.mu.Unlock()
	s := fmt.Sprintf("Made-By-Hand-%d-Today", n)
	w.keepSecret(s)
	return s
}

// changeAtPalette gives an account another password by hand.
func (w *world) changeAtPalette(config string) string {
	email, s := accountsOf[config], w.newSecret()
	w.setChanged(email, true)
	w.palette.SetPassword(email, w.plan.system.org(email), s)
	return s
}

// address is one of the names of Palette's host.
func address(alias int) string {
	return []string{"http://127.0.0.1:8443", "http://localhost:8443"}[alias]
}

// login are the fields by which a config logs in.
func (w *world) login(email, password string, alias int, more map[string]any) map[string]any {
	data := map[string]any{"address": address(alias), "org": orgName, "email": email, "password": password, "rate_burst": w.plan.burst}
	for k, v := range more {
		data[k] = v
	}
	return w.plan.system.login(data, email)
}

// writeSecret writes a config with a secret that works, made by hand a moment before.
func (w *world) writeSecret(config string, alias int, pause time.Duration, more map[string]any, hangUp time.Duration) string {
	email := accountsOf[config]
	if config == "keys" {
		return w.writeKey(alias, pause, more, hangUp)
	}
	password := w.changeAtPalette(config)
	time.Sleep(pause)
	data := w.login(email, password, alias, more)
	moves := w.storedConfigs()[config].Address != address(alias)
	ok, outcome := w.ask(logical.UpdateOperation, "config/"+config, data, hangUp)
	if moves {
		w.excuseRootKeys("people have led a config elsewhere")
	}
	if user, _ := w.palette.User(email, w.plan.system.org(email)); ok && user.Password == password && w.storedConfigs()[config].Password == password {
		w.setChanged(email, false)
	}
	return outcome
}

// writeKey writes the config that holds an API key, with one that people have made.
func (w *world) writeKey(alias int, pause time.Duration, more map[string]any, hangUp time.Duration) string {
	email := accountsOf["keys"]
	w.mu.Lock()
	w.handMade++
	uid := fmt.Sprintf("%024x", w.handMade)
	w.mu.Unlock()
	s := "a-key-made-by-hand-" + uid
	w.keepSecret(s)
	w.setChanged(email, true)
	w.palette.PlantKey(email, orgName, uid, "by hand", s, time.Now().Add(100*24*time.Hour))
	time.Sleep(pause)
	w.excuseRootKeys("people have given the config another key")
	data := map[string]any{"address": address(alias), "org": orgName, "api_key": s, "api_key_uid": uid, "rate_burst": w.plan.burst}
	for k, v := range more {
		data[k] = v
	}
	ok, outcome := w.ask(logical.UpdateOperation, "config/keys", data, hangUp)
	if w.storedConfigs()["keys"].APIKey == s { // a rotation may have come between
		w.excuseRootKeys("people have given the config another key")
	}
	if ok && w.palette.KeyAlive(s) && w.storedConfigs()["keys"].APIKey == s {
		w.setChanged(email, false)
	}
	return outcome
}

// excuseRootKeys leaves a config's own keys to the people who have taken the config away: the engine could not look
// for them. So it does the keys that a write-ahead entry alone accounts for.
func (w *world) excuseRootKeys(why string) {
	live := w.live()
	var elsewhere strings.Builder
	w.vault.text(&elsewhere)
	for key, text := range w.disk.below("") {
		if !strings.HasPrefix(key, "wal/") {
			elsewhere.Write(text)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takenAway = time.Now()
	for _, c := range w.credentials {
		if c.key && live[c.id] && c.excused == "" && (c.dropped || c.isRoot() || !c.in(elsewhere.String())) {
			c.excused = why
		}
	}
}

// repair lets people mend each config whose secret they have changed. That must work.
func (w *world) repair() {
	w.quietLogins()
	configs := w.storedConfigs()
	for _, name := range []string{"default", "ci", "keys"} {
		c, has := configs[name]
		if !has || !w.isChanged(account(name, c)) {
			continue
		}
		outcome := w.writeSecret(name, 0, w.plan.lag+time.Second, nil, 0)
		if strings.Contains(outcome, "429") { // A hold may last longer than queue_timeout: try again later.
			w.story.tell("people", "mend config/%s, and wait a minute: %s", name, outcome)
			time.Sleep(time.Minute)
			outcome = w.writeSecret(name, 0, w.plan.lag+time.Second, nil, 0)
		}
		w.story.tell("people", "mend config/%s: %s", name, outcome)
		if outcome != "done" {
			w.broken(invSecretWorks, "people cannot mend config/%s: %s", name, outcome)
		}
	}
}
