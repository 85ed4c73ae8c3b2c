// Package tasks runs work that outlives its request.
//
// Promise: a call that Palette may have received is seen to its end, even where its caller hangs
// up. What such a call has made goes to the caller or to a function that ends it. A panic ends one
// task, not the process.
//
// State: [Group] counts the tasks of a mount and knows whether the mount is ending. One lock
// guards both, and is never held while a task runs.
package tasks

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
)

// ErrEnding is for work that comes while the mount ends. Vault answers 503.
var ErrEnding = logical.CodedError(http.StatusServiceUnavailable, "the mount is being sealed, reloaded or removed")

// ErrPanic is what a caller gets for a bug. The panic's value may hold a secret and is not shown.
var ErrPanic = errors.New("internal error in the palette secrets engine; the server's log has the stack")

// MsgPanic is the log's message for a panic in a task.
const MsgPanic = "panic in a background task"

// Group is the tasks of one mount.
type Group struct {
	// Logger takes the stack of a panic.
	Logger func() hclog.Logger

	mu      sync.Mutex
	running int
	// ending: Drain waits. Only follow-ups of running tasks start now, such as the revocation of
	// a token that came late.
	ending bool
	// idle is closed when no task runs; nil where nobody waits for that.
	idle chan struct{}
	// issuing ends when the mount's leases are being ended: whoever waits to issue a credential
	// then must not. A moved mount lives on, so Leave makes a new one.
	issuing context.Context
	stop    context.CancelFunc
}

// Issuing is a context that ends with the next Leave.
func (g *Group) Issuing() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.issuing == nil {
		g.issuing, g.stop = context.WithCancel(context.Background())
	}
	return g.issuing
}

// Leave ends what waits to issue a credential: an unmount or a move has begun. What comes later
// is served, since a moved mount lives on.
func (g *Group) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stop != nil {
		g.stop()
		g.issuing, g.stop = nil, nil
	}
}

// Enter counts a task that runs in the caller's goroutine until leave is called. The error is
// ErrEnding.
func (g *Group) Enter() (leave func(), err error) {
	if !g.begin(false) {
		return nil, ErrEnding
	}
	return g.end, nil
}

// Start runs new work. False: the mount is ending, and the work is not done.
func (g *Group) Start(work func()) bool { return g.start(false, work) }

// StartFollowUp runs work that ends what a task has made. It starts while the mount ends, as long
// as a task runs. False: the mount is ending, and the work is not done.
func (g *Group) StartFollowUp(work func()) bool { return g.start(true, work) }

func (g *Group) start(followsUp bool, work func()) bool {
	if !g.begin(followsUp) {
		return false
	}
	go func() {
		defer g.end()
		g.Shield(work)
	}()
	return true
}

func (g *Group) begin(followsUp bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending && (!followsUp || g.running == 0) {
		return false
	}
	g.running++
	return true
}

func (g *Group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// Running counts the tasks that run.
func (g *Group) Running() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}

// Wait returns when no task runs. The error is the end of ctx.
func (g *Group) Wait(ctx context.Context) error {
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

// Drain refuses new work for good, and returns when no task runs. The error is the end of ctx.
func (g *Group) Drain(ctx context.Context) error {
	g.mu.Lock()
	g.ending = true
	g.mu.Unlock()
	g.Leave()
	return g.Wait(ctx)
}

// MsgTasksLeft is the log's message for a mount that ends before its tasks.
const MsgTasksLeft = "the mount ends with calls to Palette under way; tokens that they bring live to their own expiry"

// Clean gives the running tasks a moment to end, so that a token that comes late is still revoked.
func (g *Group) Clean(ctx context.Context, _ logical.Storage, _ bool) {
	if g.Drain(ctx) != nil {
		g.Logger().Warn(MsgTasksLeft)
	}
}

// Shield runs work and logs its panic. Without it a panic in a goroutine would end the plugin's
// process, and print its value.
func (g *Group) Shield(work func()) {
	defer func() {
		if recover() != nil {
			g.Logger().Error(MsgPanic, "stack", string(debug.Stack()))
		}
	}()
	work()
}
