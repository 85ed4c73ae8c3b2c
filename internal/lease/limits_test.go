package lease_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/store"
)

// limits are those of a mount.
func limits(byDefault, longest time.Duration) *lease.Limits {
	return &lease.Limits{System: func() logical.SystemView {
		return logical.StaticSystemView{DefaultLeaseTTLVal: byDefault, MaxLeaseTTLVal: longest}
	}}
}

// No lease outlives its credential, its role's and its mount's limits: the shortest counts.
func TestTermIsTheShortestOfItsLimits(t *testing.T) {
	const h, m = time.Hour, time.Minute
	for _, c := range []struct {
		byDefault, longest time.Duration // the mount's
		ttl, maxTTL        time.Duration // the role's
		elapsed, life      time.Duration
		want               time.Duration
		by                 string
	}{
		{24 * h, 48 * h, 0, 0, 0, 15 * m, 15 * m, "the token's life"},
		{10 * m, 48 * h, 0, 0, 0, 15 * m, 10 * m, "the mount's default_lease_ttl"},
		{10 * m, 48 * h, 12 * m, 0, 0, 15 * m, 12 * m, "the role's ttl"}, // in place of the mount's default
		{24 * h, 5 * m, 12 * m, 0, 0, 15 * m, 5 * m, "the mount's max_lease_ttl"},
		{24 * h, 1 * h, 0, 0, 50 * m, 15 * m, 10 * m, "the mount's max_lease_ttl"}, // counted from the issue
		{24 * h, 48 * h, 0, 1 * h, 0, 15 * m, 15 * m, "the token's life"},
		{24 * h, 48 * h, 30 * m, 1 * h, 58 * m, 15 * m, 2 * m, "the role's max_ttl"},
		{24 * h, 48 * h, 0, 1 * h, 2 * h, 15 * m, -1 * h, "the role's max_ttl"}, // over
	} {
		got := limits(c.byDefault, c.longest).Shortest(&store.Role{TTL: c.ttl, MaxTTL: c.maxTTL}, c.elapsed, lease.TokenLimit(c.life))
		assert.Equal(t, lease.Limit{Name: c.by, Left: c.want}, got)
	}
}

func TestTermOfAnAPIKey(t *testing.T) {
	assert.Equal(t, time.Hour, lease.KeyLimit(&store.Role{}).Left)
	shared := limits(time.Hour, time.Hour).Shortest(&store.Role{}, 0, lease.KeyLimit(&store.Role{}), lease.KeyLifeLimit(time.Minute))
	assert.Equal(t, lease.Limit{Name: "the key's life", Left: time.Minute}, shared)
	got := lease.KeyLimit(&store.Role{TTL: 48 * time.Hour})
	assert.Equal(t, lease.Limit{Name: "the role's ttl", Left: 48 * time.Hour}, got)
	assert.Equal(t, "ttl is 72h0m0s, but the role's ttl allows 48h0m0s, so that is how long the lease lasts", got.Cut(72*time.Hour))
}

// In an external plugin each limit is a round trip to Vault.
func TestTermLimitsAreReadOnceInFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, longest := 0, time.Hour
		l := &lease.Limits{System: func() logical.SystemView {
			asked++
			return logical.StaticSystemView{DefaultLeaseTTLVal: time.Minute, MaxLeaseTTLVal: longest}
		}}
		assert.Equal(t, time.Hour, l.MaxLease())
		longest = 2 * time.Hour
		time.Sleep(5*time.Second - time.Millisecond)
		assert.Equal(t, time.Hour, l.MaxLease())
		time.Sleep(time.Millisecond)
		byDefault, got := l.Get()
		assert.Equal(t, []time.Duration{time.Minute, 2 * time.Hour}, []time.Duration{byDefault, got})
		assert.Equal(t, 2, asked)
	})
}

// Vault cuts a renewed lease by MaxTTL alone, counted from the issue, in whole seconds.
func TestTermThatIsRenewed(t *testing.T) {
	issued := now.Add(-10*time.Minute + 700*time.Millisecond)
	for _, c := range []struct{ asked, granted, ttl, maxTTL time.Duration }{
		{0, 15 * time.Minute, 15 * time.Minute, 25 * time.Minute},
		{5 * time.Minute, 15 * time.Minute, 5 * time.Minute, 25 * time.Minute},
		{time.Hour, 15 * time.Minute, 15 * time.Minute, 25 * time.Minute},
	} {
		secret := &logical.Secret{LeaseOptions: logical.LeaseOptions{IssueTime: issued}}
		(&lease.Lease{TTL: c.asked}).Bound(secret, c.granted, now.Add(300*time.Millisecond))
		assert.Equal(t, []time.Duration{c.ttl, c.maxTTL}, []time.Duration{secret.TTL, secret.MaxTTL}, fmt.Sprint(c.asked))
	}
}

// A key outlives its lease by the grace, of which a part goes to make whole seconds.
func TestTermThatAKeyLeaves(t *testing.T) {
	const grace = time.Minute
	for left, want := range map[time.Duration]time.Duration{
		time.Hour:                       time.Hour - grace,
		time.Hour + time.Millisecond:    time.Hour - grace + time.Second,
		grace + 500*time.Millisecond:    500 * time.Millisecond, // less than a second stays
		grace:                           0,
		30 * time.Second:                -30 * time.Second,
		grace + 1001*time.Millisecond:   2 * time.Second,
		time.Hour - time.Millisecond:    time.Hour - grace,
		-time.Hour + 1*time.Millisecond: -time.Hour - grace + time.Millisecond,
	} {
		assert.Equal(t, want, lease.KeyLeft(store.Key{ExpiresAt: now.Add(left)}, grace, now), left.String())
	}
}
