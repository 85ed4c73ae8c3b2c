package palette

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	"vault-plugin-secrets-palette/internal/palette/ratelimit"
)

const (
	// maxRetries is how often a call is sent again that met a passing fault. A 429 is no
	// fault, and does not count.
	maxRetries = 3
	// longestRetryAfter bounds what is taken for a Retry-After: a number of seconds that does
	// not fit into a Duration would be a negative pause, after which the call goes out at once,
	// over and over.
	longestRetryAfter = 365 * 24 * time.Hour
)

// exchange is a call on its way, with all its attempts: each waits for its turn and then has
// request_timeout.
type exchange struct {
	*Client
	call   call
	bucket *ratelimit.Bucket
	// pause is what the next attempt waits before it asks for a turn.
	pause time.Duration
	// failed counts the attempts that met a fault.
	failed int

	// Of the last attempt: when it was sent, whether it had a connection (and so may have
	// arrived), and whether request_timeout ended it.
	sent      time.Time
	connected bool
	timedOut  bool
	outcome   Outcome
	progress  *progress
}

// reply is an answer as it came. Its body is at most maxAnswer+1 bytes long.
type reply struct {
	status int
	header http.Header
	body   []byte
	kind   answerKind
	// gaveUp says why the call was not sent again after a 429.
	gaveUp string
	// streamed: the call has read a success that is longer than body. overlong: it is longer than that.
	streamed, overlong bool
}

// run sends the call until it is answered, or must not be sent again.
func (x *exchange) run(ctx context.Context) (*reply, error) {
	var last *reply
	for {
		r, err := x.attempt(ctx)
		var queue *queueError
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &queue) && last != nil && last.kind == tooMany: // which says more than the queue
			last.gaveUp = "Palette's limit is reached, and the next try would come after " + queue.wait.Round(time.Second/10).String() + ", later than queue_timeout"
			return last, nil
		case !x.canRetry(r, err):
			return r, err
		}
		last = r
		x.observer.Retried(x.call.endpoint, x.outcome)
	}
}

// attempt waits for a turn and sends the call once.
func (x *exchange) attempt(ctx context.Context) (*reply, error) {
	x.connected, x.timedOut, x.progress = false, false, new(progress)
	if err := x.turn(waiting(ctx)); err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, x.conn.RequestTimeout)
	defer cancel()
	req, err := x.request(timed, x.call)
	if err != nil {
		return nil, err
	}
	x.sent = time.Now()
	r, err := x.send(req)
	x.timedOut = errors.Is(context.Cause(timed), context.DeadlineExceeded) && ctx.Err() == nil
	x.outcome = x.outcomeOf(r, err)
	x.observer.Called(x.call.endpoint, x.outcome, time.Since(x.sent))
	x.note(ctx, r)
	return r, err
}

// send makes the exchange of one attempt. The answer is read here, within its time. A redirect
// is an answer and never followed: it could carry the password or the token to another host.
func (x *exchange) send(req *http.Request) (*reply, error) {
	hooks := x.progress.hooks(func() { x.connected = true })
	resp, err := x.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), hooks)))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	rule := rules[x.call.endpoint]
	r := &reply{status: resp.StatusCode, header: resp.Header, body: body}
	if x.call.stream != nil && r.status == rule.status && len(body) > maxAnswer {
		whole := &counted{from: io.MultiReader(bytes.NewReader(body), resp.Body)}
		r.streamed = x.call.stream(whole)
		if r.overlong = whole.read > maxList; !r.overlong && whole.failed != nil {
			return nil, whole.failed
		}
	}
	if r.kind = rule.kindOf(r); r.kind == tooMany {
		x.bucket.Limited(retryAfter(r.header.Get("Retry-After"), time.Now()), x.sent)
	} else {
		x.bucket.Passed(x.sent)
	}
	return r, nil
}

// counted reads maxList bytes at most, and notes a connection that breaks: a decoder that reads it
// cannot tell that from an answer of another form.
type counted struct {
	from   io.Reader
	read   int
	failed error
}

func (c *counted) Read(p []byte) (int, error) {
	if c.read > maxList {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.from.Read(p)
	c.read += n
	if err != nil && !errors.Is(err, io.EOF) {
		c.failed = err
	}
	return n, err
}

// turn waits for the pause that the last attempt left, and for a turn. Who has gone gets none,
// though one be free: the call would be made for nobody.
func (x *exchange) turn(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if x.pause > 0 {
		timer := time.NewTimer(x.pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := x.await(ctx); err != nil {
		return err
	}
	if x.call.admit != nil {
		return x.call.admit()
	}
	return nil
}

// canRetry decides whether the call is sent once more, and sets the pause before. A 429 needs none:
// it has emptied the bucket.
func (x *exchange) canRetry(r *reply, err error) bool {
	x.pause = 0
	switch {
	case err != nil && (x.connected || x.timedOut || !passing(err)):
		return false
	case err == nil && r.kind == tooMany:
		return true
	case err == nil && (!badGateway(r.status) || rules[x.call.endpoint].sent == once):
		return false
	}
	if x.failed == maxRetries {
		return false
	}
	x.pause = ratelimit.Jittered(x.process.pause, x.failed)
	x.failed++
	return !time.Now().Add(x.pause).After(x.call.deadline)
}

// passing tells whether an attempt without a connection is worth another one: not where
// the call was not sent on purpose, nor where a certificate is at fault or the proxy says no.
func passing(err error) bool {
	var (
		queue  *queueError
		ours   *Error
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		host   x509.HostnameError
		proxy  *connectError
	)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if errors.As(err, &proxy) {
		return badGateway(proxy.status)
	}
	return !errors.As(err, &queue) && !errors.As(err, &ours) && !errors.As(err, &verify) && !errors.As(err, &record) && !errors.As(err, &host)
}

func badGateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}
