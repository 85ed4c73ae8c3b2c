package palettetest

import (
	"context"
	"sync"
)

// Gate holds up the calls of one endpoint, see Server.Hold.
type Gate struct {
	arrived chan struct{}
	open    chan struct{}
	once    sync.Once
	remove  func()
}

// gateRoom is how many arrivals a gate can tell of that nobody has asked for yet; an arrival takes no memory.
const gateRoom = 1 << 16

// Hold makes calls of e wait before they do their work, until the gate is released or their client goes away; then
// the work isn't done.
func (s *Server) Hold(e Endpoint) *Gate { return s.hold(s.before, e) }

// HoldAfter makes calls of e wait after their work and before their answer.
func (s *Server) HoldAfter(e Endpoint) *Gate { return s.hold(s.after, e) }

// Arrived gets a value for each call that has reached the gate.
func (g *Gate) Arrived() <-chan struct{} { return g.arrived }

// Release lets the held calls go on, and later ones pass. It may be called again.
func (g *Gate) Release() {
	g.once.Do(func() {
		g.remove()
		close(g.open)
	})
}

func (s *Server) hold(gates map[Endpoint]*Gate, e Endpoint) *Gate {
	g := &Gate{arrived: make(chan struct{}, gateRoom), open: make(chan struct{})}
	g.remove = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if gates[e] == g {
			delete(gates, e)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gates[e] = g
	return g
}

// pass waits at the gate of e, if there is one; false means that the client went away, or the server was closed.
func (s *Server) pass(ctx context.Context, gates map[Endpoint]*Gate, e Endpoint) bool {
	s.mu.Lock()
	g := gates[e]
	s.mu.Unlock()
	if g == nil {
		return ctx.Err() == nil
	}
	select {
	case g.arrived <- struct{}{}:
	default:
	}
	select {
	case <-g.open:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
