package palette

import (
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// mountLimitsFor is how long the mount's limits are taken as they were last read. In an
// external plugin each is a round trip to Vault, and a read needs both.
const mountLimitsFor = 5 * time.Second

// mountLimits are the mount's default and maximum lease, as "vault secrets tune" sets
// them.
type mountLimits struct {
	mu        sync.Mutex
	readAt    time.Time
	byDefault time.Duration
	most      time.Duration
}

func (m *mountLimits) get(system logical.SystemView) (byDefault, most time.Duration) {
	m.mu.Lock()
	fresh := !m.readAt.IsZero() && time.Since(m.readAt) < mountLimitsFor
	byDefault, most = m.byDefault, m.most
	m.mu.Unlock()
	if fresh {
		return byDefault, most
	}
	now := time.Now()
	byDefault, most = system.DefaultLeaseTTL(), system.MaxLeaseTTL()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readAt, m.byDefault, m.most = now, byDefault, most
	return byDefault, most
}
