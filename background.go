package palette

import (
	"context"
	"runtime/debug"
	"sync"
)

// background counts the calls that may outlive their request.
type background struct {
	mu      sync.Mutex
	running int
	// ending: Clean waits. Nothing begins any more but what a running call leads to, as the
	// revocation of a token that came late.
	ending bool
	// idle is closed when nothing runs; nil where nobody waits for that.
	idle chan struct{}
	// leaving is closed when the mount's leases are being ended: nothing is issued any more to
	// those who came before.
	leaving chan struct{}
}

// onLeave returns a channel that is closed when the mount is on its way out.
func (g *background) onLeave() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaving == nil {
		g.leaving = make(chan struct{})
	}
	return g.leaving
}

// leave breaks off what still waits to issue something. A mount that is moved lives on, and
// what comes later is no concern of it.
func (g *background) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaving != nil {
		close(g.leaving)
		g.leaving = nil
	}
}

// begin counts a call, and tells whether it may begin. followsUp: it ends what another one
// has made.
func (g *background) begin(followsUp bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending && (!followsUp || g.running == 0) {
		return false
	}
	g.running++
	return true
}

func (g *background) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// wait returns when nothing runs.
func (g *background) wait(ctx context.Context) error {
	g.mu.Lock()
	if g.running == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish lets nothing new begin, and returns when nothing runs.
func (g *background) finish(ctx context.Context) error {
	g.mu.Lock()
	g.ending = true
	g.mu.Unlock()
	g.leave()
	return g.wait(ctx)
}

// inBackground runs work that may outlive its request; Clean waits for it. False: the
// mount is ending, and the work is not done.
func (b *backend) inBackground(work func()) bool { return b.run(true, work) }

func (b *backend) run(followsUp bool, work func()) bool {
	if !b.background.begin(followsUp) {
		return false
	}
	go func() {
		defer b.background.end()
		b.shielded(work)
	}()
	return true
}

// shielded runs work in a goroutine of ours: a panic in it would end the process, and
// print what it was about.
func (b *backend) shielded(work func()) {
	defer func() {
		if recover() != nil {
			b.Logger().Error("panic in the background", "stack", string(debug.Stack()))
		}
	}()
	work()
}
