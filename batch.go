package palette

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// maxBatch is how many tokens go into one call, to stay within what an answer in time can
// end. Palette's document names no limit (an assumption).
const maxBatch = 100

// account is a user at a Palette, and how to reach it: those whose tokens one call may
// revoke together.
type account struct {
	conn       palette.Connection
	org, email string
}

// revocation is the tokens of one lease on their way to their end.
type revocation struct {
	tokens []heldToken
	err    error
	// done is closed when err is final; nil where nobody waits for it.
	done chan struct{}
}

// batcher gathers the revocations of an account that arrive while a call is under way, for
// the next one. One alone goes out at once.
type batcher struct {
	mu sync.Mutex
	// lines holds an account while its calls are under way: those that wait.
	lines map[account][]*revocation
}

// revoke ends tokens, perhaps in one call with others. It returns when they are ended, or
// the caller has gone; the call goes on then.
func (b *backend) revoke(ctx context.Context, a account, tokens []heldToken) error {
	r := &revocation{tokens: tokens, done: make(chan struct{})}
	if !b.enqueue(a, r) {
		return errEnding
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enqueue puts a revocation in line, and starts the account's calls where none is under
// way. False: the mount is ending.
func (b *backend) enqueue(a account, r *revocation) bool {
	q := &b.batches
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiting, working := q.lines[a]; working {
		q.lines[a] = append(waiting, r)
		return true
	}
	if !b.inBackground(func() { b.workOff(a) }) {
		return false
	}
	if q.lines == nil {
		q.lines = make(map[account][]*revocation)
	}
	q.lines[a] = []*revocation{r}
	return true
}

// workOff sends the account's revocations, batch by batch, until none waits.
func (b *backend) workOff(a account) {
	for batch := b.nextBatch(a); len(batch) > 0; batch = b.nextBatch(a) {
		for _, r := range batch {
			r.err = errPanic // until the outcome is known
		}
		b.shielded(func() { b.endAll(context.Background(), a, batch) })
		for _, r := range batch {
			close(r.done)
		}
	}
}

// nextBatch takes the next revocations off the line, up to maxBatch tokens; none ends the
// account's work.
func (b *backend) nextBatch(a account) []*revocation {
	q := &b.batches
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.lines[a]
	if len(waiting) == 0 {
		delete(q.lines, a)
		return nil
	}
	n := batchOf(waiting)
	q.lines[a] = waiting[n:]
	return waiting[:n]
}

// batchOf is how many of the first revocations fit into one call.
func batchOf(waiting []*revocation) int {
	tokens, n := 0, 0
	for n < len(waiting) && (n == 0 || tokens+len(waiting[n].tokens) <= maxBatch) {
		tokens += len(waiting[n].tokens)
		n++
	}
	return n
}

// end ends the tokens of one revocation now, in a call of its own.
func (b *backend) end(ctx context.Context, a account, r *revocation) error {
	b.endAll(ctx, a, []*revocation{r})
	return r.err
}

// endAll ends the tokens of all revocations and sets the error of each. What Palette
// refuses together is taken apart, so that one bad token fails alone.
func (b *backend) endAll(ctx context.Context, a account, batch []*revocation) {
	client, err := b.clientFor(a.conn)
	if err == nil {
		err = b.endTogether(ctx, a, client, batch)
	}
	switch {
	case palette.VerdictOf(err) != palette.NotDone:
	case len(batch) > 1:
		b.endAll(ctx, a, batch[:len(batch)/2])
		b.endAll(ctx, a, batch[len(batch)/2:])
		return
	case len(batch[0].tokens) > 1:
		err = b.endApart(ctx, a, batch[0].tokens)
	}
	for _, r := range batch {
		r.err = err
	}
}

// endApart ends the tokens of one revocation one by one, and returns the last error.
func (b *backend) endApart(ctx context.Context, a account, tokens []heldToken) error {
	var failed error
	for _, t := range tokens {
		if err := b.end(ctx, a, &revocation{tokens: []heldToken{t}}); err != nil {
			failed = err
		}
	}
	return failed
}

// endTogether ends tokens in one call. Where the token which authenticated it is dead, that says
// nothing of the others, and the next one asks.
func (b *backend) endTogether(ctx context.Context, a account, client paletteAPI, batch []*revocation) error {
	var left []heldToken
	for _, r := range batch {
		left = append(left, r.tokens...)
	}
	slices.SortStableFunc(left, func(x, y heldToken) int { return y.ExpiresAt.Compare(x.ExpiresAt) })
	for len(left) > 0 {
		err := client.Revoke(ctx, left[0].Token, secretsOf(left))
		switch palette.VerdictOf(err) {
		case palette.Done:
			return nil
		case palette.AuthDead:
			left = left[1:]
		case palette.NoEndpoint:
			b.Logger().Warn("this Palette has no endpoint to revoke tokens (404); they die by themselves",
				"address", a.conn.Address, "tokens", len(left), "dead_at", lastDeath(left))
			return nil
		default:
			return err
		}
	}
	return nil
}

func secretsOf(tokens []heldToken) []palette.Secret {
	out := make([]palette.Secret, len(tokens))
	for i, t := range tokens {
		out[i] = t.Token
	}
	return out
}

// accountOf finds whose tokens a lease holds, and how to reach its Palette.
func (b *backend) accountOf(ctx context.Context, s logical.Storage, l *lease) (account, error) {
	conn, err := b.connectionOf(ctx, s, l)
	return account{conn: conn, org: l.Org, email: l.Email}, err
}
