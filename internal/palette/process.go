package palette

import (
	"net/http"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// retryPause is the first pause before a call is sent again; it doubles with each.
const retryPause = 250 * time.Millisecond

// Process is what all clients of a plugin process share, whatever mount they are of:
// Palette counts the calls of an IP address and the failed logins of an account, not those
// of a mount.
type Process struct {
	clock clockwork.Clock
	// pause is the first pause before a call is sent again.
	pause time.Duration

	mu     sync.Mutex
	pacers map[string]*pacer // by address
	guards map[account]*guard
}

// NewProcess makes the shared part of a process's clients.
func NewProcess(clock clockwork.Clock) *Process {
	return &Process{
		clock: clock, pause: retryPause,
		pacers: make(map[string]*pacer), guards: make(map[account]*guard),
	}
}

// WithoutPauses makes calls that fail go out again at once, for tests that are not about
// the pauses.
func (p *Process) WithoutPauses() *Process {
	p.pause = 0
	return p
}

// Clock is the clock that the process goes by.
func (p *Process) Clock() clockwork.Clock { return p.clock }

// NewClient makes a client. It sends nothing. Its connection's rate limit counts for all
// clients of the address until it is closed. Errors are *[FieldError].
func (p *Process) NewClient(conn Connection, userAgent string) (*Client, error) {
	transport, err := conn.transport()
	if err != nil {
		return nil, err
	}
	c := &Client{
		process: p, conn: conn, host: conn.hostPort(), clock: p.clock, userAgent: userAgent,
		transport: transport, pacer: p.pacer(conn.Address),
	}
	c.pacer.join(c, conn.RateLimit)
	return c, nil
}

func (p *Process) pacer(address string) *pacer {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.pacers[address]
	if !ok {
		at = &pacer{clock: p.clock, limits: make(map[*Client]int)}
		p.pacers[address] = at
	}
	return at
}

func (p *Process) guard(of account) *guard {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.guards[of]
	if !ok {
		g = &guard{clock: p.clock}
		p.guards[of] = g
	}
	return g
}

// noRedirect makes a redirect an answer, never followed: it could carry the password or
// the token to another host.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
