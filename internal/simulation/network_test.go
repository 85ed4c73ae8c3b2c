package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// network lies between the nodes and Palette. It hands calls over, or does with them what the traps say, and it sees
// which credentials Palette has made and who got to know them.
type network struct {
	world  *world
	conns  chan net.Conn
	done   chan struct{}
	closed atomic.Bool
	server *http.Server

	mu sync.Mutex
	// underWay are the calls that make a token or a key and have no answer yet.
	underWay map[*request]bool
}

// making counts the calls under way that a node sent before a time, whose answer it still waits for, and that make a token
// or a key.
func (n *network) making(by *node, before time.Time) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for q := range n.underWay {
		if q.node == by && q.sent.Before(before) && q.Context().Err() == nil {
			count++
		}
	}
	return count
}

// begin notes such a call until its end.
func (n *network) begin(q *request) (end func()) {
	switch q.endpoint {
	case palettetest.Login, palettetest.SystemLogin, palettetest.Refresh, palettetest.APIKeyCreate:
	default:
		return func() {}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.underWay[q] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.underWay, q)
	}
}

type nodeKey struct{}

func newNetwork(w *world) *network {
	n := &network{world: w, conns: make(chan net.Conn), done: make(chan struct{}), underWay: make(map[*request]bool)}
	n.server = &http.Server{
		Handler:           n,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, nodeKey{}, c.(*conn).node)
		},
	}
	go func() {
		if err := n.server.Serve(n); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return n
}

// Accept implements net.Listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (n *network) Addr() net.Addr { return &net.TCPAddr{} }

// Close implements net.Listener.
func (n *network) Close() error {
	if !n.closed.Swap(true) {
		close(n.done)
	}
	return nil
}

// shut ends the network at the end of a life.
func (n *network) shut() {
	_ = n.server.Close() // closes the listener too
}

// request is a call on its way to Palette.
type request struct {
	*http.Request
	node     *node
	endpoint palettetest.Endpoint
	body     []byte
	sent     time.Time
}

func (q *request) isLogin() bool {
	return q.endpoint == palettetest.Login || q.endpoint == palettetest.SystemLogin
}

// answer is what Palette says. It is an http.ResponseWriter.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	// made is the credential that the answer holds, nil for none.
	made *credential
	// foreign: somebody between the node and Palette has given it.
	foreign bool
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// late bounds how long after its caller has given up a call may still reach Palette. The engine reckons with 10 s.
const late = 9 * time.Second

// ServeHTTP is a call that a node has sent.
func (n *network) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q := &request{Request: r, node: r.Context().Value(nodeKey{}).(*node), endpoint: endpointOf(r), body: body, sent: time.Now()}
	defer n.begin(q)()
	w := n.world
	w.sent(q)
	t := w.traps.onNetwork(q.endpoint)
	effect := t.effect
	if effect != "" {
		w.trouble()
	}
	a := n.meet(q, t)
	says := "no answer"
	if a != nil {
		says = http.StatusText(a.status)
	}
	w.story.tell("palette", "%s: %s%s", q.endpoint, says, orNothing(effect))
	lost := a == nil || q.node.dead.Load() || r.Context().Err() != nil
	if q.endpoint == palettetest.APIKeyUpdate && (lost || effect != "") {
		w.lostUpdate(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	}
	if lost && effect == "" && a != nil && a.made != nil && !q.node.dead.Load() {
		w.brokenOff(q, a)
	}
	if lost || effect == "cut" {
		w.resent(q)
	}
	if lost {
		panic(http.ErrAbortHandler)
	}
	if effect == "cut" {
		out.Header().Set("Content-Length", "1000")
		_, _ = out.Write(a.body.Bytes()[:a.body.Len()/2])
		panic(http.ErrAbortHandler)
	}
	w.answered(q, a)
	for name, values := range a.header {
		out.Header()[name] = values
	}
	out.WriteHeader(a.status)
	if a.status != http.StatusNoContent {
		_, _ = out.Write(a.body.Bytes())
	}
}

func orNothing(effect string) string {
	if effect == "" {
		return ""
	}
	return " (" + effect + ")"
}

