package exchange

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

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// maxRetries is how often a call is sent again that met a passing fault. A 429 is no
// fault, and does not count.
const maxRetries = 3

// exchange is a call on its way, with all its attempts: each waits for its turn and then has
// request_timeout.
type exchange struct {
	*Client
	call   Call
	rule   answer.Rule
	bucket *ratelimit.Bucket
	// pause is what the next attempt waits before it asks for a turn.
	pause time.Duration
	// failed counts the attempts that met a fault.
	failed int
	// gaveUp says why the call was not sent again after a 429.
	gaveUp string

	// Of the last attempt: when it was sent, whether it had a connection (and so may have
	// arrived), and whether request_timeout ended it.
	sent      time.Time
	connected bool
	timedOut  bool
	outcome   Outcome
	progress  *progress
}

// run sends the call until it is answered, or must not be sent again.
func (x *exchange) run(ctx context.Context) (*answer.Reply, error) {
	var (
		last    *answer.Reply
		lastErr error
	)
	for {
		r, err := x.attempt(ctx)
		var queue *QueueError
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &queue) && (last != nil || lastErr != nil): // The last attempt says more than the queue.
			if last != nil && last.Kind() == answer.Limited {
				x.gaveUp = "Palette's limit is reached, and the next try would come after " + queue.wait.Round(time.Second/10).String() + ", later than queue_timeout"
			}
			return last, lastErr
		case !x.canRetry(r, err):
			return r, err
		}
		last, lastErr = r, err
		x.Observer.Retried(x.call.Endpoint, x.outcome)
	}
}

// attempt waits for a turn and sends the call once.
func (x *exchange) attempt(ctx context.Context) (*answer.Reply, error) {
	x.connected, x.timedOut, x.progress = false, false, new(progress)
	if err := x.turn(Waiting(ctx)); err != nil {
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
	x.Observer.Called(x.call.Endpoint, x.outcome, time.Since(x.sent))
	x.note(ctx, r)
	return r, err
}

// send makes the exchange of one attempt. The answer is read here, within its time. A redirect
// is an answer and never followed: it could carry the password or the token to another host.
func (x *exchange) send(req *http.Request) (*answer.Reply, error) {
	hooks := x.progress.hooks(func() { x.connected = true })
	resp, err := x.pool.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), hooks)))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answer.MaxBody+1))
	if err != nil {
		return nil, err
	}
	r := &answer.Reply{Status: resp.StatusCode, Header: resp.Header, Body: body, Sent: x.sent}
	if x.call.Stream != nil && r.Status == x.rule.Status && len(body) > answer.MaxBody {
		whole := &counted{from: io.MultiReader(bytes.NewReader(body), resp.Body)}
		r.Streamed = x.call.Stream(whole)
		if r.Overlong = whole.read > answer.MaxList; !r.Overlong && whole.failed != nil {
			return nil, whole.failed
		}
	}
	if x.rule.Judge(r) == answer.Limited {
		x.bucket.Limited(answer.RetryAfter(r.Header.Get("Retry-After"), time.Now()), x.sent)
	} else {
		x.bucket.Passed(x.sent)
	}
	return r, nil
}

// counted reads [answer.MaxList] bytes at most, and notes a connection that breaks. To a decoder such an
// answer looks like one of another form.
type counted struct {
	from   io.Reader
	read   int
	failed error
}

func (c *counted) Read(p []byte) (int, error) {
	if c.read > answer.MaxList {
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
	if x.call.Admit != nil {
		return x.call.Admit()
	}
	return nil
}

// canRetry decides whether the call is sent once more, and sets the pause before. A 429 needs none:
// it has emptied the bucket.
func (x *exchange) canRetry(r *answer.Reply, err error) bool {
	x.pause = 0
	switch {
	case err != nil && (x.connected || x.timedOut || !passing(err)):
		return false
	case err == nil && r.Kind() == answer.Limited:
		return true
	case err == nil && (!badGateway(r.Status) || x.rule.Sent == answer.Once):
		return false
	}
	if x.failed == maxRetries {
		return false
	}
	x.pause = ratelimit.Jittered(x.process.pause, x.failed)
	x.failed++
	return !time.Now().Add(x.pause).After(x.call.Deadline)
}

// passing tells whether an attempt without a connection is worth another one: not where
// the call was not sent on purpose, nor where a certificate is at fault or the proxy says no.
func passing(err error) bool {
	var (
		queue  *QueueError
		ours   *answer.Error
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		host   x509.HostnameError
		proxy  *transport.ConnectError
	)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if errors.As(err, &proxy) {
		return badGateway(proxy.Status)
	}
	return !errors.As(err, &queue) && !errors.As(err, &ours) && !errors.As(err, &verify) && !errors.As(err, &record) && !errors.As(err, &host)
}

func badGateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}
