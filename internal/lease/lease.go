// Package lease is the engine's part of a lease: what Vault keeps with the lease for the engine,
// and how long the lease may last.
//
// Promise: no lease outlives its credential, and what a version of the engine has put into a lease,
// each later version reads.
//
// State: none, but for the mount's limits, which [Limits] remembers for a moment under its lock.
package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/store"
)

// MaxTokens is how many live tokens a lease may hold. A lease that is renewed each second would
// otherwise gather 900, and no longer fit into a storage entry.
const MaxTokens = 8

// Lease is what the engine keeps with a lease in Vault (the lease's internal data): all that it
// takes to renew the lease and, when role and config are gone, to revoke it.
type Lease struct {
	// ID is the engine's own name for the lease. Vault's lease ID does not reach each callback.
	ID         string `json:"id"`
	Role       string `json:"role"`
	ConfigName string `json:"config_name"`
	// Identity is the config's at the issue. A renewal wants the same one.
	store.Identity
	// TTL is what the read asked for; 0 where the read did not ask.
	TTL time.Duration `json:"ttl"`
	// Tokens are the lease's tokens that may be alive, the newest last.
	Tokens []store.Token `json:"tokens"`
	// Shared: the lease hands out the config's shared session, and holds no tokens of its own.
	Shared bool `json:"shared"`
	// SharedKey: the lease hands out the role's shared API key, and holds no key of its own.
	SharedKey bool `json:"shared_key,omitempty"`
	// Key is the lease's API key, where the role hands out API keys.
	Key store.Key `json:"key"`
}

// New begins the lease of a read that asked for a ttl, 0 for none. The credential comes later.
func New(role string, r *store.Role, cfg *store.Config, asked time.Duration) (*Lease, error) {
	id, err := uuid.GenerateUUID()
	if err != nil {
		return nil, fmt.Errorf("naming the lease: %w", err)
	}
	return &Lease{ID: id, Role: role, ConfigName: r.ConfigName, Identity: cfg.Identity(), TTL: asked, Shared: r.Shared && !r.IsAPIKey(), SharedKey: r.SharesKey()}, nil
}

// PendingID names the lease's pending revocation. A renewal after a failed revocation brings a new
// token or expiry, and so another name: the lease's next revocation ends the new one too.
func (l *Lease) PendingID() string {
	until := l.Key.ExpiresAt
	if len(l.Tokens) > 0 {
		until = store.LastExpiry(l.Tokens)
	}
	return l.ID + "-" + strconv.FormatInt(until.UnixNano(), 36)
}

// What a lease holds, as a label of metrics and events.
const (
	HoldsToken     = "token"
	HoldsSession   = "shared_session"
	HoldsKey       = "api_key"
	HoldsSharedKey = "shared_api_key"
)

// Holds is what the lease holds.
func (l *Lease) Holds() string { return holds(l.Key.UID != "" || l.SharedKey, l.Shared || l.SharedKey) }

// HoldsOf is what the leases of a role hold.
func HoldsOf(r *store.Role) string { return holds(r.IsAPIKey(), r.Shared) }

func holds(key, shared bool) string {
	switch {
	case key && shared:
		return HoldsSharedKey
	case key:
		return HoldsKey
	case shared:
		return HoldsSession
	}
	return HoldsToken
}

var errUnreadable = errors.New("the lease's internal data cannot be read")

// From reads the engine's part of a lease.
func From(secret *logical.Secret) (*Lease, error) {
	if secret == nil {
		return nil, errors.New("the request holds no secret")
	}
	text, err := json.Marshal(secret.InternalData)
	if err != nil {
		return nil, errUnreadable
	}
	l := new(Lease)
	if err := json.Unmarshal(text, l); err != nil || l.ID == "" {
		return nil, errUnreadable
	}
	return l, nil
}

// InternalData is the lease in the form that Vault keeps. secretType is the type of the lease's
// secret, by which Vault's framework finds the callbacks of a renewed lease.
func (l *Lease) InternalData(secretType string) (map[string]any, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding the lease: %w", err)
	}
	data := make(map[string]any)
	if err := json.Unmarshal(text, &data); err != nil {
		return nil, fmt.Errorf("encoding the lease: %w", err)
	}
	data["secret_type"] = secretType
	return data, nil
}
