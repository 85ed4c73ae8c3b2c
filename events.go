package palette

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Types of events. Observations have the same.
const (
	eventConfigWrite  = "palette/config-write"
	eventConfigDelete = "palette/config-delete"
	eventRoleWrite    = "palette/role-write"
	eventRoleDelete   = "palette/role-delete"
	eventSessionEnd   = "palette/session-delete"
	eventRotated      = "palette/root-rotate"
	eventRotateFailed = "palette/root-rotate-fail"
	eventIssued       = "palette/creds-create"
	eventRenewed      = "palette/creds-renew"
	eventRevoked      = "palette/creds-revoke"
	eventRevokeFailed = "palette/creds-revoke-fail"
	eventOwedRevoked  = "palette/owed-revoke"
)

// maxWaitingEvents bounds the events that wait for Vault to take them. Beyond it they are
// dropped and counted: no credential waits for an event.
const maxWaitingEvents = 1000

// announcer sends what has changed to Vault, one after the other in the order in which it
// happened, apart from the request that it is about: each is two calls to Vault's process.
type announcer struct {
	events       logical.EventSender
	observations logical.ObservationRecorder
	// deaf: the server takes events and drops them.
	deaf atomic.Bool

	mu      sync.Mutex
	waiting []announcement
	// sending: a goroutine works the line off.
	sending bool
}

// announcement is something that has happened. Its metadata are names of the mount's own,
// never anything of a credential.
type announcement struct {
	kind     string
	metadata []string // pairs
}

// announce sends an event and an observation, where the server has those. path is the
// mount's, metadata are pairs of names and values.
func (b *backend) announce(kind, path string, metadata ...string) {
	a := &b.announcer
	if a.deaf.Load() || a.events == nil && a.observations == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) >= maxWaitingEvents {
		b.metrics.eventsLost.Inc()
		return
	}
	a.waiting = append(a.waiting, announcement{kind, append([]string{logical.EventMetadataPath, path}, metadata...)})
	if a.sending {
		return
	}
	if a.sending = b.inBackground(b.sendAnnouncements); !a.sending { // the mount is gone
		b.metrics.eventsLost.Add(float64(len(a.waiting)))
		a.waiting = nil
	}
}

// detectListener notes whether the server does anything with events. The community one takes
// and drops them, and two calls to it for each lease would make reads slower for nothing. One
// that does not say what it is gets them.
func (b *backend) detectListener(ctx context.Context) {
	env, err := b.System().PluginEnv(ctx)
	b.announcer.deaf.Store(err == nil && env != nil && !strings.Contains(env.VaultVersionMetadata, enterprise))
}

// enterprise is in the version of each of Vault's Enterprise servers: 1.21.2+ent.
const enterprise = "ent"

// next takes an announcement off the line; false ends the work.
func (a *announcer) next() (announcement, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 {
		a.sending = false
		return announcement{}, false
	}
	first := a.waiting[0]
	a.waiting = a.waiting[1:]
	return first, true
}

func (b *backend) sendAnnouncements() {
	for next, ok := b.announcer.next(); ok; next, ok = b.announcer.next() {
		b.shielded(func() { b.sendAnnouncement(next) })
	}
}

// sendAnnouncement sends to both. What Vault does not take is counted, and forgotten.
func (b *backend) sendAnnouncement(next announcement) {
	ctx := context.Background() // the request is over
	var lost error
	if b.announcer.events != nil {
		lost = logical.SendEvent(ctx, b.announcer.events, next.kind, next.metadata...)
	}
	if b.announcer.observations != nil {
		data := make(map[string]any)
		for i := 0; i+1 < len(next.metadata); i += 2 {
			data[next.metadata[i]] = next.metadata[i+1]
		}
		lost = errors.Join(lost, b.announcer.observations.RecordObservationFromPlugin(ctx, next.kind, data))
	}
	if lost != nil {
		b.metrics.eventsLost.Inc()
		b.Logger().Debug("Vault did not take an event", "type", next.kind, "error", lost)
	}
}

// announced makes an operation that changes something one whose success is announced.
func (b *backend) announced(kind string, handler framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := handler(ctx, req, d)
		if err == nil && !resp.IsError() {
			b.announce(kind, req.Path, logical.EventMetadataOperation, string(req.Operation), logical.EventMetadataModified, "true")
		}
		return resp, err
	}
}

// leaseDone counts and announces what has become of an operation on a lease. A failure is
// announced where it may leave something alive: that of a revocation.
func (b *backend) leaseDone(operation, holds string, l *lease, err error, more ...string) {
	b.metrics.lease(operation, holds, err == nil)
	kind := map[string]string{leaseIssued: eventIssued, leaseRenewed: eventRenewed, leaseRevoked: eventRevoked}[operation]
	switch {
	case err != nil && operation != leaseRevoked:
		return
	case err != nil:
		kind = eventRevokeFailed
	}
	b.announce(kind, "creds/"+l.Role, append([]string{"role", l.Role, "config", l.ConfigName, "type", holds, "lease", l.ID}, more...)...)
}

// holds is what a lease holds, as a label.
func (l *lease) holds() string { return holds(l.Key.UID != "", l.Shared) }

// holds is what the leases of a role hold.
func (r *role) holds() string { return holds(r.CredentialType == credentialAPIKey, r.Shared) }

func holds(key, shared bool) string {
	switch {
	case key:
		return holdsKey
	case shared:
		return holdsSession
	}
	return holdsToken
}

// renewing makes a renewal of a lease what Vault calls, counted and announced.
func (b *backend) renewing(renew func(context.Context, *logical.Request, *lease) (*logical.Response, error)) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
		l, err := leaseOf(req.Secret)
		if err != nil {
			return nil, err
		}
		resp, err := renew(ctx, req, l)
		b.leaseDone(leaseRenewed, l.holds(), l, err)
		return resp, err
	}
}

// revoking does the same for the end of a lease. owed: Palette has not ended yet what it
// held; the engine goes on trying.
func (b *backend) revoking(revoke func(context.Context, logical.Storage, *lease) (owed bool, err error)) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
		l, err := leaseOf(req.Secret)
		if err != nil {
			return nil, err
		}
		owed, err := revoke(ctx, req.Storage, l)
		b.leaseDone(leaseRevoked, l.holds(), l, err, "owed", strconv.FormatBool(owed))
		return nil, err
	}
}

// rotationDone counts and announces a rotation that has ended.
func (b *backend) rotationDone(ctx context.Context, s logical.Storage, name string, err error) {
	secret := secretPassword
	if cfg, unknown := b.configs.get(ctx, s, name); unknown == nil && cfg != nil && cfg.APIKey != "" {
		secret = secretKey
	}
	b.metrics.rotation(secret, err == nil)
	kind := eventRotated
	if err != nil {
		kind = eventRotateFailed
	}
	b.announce(kind, "rotate-root/"+name, "config", name, "secret", secret, logical.EventMetadataModified, strconv.FormatBool(err == nil))
}

// owedDone announces that the list has been worked off a way: revoked at last.
func (b *backend) owedDone(n int, holds string) {
	b.announce(eventOwedRevoked, "owed", "count", strconv.Itoa(n), "type", holds)
}
