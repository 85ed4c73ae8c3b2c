package exchange

import (
	"context"
	"net"
	"sync"
	"time"

	"vault-plugin-secrets-palette/internal/palette/lockout"
	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palette/transport"
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

	mu sync.Mutex
	// limits and clocks are by address, and accounts by theirs, in normal form: Palette counts what it
	// is, however it is spelled.
	limits   map[string]*ratelimit.Address
	clocks   map[string]*clock
	accounts map[Account]*lockout.Account
}

// NewProcess makes the shared part of a process's clients.
func NewProcess() *Process {
	return &Process{
		pause:  retryPause,
		limits: make(map[string]*ratelimit.Address), clocks: make(map[string]*clock), accounts: make(map[Account]*lockout.Account),
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

// NewClient makes a client. It sends nothing. Errors are *[transport.FieldError].
func (p *Process) NewClient(conn transport.Connection, userAgent string, observer Observer) (*Client, error) {
	pool, err := conn.Transport()
	if err != nil {
		return nil, err
	}
	if p.dial != nil {
		pool.DialContext = p.dial
	}
	return &Client{
		process: p, conn: conn, host: conn.HostPort(), userAgent: userAgent,
		pool: pool, limits: p.limitsOf(conn.Address), clock: p.clock(conn.Address), Observer: observer,
	}, nil
}

func (p *Process) limitsOf(address string) *ratelimit.Address {
	address = transport.NormalAddress(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.limits[address]
	if !ok {
		at = ratelimit.NewAddress()
		p.limits[address] = at
	}
	return at
}

// Account is what Palette counts failed logins by, in normal form.
type Account struct{ Address, Org, Email, Username string }

// Logins returns the login protection of an account, whatever the spelling of address, email and
// username. That Palette takes a username without case is an assumption, which costs nothing where it
// is wrong: two accounts are then counted as one.
func (p *Process) Logins(of Account) *lockout.Account {
	of.Address, of.Email, of.Username = transport.NormalAddress(of.Address), transport.NormalEmail(of.Email), transport.NormalEmail(of.Username)
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.accounts[of]
	if !ok {
		a = new(lockout.Account)
		p.accounts[of] = a
	}
	return a
}
