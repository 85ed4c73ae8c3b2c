package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/ratelimit"
)

// join makes the client's limit count at its address from now on.
func (c *Client) join() {
	if c.closed.Load() {
		return
	}
	c.limits.Join(c, ratelimit.Limit{Rate: c.conn.RateLimit, Burst: c.conn.Burst()})
	if c.closed.Load() { // meanwhile
		c.limits.Leave(c)
	}
}

// bucketOf is the bucket of a call that goes out now.
func (c *Client) bucketOf(r answer.Rule) *ratelimit.Bucket {
	c.join()
	if r.Bucket.Share == 1 {
		return c.limits.Bucket(r.Bucket.Resource)
	}
	return c.limits.Part(r.Bucket.Resource, "creations", r.Bucket.Share)
}

// QueueError is a call that was not sent, since its turn would have come too late.
type QueueError struct {
	why  string
	wait time.Duration
}

// Error implements error.
func (e *QueueError) Error() string {
	return fmt.Sprintf("%s, and the turn would come after %s, later than queue_timeout", e.why, e.wait.Round(time.Second/10))
}

// busy says in words why a call would wait too long; other errors stay as they are.
func busy(err error) error {
	var b *ratelimit.Busy
	if !errors.As(err, &b) {
		return err
	}
	why := fmt.Sprintf("rate_limit is %d calls a second", b.Rate)
	if b.Rate == 0 {
		why = "the time to wait is over"
	}
	if b.Held > 0 {
		why = fmt.Sprintf("Palette has answered 429, and calls are held back for %s", b.Held.Round(time.Second/10))
	}
	return &QueueError{why, b.Wait}
}

// await waits for a call's turn in its bucket.
func (x *exchange) await(ctx context.Context) error {
	began := time.Now()
	err := busy(x.bucket.Wait(ctx, x.call.Deadline))
	x.Observer.Waited(x.rule.Bucket.Resource, time.Since(began), err == nil)
	return err
}

// Unlimited tells whether no limit counts at the address, this client's among them.
func (c *Client) Unlimited() bool {
	c.join()
	return c.limits.Limit().Rate == 0
}

// Expect tells whether a call that begins now, behind so many that have no turn yet, has its turn by the
// deadline. Errors are *[QueueError].
func (c *Client) Expect(endpoint string, ahead int, deadline time.Time) error {
	return busy(c.bucketOf(answer.RuleOf(endpoint)).Expect(ahead, deadline))
}
