package lease

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/store"
)

// limitsFor is how long the mount's limits are taken as they were last read. In an external plugin
// each limit is a round trip to Vault, and a read needs both.
const limitsFor = 5 * time.Second

// Limits are the mount's default and maximum lease, as "vault secrets tune" sets them.
type Limits struct {
	System func() logical.SystemView

	mu        sync.Mutex
	readAt    time.Time
	byDefault time.Duration
	max       time.Duration
}

// Get returns the mount's default and maximum lease.
func (l *Limits) Get() (byDefault, longest time.Duration) {
	l.mu.Lock()
	fresh := !l.readAt.IsZero() && time.Since(l.readAt) < limitsFor
	byDefault, longest = l.byDefault, l.max
	l.mu.Unlock()
	if fresh {
		return byDefault, longest
	}
	now, system := time.Now(), l.System()
	byDefault, longest = system.DefaultLeaseTTL(), system.MaxLeaseTTL()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readAt, l.byDefault, l.max = now, byDefault, longest
	return byDefault, longest
}

// MaxLease is the mount's maximum lease.
func (l *Limits) MaxLease() time.Duration {
	_, longest := l.Get()
	return longest
}

// Limit is what bounds a lease, and how long the lease may last from now on.
type Limit struct {
	Name string
	Left time.Duration
}

// TokenLimit is the limit that a token's life sets.
func TokenLimit(life time.Duration) Limit { return Limit{"the token's life", life} }

// defaultKeyTTL is the term of a key's lease where the role names none.
const defaultKeyTTL = time.Hour

// KeyLifeLimit is the limit that an API key's life sets; left is as [KeyLeft] tells.
func KeyLifeLimit(left time.Duration) Limit { return Limit{"the key's life", left} }

// KeyLimit is the limit of each term of an API key's lease.
func KeyLimit(r *store.Role) Limit {
	if r.TTL > 0 {
		return Limit{"the role's ttl", r.TTL}
	}
	return Limit{"an hour, the default for API keys,", defaultKeyTTL}
}

// Shortest returns the tightest limit on a term of a lease that was issued some time ago.
// also are further limits: a token's life, or the term of an API key's lease.
func (l *Limits) Shortest(r *store.Role, elapsed time.Duration, also ...Limit) Limit {
	byDefault, longest := l.Get()
	limits := append(also, Limit{"the mount's max_lease_ttl", longest - elapsed})
	if r.TTL > 0 {
		limits = append(limits, Limit{"the role's ttl", r.TTL})
	} else {
		limits = append(limits, Limit{"the mount's default_lease_ttl", byDefault})
	}
	if r.MaxTTL > 0 {
		limits = append(limits, Limit{"the role's max_ttl", r.MaxTTL - elapsed})
	}
	return slices.MinFunc(limits, func(x, y Limit) int { return cmp.Compare(x.Left, y.Left) })
}

// Cut is the warning for a ttl that was asked for and cut.
func (l Limit) Cut(asked time.Duration) string {
	return fmt.Sprintf("ttl is %s, but %s allows %s, so that is how long the lease lasts", asked, l.Name, l.Left)
}

// Bound sets how long a renewed lease may last from now on. Where the caller names an increment,
// Vault ignores TTL and cuts by MaxTTL, counted from the issue (measured with Vault 1.21). So MaxTTL
// carries the limit.
//
// Vault counts in whole seconds, each time truncated, and so does Bound: in fractions the lease
// could outlive its credential by a second.
func (l *Lease) Bound(secret *logical.Secret, granted time.Duration, now time.Time) {
	secret.TTL = granted
	if l.TTL > 0 {
		secret.TTL = min(granted, l.TTL)
	}
	secret.MaxTTL = now.Truncate(time.Second).Sub(secret.IssueTime.Truncate(time.Second)) + granted
}

// KeyLeft is how long a lease may still last that its key outlives by grace. Vault counts
// in whole seconds, so KeyLeft rounds up to them at the expense of grace. Less than a second stays.
func KeyLeft(key store.Key, grace time.Duration, now time.Time) time.Duration {
	left := key.ExpiresAt.Add(-grace).Sub(now)
	if whole := left.Truncate(time.Second); whole > 0 && whole < left {
		return whole + time.Second
	}
	return left
}
