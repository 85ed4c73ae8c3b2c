package palette

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-palette/internal/palette/ratelimit"
)

// Resources are what Palette counts the calls of an IP address by, each for itself (the table in the
// introduction of its API), as an [Observer] hears of them: /v1/auth/authenticate, /v1/auth, /v1/users
// and /v1/apiKeys.
var Resources = []string{"logins", "refreshes", "users", "api_keys"}

// bucket is what a call is counted in: a resource or, for the creation of keys, a part of one.
type bucket struct {
	resource string
	share    float64
}

var (
	logins = bucket{"logins", 1}
	// refreshes are all of /v1/auth but /v1/auth/authenticate, and so the logins of system administrators too.
	refreshes = bucket{"refreshes", 1}
	users     = bucket{"users", 1}
	apiKeys   = bucket{"api_keys", 1}
	// newKeys leave two of ten calls to the deletions and renewals of keys: what ends or keeps a
	// credential does not wait for what makes one.
	newKeys = bucket{"api_keys", 0.8}
)

// bucketOf is the bucket of a call, which counts at the address with the client's limit from now on.
func (c *Client) bucketOf(endpoint string) *ratelimit.Bucket {
	if !c.closed.Load() {
		c.limits.Join(c, c.conn.limit())
		if c.closed.Load() { // meanwhile
			c.limits.Leave(c)
		}
	}
	b := rules[endpoint].bucket
	if b.share == 1 {
		return c.limits.Bucket(b.resource)
	}
	return c.limits.Part(b.resource, "creations", b.share)
}

// limit is the connection's, for each resource.
func (c Connection) limit() ratelimit.Limit {
	return ratelimit.Limit{Rate: c.RateLimit, Burst: c.Burst()}
}

// queueError is a call that was not sent, since its turn would have come too late.
type queueError struct {
	why  string
	wait time.Duration
}

func (e *queueError) Error() string {
	return fmt.Sprintf("%s, and the turn would come after %s, later than queue_timeout", e.why, e.wait.Round(time.Second/10))
}

// busy says in words why a call would wait too long; other errors stay as they are.
func busy(err error) error {
	var b *ratelimit.Busy
	if !errors.As(err, &b) {
		return err
	}
	why := fmt.Sprintf("rate_limit is %d calls a second", b.Rate)
	if b.Held > 0 {
		why = fmt.Sprintf("Palette has answered 429, and calls are held back for %s", b.Held.Round(time.Second/10))
	}
	return &queueError{why, b.Wait}
}

// await waits for a call's turn in its bucket.
func (x *exchange) await(ctx context.Context) error {
	began := time.Now()
	err := busy(x.bucket.Wait(ctx, x.call.deadline))
	x.observer.Waited(rules[x.call.endpoint].bucket.resource, time.Since(began), err == nil)
	return err
}