// meet lets a call have the effect of a trap. Without an answer the connection is closed.
func (n *network) meet(q *request, t trap) *answer {
	switch t.effect {
	case "":
		return n.deliver(q)
	case "drop":
		return nil
	case "drop-after":
		n.deliver(q)
		return nil
	case "slow":
		n.wait(q, t.delay)
		return n.deliver(q)
	case "429", "500", "503":
		return n.spoilt(t.effect)
	case "foreign", "foreign-after":
		if t.effect == "foreign-after" {
			n.deliver(q)
		}
		a := &answer{header: make(http.Header), status: t.status, foreign: true}
		a.body.WriteString(t.body)
		return a
	case "502-after":
		n.deliver(q)
		return n.spoilt("502")
	case "cut":
		if a := n.deliver(q); a.body.Len() > 0 {
			return a
		}
		return nil
	case "refuse": // all connections of the node are cut off at once
		q.node.cut()
		return nil
	case "crash-before":
		q.node.crash("before " + string(q.endpoint) + " reaches Palette")
		if t.delay > 0 { // what was sent arrives all the same
			time.Sleep(t.delay)
			n.deliver(q)
		}
		return nil
	case "crash-after":
		n.deliver(q)
		q.node.crash("before the answer to " + string(q.endpoint))
		return nil
	}
	panic("there is no effect " + t.effect)
}

// wait keeps a call on its way, also when its caller has given up.
func (n *network) wait(q *request, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	began := time.Now()
	select {
	case <-timer.C:
		return
	case <-q.Context().Done():
	}
	time.Sleep(min(delay-time.Since(began), late))
}

// deliver hands a call over to Palette.
func (n *network) deliver(q *request) (a *answer) {
	a = &answer{header: make(http.Header), status: http.StatusOK}
	defer func() {
		if recover() != nil { // the stand-in is closed
			a.status = http.StatusServiceUnavailable
		}
	}()
	r := q.Clone(context.Background())
	r.Body = io.NopCloser(bytes.NewReader(q.body))
	n.world.palette.ServeHTTP(a, r)
	n.world.made(q, a)
	return a
}

// spoilt is Palette's answer to a call that it could not carry out.
func (n *network) spoilt(status string) *answer {
	a := &answer{header: make(http.Header)}
	a.header.Set("Date", time.Now().Add(n.world.plan.clock).UTC().Format(http.TimeFormat))
	switch status {
	case "429":
		a.status = http.StatusTooManyRequests
	case "500":
		a.status = http.StatusInternalServerError
	case "502":
		a.status = http.StatusBadGateway
	case "503":
		a.status = http.StatusServiceUnavailable
	}
	a.body.WriteString(`{"code":"Trouble","message":"the simulation says so","ref":"none"}`)
	return a
}

// endpointOf names the call that a request makes.
func endpointOf(r *http.Request) palettetest.Endpoint {
	switch path := r.URL.Path; {
	case path == "/v1/auth/authenticate":
		return palettetest.Login
	case path == "/v1/auth/syslogin":
		return palettetest.SystemLogin
	case strings.HasPrefix(path, "/v1/auth/refresh/"):
		return palettetest.Refresh
	case path == "/v1/users/auth/tokens/revoke":
		return palettetest.Revoke
	case path == "/v1/users/info":
		return palettetest.UserInfo
	case path == "/v1/users/password/change":
		return palettetest.PasswordChange
	case path == "/v1/apiKeys" && r.Method == http.MethodPost:
		return palettetest.APIKeyCreate
	case path == "/v1/apiKeys":
		return palettetest.APIKeyList
	case r.Method == http.MethodPut:
		return palettetest.APIKeyUpdate
	case r.Method == http.MethodDelete:
		return palettetest.APIKeyDelete
	}
	return "unknown"
}

// decoded reads a field of a JSON text, "" where there is none.
func decoded(text []byte, field string) string {
	var all map[string]any
	if json.Unmarshal(text, &all) != nil {
		return ""
	}
	value, _ := all[field].(string)
	return value
}
