// Package palette is the wire client for Spectro Cloud's Palette: HTTP and JSON. It
// knows nothing of Vault. Facts about the API are of Palette's published OpenAPI
// document, release 4.8.
package palette

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

	"vault-plugin-secrets-palette/internal/palette/ratelimit"
)

// maxAnswer bounds the answer that is read, in bytes. Real ones are a few KiB.
const maxAnswer = 1 << 20

// Client calls one Palette. It is safe for use by many goroutines, keeps its connections
// for reuse, and shares the limits of its calls with all clients of the address.
type Client struct {
	process   *Process
	conn      Connection
	host      string
	userAgent string
	transport *http.Transport
	limits    *ratelimit.Address
	clock     *clock
	observer  Observer
	closed    atomic.Bool
}

// Close closes the idle connections, and takes the client's limit back. Calls under way or in line
// go on, and their connections are closed after them.
func (c *Client) Close() {
	c.closed.Store(true)
	c.limits.Leave(c)
	c.transport.CloseIdleConnections()
}

// call is one request to Palette.
type call struct {
	// op is what the call does, as a verb, for messages.
	op string
	// endpoint names its rule, and the call for an [Observer].
	endpoint     string
	method, path string
	query        url.Values
	// auth is empty for a login.
	auth Auth
	body any
	// admit is asked when the call has its turn, and may refuse it.
	admit func() error
	// deadline is when the call's last attempt begins; zero: after queue_timeout.
	deadline time.Time
	// stream reads a success of more than maxAnswer bytes, up to maxList, and tells whether it has the
	// call's form; nil where no success may be as large.
	stream func(io.Reader) bool
	// secrets are those that the call sends beside auth; no error may hold them.
	secrets []Secret
}

// failure starts the error of this call.
func (c *Client) failure(op string, kind Kind, cause string) *Error {
	return &Error{Op: op, Host: c.host, Kind: kind, Cause: cause}
}

// answer is the body of a 2xx answer, and when its request was sent. streamed: the call's stream has
// read the answer, and body is the beginning alone.
type answer struct {
	body     []byte
	sent     time.Time
	streamed bool
}

// do sends a call, again where that can help and do no harm, and returns the answer where
// it is a success. Errors are *[Error].
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	if k.deadline.IsZero() {
		k.deadline = time.Now().Add(c.conn.queueTimeout())
	}
	x := &exchange{Client: c, call: k, bucket: c.bucketOf(k.endpoint)}
	r, err := x.run(ctx)
	if c.closed.Load() {
		c.transport.CloseIdleConnections() // net/http keeps them again once a call comes after Close
	}
	if err != nil {
		return answer{}, c.noAnswer(ctx, x, err)
	}
	if r.kind != documented {
		refused := c.refused(k, r)
		if refused.Kind == Limited {
			refused.Cause = r.gaveUp
		}
		return answer{}, refused
	}
	return answer{r.body, x.sent, r.streamed}, nil
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	var body io.Reader
	if k.body != nil {
		text, err := json.Marshal(k.body)
		if err != nil {
			return nil, c.failure(k.op, Malformed, "the request could not be encoded")
		}
		body = bytes.NewReader(text)
	}
	target := c.conn.Address + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, c.failure(k.op, Malformed, "the request could not be made")
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "application/json")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	k.auth.dress(req.Header)
	return req, nil
}

// noAnswer makes the error of a call that got no whole answer, or was not sent. The
// caller's context and the call's own time-out look the same to net/http, so both are asked.
func (c *Client) noAnswer(caller context.Context, x *exchange, err error) error {
	var (
		ours  *Error
		queue *queueError
	)
	e := c.failure(x.call.op, Unreachable, "")
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &queue):
		e.Kind, e.Verdict, e.Cause = Limited, HeldBack, queue.Error()
	case caller.Err() != nil:
		e.ctxErr = caller.Err()
		e.Cause = cause(e.ctxErr)
	case errors.Is(err, context.Canceled): // the caller of a detached call, while it waited
		e.ctxErr, e.Cause = context.Canceled, cause(context.Canceled)
	case x.timedOut:
		e.Cause = "no answer within " + c.conn.RequestTimeout.String() + " (request_timeout)"
	case x.progress != nil && x.progress.freshTLS && closedByPeer(err):
		e.Cause = closedAfterHandshake
	default:
		e.Cause = cause(err)
	}
	if e.Kind == Unreachable {
		e.Stage = x.reached(e.Cause)
		x.blameProxy(e, err)
	}
	return e
}

// decode reads an answer whose form its rule has looked at. Errors are *[Error] and never quote
// the answer.
func (c *Client) decode(op string, a answer, into any) error {
	if json.Unmarshal(a.body, into) != nil {
		return c.failure(op, Malformed, "the answer is JSON of another form than Palette's")
	}
	return nil
}
