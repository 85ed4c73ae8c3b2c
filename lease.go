package palette

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// maxLeaseTokens is how many live tokens one lease may hold. A lease that is renewed
// each second would otherwise gather 900, and no longer fit into a storage entry.
const maxLeaseTokens = 8

// lease is what the engine keeps with a lease in Vault (its internal data): all that it
// takes to renew it and, when role and config are gone, to revoke it.
type lease struct {
	// ID is the engine's own name for the lease, see also debtID. Vault's lease ID does not reach each callback.
	ID         string `json:"id"`
	Role       string `json:"role"`
	ConfigName string `json:"config_name"`
	// origin is the config's at the issue. A renewal wants the same one.
	origin
	// TTL is what the read asked for, 0 where it did not.
	TTL time.Duration `json:"ttl"`
	// Tokens are the lease's tokens that may be alive, the newest last.
	Tokens []heldToken `json:"tokens"`
	// Shared: the lease hands out the config's session, and holds no tokens of its own.
	Shared bool `json:"shared"`
	// Key is the lease's API key, where it is one of a role with credential_type=api_key.
	Key heldKey `json:"key"`
}

// debtID is under which the engine lists what the lease holds, to be ended later: a renewal
// that comes after a revocation which failed makes it another one.
func (l *lease) debtID() string {
	until := l.Key.ExpiresAt
	if len(l.Tokens) > 0 {
		until = lastDeath(l.Tokens)
	}
	return l.ID + "-" + strconv.FormatInt(until.UnixNano(), 36)
}

// origin is the user at a Palette that a credential comes from.
type origin struct {
	Address string `json:"address"`
	Org     string `json:"org"`
	Email   string `json:"email"`
}

// newLease begins the lease of a read that asked for a ttl, 0 for none. What it holds comes
// later.
func newLease(name string, r *role, cfg *config, asked time.Duration) (*lease, error) {
	id, err := uuid.GenerateUUID()
	if err != nil {
		return nil, fmt.Errorf("naming the lease: %w", err)
	}
	return &lease{ID: id, Role: name, ConfigName: r.ConfigName, origin: cfg.origin(), TTL: asked, Shared: r.Shared}, nil
}

// heldToken is a token that the engine answers for until it is dead.
type heldToken struct {
	Token palette.Secret `json:"token"`
	// ExpiresAt is when it is dead at Palette too, by Vault's clock.
	ExpiresAt time.Time `json:"expires_at"`
}

func held(t palette.Token) heldToken {
	return heldToken{Token: t.Raw, ExpiresAt: t.ExpiresAt.UTC()}
}

// left is how much of its life the token has left. Palette cuts a token's iat, and with it
// the end, to the second.
func (t heldToken) left(now time.Time) time.Duration {
	return t.ExpiresAt.Truncate(time.Second).Sub(now)
}

// alive returns the tokens that are not dead yet.
func alive(tokens []heldToken, now time.Time) []heldToken {
	return slices.DeleteFunc(slices.Clone(tokens), func(t heldToken) bool { return !t.ExpiresAt.After(now) })
}

// lastDeath is when the last one of tokens dies by itself.
func lastDeath(tokens []heldToken) time.Time {
	var last time.Time
	for _, t := range tokens {
		if t.ExpiresAt.After(last) {
			last = t.ExpiresAt
		}
	}
	return last
}

// leaseOf reads the engine's part of a lease.
func leaseOf(secret *logical.Secret) (*lease, error) {
	if secret == nil {
		return nil, fmt.Errorf("the request holds no secret")
	}
	text, err := json.Marshal(secret.InternalData)
	if err != nil {
		return nil, fmt.Errorf("the lease's internal data cannot be read")
	}
	l := new(lease)
	if err := json.Unmarshal(text, l); err != nil || l.ID == "" {
		return nil, fmt.Errorf("the lease's internal data cannot be read")
	}
	return l, nil
}

// internalData is the lease in the form that Vault keeps.
func (l *lease) internalData() (map[string]any, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding the lease: %w", err)
	}
	data := make(map[string]any)
	if err := json.Unmarshal(text, &data); err != nil {
		return nil, fmt.Errorf("encoding the lease: %w", err)
	}
	return data, nil
}

// bound sets how long a renewed lease may last from now on. The caller's increment
// overrides TTL; only MaxTTL, counted from the issue, cuts it. Vault counts in whole
// seconds, each time truncated, and so does this: in fractions the lease could outlive what
// it carries by one.
func (b *backend) bound(secret *logical.Secret, l *lease, granted time.Duration, now time.Time) {
	secret.TTL = granted
	if l.TTL > 0 {
		secret.TTL = min(granted, l.TTL)
	}
	secret.MaxTTL = now.Truncate(time.Second).Sub(secret.IssueTime.Truncate(time.Second)) + granted
}

// limit is something that bounds a lease, and how long it lets it last from now on.
type limit struct {
	name string
	left time.Duration
}

// tokenLimit is what bounds a lease beside its role and mount: its token's life.
func tokenLimit(life time.Duration) limit { return limit{"the token's life", life} }

// tooLong is the warning for a ttl that was asked for and cut.
func tooLong(asked time.Duration, granted limit) string {
	return fmt.Sprintf("ttl is %s, but %s allows %s, so that is how long the lease lasts", asked, granted.name, granted.left)
}

// shortest returns the tightest limit on a term of a lease that was issued some time ago
// and is bounded by what it carries.
func (b *backend) shortest(r *role, elapsed time.Duration, carries limit) limit {
	byDefault, most := b.limits.get(b.System())
	limits := []limit{
		carries,
		{"the mount's max_lease_ttl", most - elapsed},
	}
	if r.TTL > 0 {
		limits = append(limits, limit{"the role's ttl", r.TTL})
	} else {
		limits = append(limits, limit{"the mount's default_lease_ttl", byDefault})
	}
	if r.MaxTTL > 0 {
		limits = append(limits, limit{"the role's max_ttl", r.MaxTTL - elapsed})
	}
	return slices.MinFunc(limits, func(x, y limit) int { return cmp.Compare(x.left, y.left) })
}
