package telemetry

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
)

// Types of events, and when each is sent. Observations have the same. docs/reference/events.md is made of these.
const (
	EventConfigWrite    = "palette/config-write"      // A config was written.
	EventConfigDelete   = "palette/config-delete"     // A config was deleted.
	EventTrustWrite     = "palette/trust-write"       // The trust of a config was written.
	EventRoleWrite      = "palette/role-write"        // A role was written.
	EventRoleDelete     = "palette/role-delete"       // A role was deleted.
	EventSessionEnd     = "palette/session-delete"    // Somebody has ended a shared session by hand.
	EventRotated        = "palette/root-rotate"       // A rotation has ended well, by hand or by rotation_period.
	EventRotateFailed   = "palette/root-rotate-fail"  // A rotation has failed, by hand or by rotation_period.
	EventIssued         = "palette/creds-create"      // A lease was issued.
	EventRenewed        = "palette/creds-renew"       // A lease was renewed.
	EventRevoked        = "palette/creds-revoke"      // A lease has ended. With pending=true Palette has not ended the credential yet.
	EventRevokeFailed   = "palette/creds-revoke-fail" // A revocation has failed. Vault tries again, and with pending=true the engine does too.
	EventPendingRevoked = "palette/pending-revoke"    // A retry has ended pending revocations.
)

// sendTimeout bounds how long a request waits for Vault to take an event.
const sendTimeout = 2 * time.Second

// Events sends to Vault what has changed. An event's metadata are names of the mount's own, never
// anything of a credential.
type Events struct {
	Logger  func() hclog.Logger
	Metrics *Metrics
	System  func() logical.SystemView

	sender       logical.EventSender
	observations logical.ObservationRecorder
	// disabled: the server takes events and drops them.
	disabled atomic.Bool
}

// Connect says where events and observations go; nil for nowhere.
func (e *Events) Connect(sender logical.EventSender, observations logical.ObservationRecorder) {
	e.sender, e.observations = sender, observations
}

// enterprise is in the version of each of Vault's Enterprise servers: 1.21.2+ent.
const enterprise = "ent"

// Initialize notes whether the server does anything with events. The community server takes and
// drops them (measured with Vault 1.21), and two calls for each lease would make reads slower for
// nothing. A server that does not say what it is gets events.
func (e *Events) Initialize(ctx context.Context, _ logical.Storage) error {
	env, err := e.System().PluginEnv(ctx)
	e.disabled.Store(err == nil && env != nil && !strings.Contains(env.VaultVersionMetadata, enterprise))
	return nil
}

// MsgEventLost is the log's message for an event that Vault did not take.
const MsgEventLost = "Vault did not take an event"

// Send sends an event and an observation, where the server has them. path is the mount's, metadata
// are pairs of names and values. An event that Vault does not take is counted, and no request fails
// for it.
func (e *Events) Send(kind, path string, metadata ...string) {
	if e.disabled.Load() || e.sender == nil && e.observations == nil {
		return
	}
	// The request's own context may have ended: what has happened is told all the same.
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	pairs := append([]string{logical.EventMetadataPath, path}, metadata...)
	var lost error
	if e.sender != nil {
		lost = logical.SendEvent(ctx, e.sender, kind, pairs...)
	}
	if e.observations != nil {
		data := make(map[string]any)
		for i := 0; i+1 < len(pairs); i += 2 {
			data[pairs[i]] = pairs[i+1]
		}
		lost = errors.Join(lost, e.observations.RecordObservationFromPlugin(ctx, kind, data))
	}
	if lost != nil {
		e.Metrics.eventsLost.Inc()
		e.Logger().Debug(MsgEventLost, "type", kind, "error", lost)
	}
}

// Pending tells of pending revocations; it implements revocation.Metrics.
type Pending struct {
	*Metrics
	*Events
}

// PendingRevoked tells how many credentials a retry has ended, and of which kind.
func (p Pending) PendingRevoked(n int, kind string) {
	p.Send(EventPendingRevoked, "pending", "count", strconv.Itoa(n), "type", kind)
}
