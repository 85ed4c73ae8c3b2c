// Package exchange sends one request to Palette and brings its answer. Between them lie the wait for a
// turn in the bucket of its resource, the tries, and the words for what went wrong.
//
// Promise: a call is sent again only where that can help and do no harm. No error, and nothing that an
// [Observer] is told, holds a secret or an answer as it came. Who hangs up while a call waits ends it.
//
// State: [Process] has what all mounts know of an address (limits, clock) and of an account (its login
// protection). One mutex guards it; nobody waits under the mutex. A [Client] keeps its connections.
package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palette/secret"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// Client calls one Palette. It is safe for use by many goroutines, keeps its connections
// for reuse, and shares the limits of its calls with all clients of the address.
type Client struct {
	process   *Process
	conn      transport.Connection
	host      string
	userAgent string
	pool      *http.Transport
	limits    *ratelimit.Address
	clock     *clock
	// Observer is told what becomes of the calls.
	Observer Observer
	closed   atomic.Bool
}

// Close closes the idle connections, and takes the client's limit back. Calls under way or in line
// go on, and their connections are closed after them.
func (c *Client) Close() {
	c.closed.Store(true)
	c.limits.Leave(c)
	c.pool.CloseIdleConnections()
}

// Call is one request to Palette.
type Call struct {
	// Op is what the call does, as a verb, for messages.
	Op string
	// Endpoint names its rule, and the call for an [Observer].
	Endpoint     string
	Method, Path string
	Query        url.Values
	// Auth is empty for a login.
	Auth Auth
	Body any
	// Admit is asked when the call has its turn, and may refuse it.
	Admit func() error
	// Deadline is when the call's last attempt begins; zero: after queue_timeout.
	Deadline time.Time
	// Stream reads a success of more than [answer.MaxBody] bytes, up to [answer.MaxList]. It tells
	// whether the success has the call's form. nil: no success may be as large.
	Stream func(io.Reader) bool
	// Secrets are those that the call sends beside Auth; no error may hold them.
	Secrets []secret.Text
}

// Failure is the error of a call of this client.
func (c *Client) Failure(op string, kind answer.Kind, cause string) *answer.Error {
	return &answer.Error{Op: op, Host: c.host, Kind: kind, Cause: cause}
}

// Do sends a call, again where that can help and do no harm, and returns the answer where
// it is a success. Errors are *[answer.Error].
func (c *Client) Do(ctx context.Context, k Call) (*answer.Reply, error) {
	if k.Deadline.IsZero() {
		k.Deadline = time.Now().Add(c.conn.QueueFor())
	}
	rule := answer.RuleOf(k.Endpoint)
	x := &exchange{Client: c, call: k, rule: rule, bucket: c.bucketOf(rule)}
	r, err := x.run(ctx)
	if c.closed.Load() {
		c.pool.CloseIdleConnections() // net/http keeps them again once a call comes after Close
	}
	if err != nil {
		return nil, c.noAnswer(ctx, x, err)
	}
	if r.Kind() != 0 {
		refused := x.rule.Error(k.Op, c.host, r, append([]secret.Text{k.Auth.Token, k.Auth.APIKey}, k.Secrets...)...)
		if refused.Kind == answer.Limited {
			refused.Cause = x.gaveUp
		}
		return nil, refused
	}
	return r, nil
}

func (c *Client) request(ctx context.Context, k Call) (*http.Request, error) {
	var body io.Reader
	if k.Body != nil {
		text, err := json.Marshal(k.Body)
		if err != nil {
			return nil, c.Failure(k.Op, answer.Malformed, "the request could not be encoded")
		}
		body = bytes.NewReader(text)
	}
	target := c.conn.Address + k.Path
	if len(k.Query) > 0 {
		target += "?" + k.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.Method, target, body)
	if err != nil {
		return nil, c.Failure(k.Op, answer.Malformed, "the request could not be made")
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "application/json")
	if k.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	k.Auth.apply(req.Header)
	return req, nil
}

// noAnswer makes the error of a call that got no whole answer, or was not sent. The
// caller's context and the call's own time-out look the same to net/http, so both are asked.
func (c *Client) noAnswer(caller context.Context, x *exchange, err error) error {
	var (
		ours  *answer.Error
		queue *QueueError
	)
	e := c.Failure(x.call.Op, answer.Unreachable, "")
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &queue):
		e.Kind, e.Verdict, e.Cause = answer.Limited, answer.HeldBack, queue.Error()
	case caller.Err() != nil:
		e.Context = caller.Err()
		e.Cause = transport.Cause(e.Context)
	case errors.Is(err, context.Canceled): // the caller of a detached call, while it waited
		e.Context, e.Cause = context.Canceled, transport.Cause(context.Canceled)
	case x.timedOut:
		e.Cause = "no answer within " + c.conn.RequestTimeout.String() + " (request_timeout)"
	case x.progress != nil && x.progress.freshTLS && transport.ClosedByPeer(err):
		e.Cause = transport.ClosedAfterHandshake
	default:
		e.Cause = transport.Cause(err)
	}
	if e.Kind == answer.Unreachable {
		e.Stage = x.reached(e.Cause)
		x.blameProxy(e, err)
	}
	return e
}
