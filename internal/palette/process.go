package palette

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"vault-plugin-secrets-palette/internal/palette/lockout"
)

// retryPause is the first pause before a call is sent again; it doubles with each.
const retryPause = 250 * time.Millisecond

// Process is what all clients of a plugin process share, whatever mount they are of:
// Palette counts the calls of an IP address and the failed logins of an account, not those
// of a mount.
type Process struct {
	// pause is the first pause before a call is sent again.
	pause time.Duration
	// dial connects instead of the network; nil in a running plugin.
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	pacers map[string]*pacer // by address
	// counted says at which address the limit of a holder counts.
	counted  map[any]string
	accounts map[account]*lockout.Account
}

// NewProcess makes the shared part of a process's clients.
func NewProcess() *Process {
	return &Process{
		pause:  retryPause,
		pacers: make(map[string]*pacer), accounts: make(map[account]*lockout.Account), counted: make(map[any]string),
	}
}

// WithoutPauses makes calls that fail go out again at once, for tests that are not about
// the pauses.
func (p *Process) WithoutPauses() *Process {
	p.pause = 0
	return p
}

// WithDial makes connections by dial instead of the network, for tests whose Palette listens in
// memory.
func (p *Process) WithDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Process {
	p.dial = dial
	return p
}

// CountLimit makes a rate limit, in calls a second (0: none), count for all calls to an
// address. A holder, such as a config of a mount, has one; it must be comparable. The lowest
// among those of an address counts. Where none does, the one of the client's connection.
func (p *Process) CountLimit(holder any, address string, limit int) {
	p.mu.Lock()
	before, had := p.counted[holder]
	p.counted[holder] = address
	p.mu.Unlock()
	if had && before != address {
		p.pacer(before).uncount(holder)
	}
	p.pacer(address).count(holder, limit)
}

// UncountLimit takes a holder's limit back.
func (p *Process) UncountLimit(holder any) {
	p.mu.Lock()
	address, had := p.counted[holder]
	delete(p.counted, holder)
	p.mu.Unlock()
	if had {
		p.pacer(address).uncount(holder)
	}
}

// Holders are those whose limits count.
func (p *Process) Holders() []any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.counted))
}

// NewClient makes a client. It sends nothing. observer may be nil. Errors are *[FieldError].
func (p *Process) NewClient(conn Connection, userAgent string, observer Observer) (*Client, error) {
	if observer == nil {
		observer = unobserved{}
	}
	transport, err := conn.transport()
	if err != nil {
		return nil, err
	}
	if p.dial != nil {
		transport.DialContext = p.dial
	}
	c := &Client{
		process: p, conn: conn, host: conn.hostPort(), userAgent: userAgent,
		transport: transport, pacer: p.pacer(conn.Address), observer: observer,
	}
	c.pacer.mu.Lock()
	defer c.pacer.mu.Unlock()
	c.pacer.fallback = conn.RateLimit
	return c, nil
}

func (p *Process) pacer(address string) *pacer {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.pacers[address]
	if !ok {
		at = &pacer{limits: make(map[any]int)}
		p.pacers[address] = at
	}
	return at
}

// account is what Palette counts failed logins by.
type account struct{ address, org, email string }

func (p *Process) account(of account) *lockout.Account {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.accounts[of]
	if !ok {
		a = new(lockout.Account)
		p.accounts[of] = a
	}
	return a
}
