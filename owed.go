package palette

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// debt is tokens that the engine owes their end: those of a lease whose revocation
// failed or that ended with its mount, or of a call whose caller had gone. It holds the
// connection, so that no later change of a config can keep it from being paid.
type debt struct {
	Connection palette.Connection `json:"connection"`
	Org        string             `json:"org"`
	Email      string             `json:"email"`
	Tokens     []heldToken        `json:"tokens,omitempty"`
	// Key is an API key instead of tokens, and ConfigName whose session deletes it.
	Key         *heldKey  `json:"key,omitempty"`
	ConfigName  string    `json:"config_name,omitempty"`
	FirstFailed time.Time `json:"first_failed"`
}

// debt is what is owed to an account: tokens or, without, what is added.
func (a account) debt(tokens []heldToken) *debt {
	return &debt{Connection: a.conn, Org: a.org, Email: a.email, Tokens: tokens}
}

func (d *debt) account() account { return account{conn: d.Connection, org: d.Org, email: d.Email} }

// owe lists tokens to be revoked later; an empty id gets one made.
func (b *backend) owe(ctx context.Context, s logical.Storage, id string, a account, tokens []heldToken) error {
	return b.oweDebt(ctx, s, id, a.debt(tokens))
}

func (b *backend) oweDebt(ctx context.Context, s logical.Storage, id string, d *debt) error {
	if id == "" {
		made, err := uuid.GenerateUUID()
		if err != nil {
			return fmt.Errorf("naming the list's entry: %w", err)
		}
		id = made
	}
	d.FirstFailed = time.Now().UTC()
	entry, err := logical.StorageEntryJSON(owedPrefix+id, d)
	if err != nil {
		return fmt.Errorf("encoding the tokens to be revoked: %w", err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("listing the tokens to be revoked: %w", err)
	}
	b.metrics.listed.Inc()
	return nil
}

// loadDebt returns what is owed under an id, nil for nothing.
func loadDebt(ctx context.Context, s logical.Storage, id string) (*debt, error) {
	entry, err := s.Get(ctx, owedPrefix+id)
	if err != nil {
		return nil, fmt.Errorf("reading the tokens to be revoked: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	d := &debt{Connection: defaultConnection("")}
	if err := entry.DecodeJSON(d); err != nil {
		return nil, fmt.Errorf("the entry %s%s cannot be decoded", owedPrefix, id)
	}
	return d, nil
}

// takeOff takes an entry off the list: what it is about has ended.
func (b *backend) takeOff(ctx context.Context, s logical.Storage, id string) error {
	if err := s.Delete(ctx, owedPrefix+id); err != nil {
		return fmt.Errorf("taking revoked tokens off the list: %w", err)
	}
	b.metrics.listEnded.Inc()
	return nil
}

// due is a debt on its way: under which id, and since when.
type due struct {
	id    string
	since time.Time
	revocation
}

// payOwed tries to revoke what is owed, in batches: each minute, and while a mount ends. One
// run goes at a time. An account that fails is left alone for the rest of the run: with
// Palette down each try takes request_timeout.
func (b *backend) payOwed(ctx context.Context, s logical.Storage) error {
	// Two runs over one list would revoke each token twice, and a dead one costs a call.
	if err := b.paying.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for another run over the list of tokens to be revoked: %w", err)
	}
	defer b.paying.Release(1)
	byAccount, keys, err := b.loadOwed(ctx, s)
	errs := []error{err}
	for a, owed := range byAccount {
		errs = append(errs, b.payAccount(ctx, s, a, owed))
	}
	return errors.Join(append(errs, b.payKeys(ctx, s, keys))...)
}

// payAccount tries to revoke what is owed to one account.
func (b *backend) payAccount(ctx context.Context, s logical.Storage, a account, owed []*due) error {
	var errs []error
	for len(owed) > 0 {
		batch := make([]*revocation, len(owed))
		for i, d := range owed {
			batch[i] = &d.revocation
		}
		n := batchOf(batch)
		b.endAll(ctx, a, batch[:n])
		passing, err := b.paid(ctx, s, a, owed[:n])
		errs = append(errs, err)
		if passing {
			break
		}
		owed = owed[n:]
	}
	return errors.Join(errs...)
}

// loadOwed reads the list, by account. Debts whose tokens are all dead are taken off. Beside
// an error, which names what could not be read, is what could.
func (b *backend) loadOwed(ctx context.Context, s logical.Storage) (byAccount map[account][]*due, keys []*dueKey, err error) {
	ids, err := s.List(ctx, owedPrefix)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the tokens to be revoked: %w", err)
	}
	byAccount = make(map[account][]*due)
	var errs []error
	for _, id := range ids {
		d, err := loadDebt(ctx, s, id)
		if d == nil {
			errs = append(errs, err)
			continue
		}
		if d.Key != nil && b.mayLive(d.Key) {
			keys = append(keys, &dueKey{id, d})
			continue
		}
		tokens := alive(d.Tokens, time.Now())
		if len(tokens) == 0 {
			errs = append(errs, b.takeOff(ctx, s, id))
			continue
		}
		a := d.account()
		byAccount[a] = append(byAccount[a], &due{id, d.FirstFailed, revocation{tokens: tokens}})
	}
	return byAccount, keys, errors.Join(errs...)
}

// dueKey is an API key on the list.
type dueKey struct {
	id   string
	debt *debt
}

// payKeys tries to delete the API keys on the list, a call each. A config's that fails is
// left alone for the rest of the run.
func (b *backend) payKeys(ctx context.Context, s logical.Storage, keys []*dueKey) error {
	type way struct {
		account
		config string
	}
	failed := make(map[way]bool)
	var errs []error
	for _, k := range keys {
		through := way{k.debt.account(), k.debt.ConfigName}
		if failed[through] {
			continue
		}
		l := &lease{ConfigName: k.debt.ConfigName, origin: origin{k.debt.Connection.Address, k.debt.Org, k.debt.Email}, Key: *k.debt.Key}
		if err := b.endKey(ctx, s, l); err != nil {
			b.Logger().Warn("an API key could not be deleted yet; trying again in a minute", "address", l.Address, "uid", l.Key.UID, "listed_since", k.debt.FirstFailed, "error", err)
			failed[through] = palette.KindOf(err) != palette.Rejected
			if palette.KindOf(err) == palette.Limited {
				b.queueFull.Store(true)
			}
			continue
		}
		b.owedDone(1, holdsKey)
		b.Logger().Info("deleted an API key that was on the list", "address", l.Address, "uid", l.Key.UID, "listed_since", k.debt.FirstFailed)
		errs = append(errs, b.takeOff(ctx, s, k.id))
	}
	return errors.Join(errs...)
}

// paid takes what was revoked off the list, logs what happened, and tells whether the
// account fails as a whole: one lease that Palette refuses says nothing of the others.
func (b *backend) paid(ctx context.Context, s logical.Storage, a account, batch []*due) (passing bool, err error) {
	revoked, left, since := 0, 0, batch[0].since
	var (
		failed error
		errs   []error
	)
	for _, d := range batch {
		if d.since.Before(since) {
			since = d.since
		}
		if d.err != nil {
			left += len(d.tokens)
			failed = d.err
			passing = passing || palette.KindOf(d.err) != palette.Rejected
			if palette.KindOf(d.err) == palette.Limited {
				b.queueFull.Store(true)
			}
			continue
		}
		revoked += len(d.tokens)
		errs = append(errs, b.takeOff(ctx, s, d.id))
	}
	if revoked > 0 {
		b.owedDone(revoked, holdsToken)
		b.Logger().Info("revoked tokens that were on the list", "address", a.conn.Address, "tokens", revoked, "listed_since", since)
	}
	if left > 0 {
		b.Logger().Warn("tokens could not be revoked yet; trying again in a minute", "address", a.conn.Address, "tokens", left, "listed_since", since, "error", failed)
	}
	return passing, errors.Join(errs...)
}

// flusher works the list off while a mount ends: leases come one by one then, and a call
// for each would take longer than anybody waits.
type flusher struct {
	mu sync.Mutex
	// running: a run is under way. more: something was listed since it began.
	running, more bool
}

// flush works the list off in the background, in a single flight; what is listed
// meanwhile is taken by its next round.
func (b *backend) flush(s logical.Storage) {
	f := &b.flushing
	f.mu.Lock()
	defer f.mu.Unlock()
	f.more = true
	if f.running {
		return
	}
	f.running = b.inBackground(func() {
		for f.next() {
			if err := b.payOwed(context.Background(), s); err != nil {
				b.Logger().Warn("the list of tokens to be revoked could not be worked off", "error", err)
			}
		}
	})
}

// next tells whether there is another round.
func (f *flusher) next() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running, f.more = f.more, false
	return f.running
}

// queuePause is how long the end of a mount waits where the engine's own queue is full.
const queuePause = 250 * time.Millisecond

// payPatiently works the list off, again and again while it is only the rate limit that
// stands in the way and there is time.
func (b *backend) payPatiently(ctx context.Context) {
	for {
		b.queueFull.Store(false)
		if err := b.payOwed(ctx, b.storage); err != nil {
			b.Logger().Warn("the list of tokens to be revoked could not be worked off", "error", err)
		}
		if !b.queueFull.Load() {
			return
		}
		pause := time.NewTimer(queuePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// endSessions ends all shared sessions of the mount.
func (b *backend) endSessions(ctx context.Context) {
	names, err := b.sessions.entries.list(ctx, b.storage)
	if err != nil {
		b.Logger().Warn("the shared sessions could not be listed; they live to their own expiry", "error", err)
	}
	for _, name := range names {
		if err = b.endSession(ctx, b.storage, name); err != nil {
			b.Logger().Warn("a shared session could not be ended", "config", name, "error", err)
		}
	}
}

// endMount ends at Palette what a mount leaves when it is removed, as far as ctx allows.
func (b *backend) endMount(ctx context.Context) {
	b.endSessions(ctx)
	b.payPatiently(ctx)
	b.endSessions(ctx)  // API keys on the list may have begun one
	b.payPatiently(ctx) // and the rate limit may have left no turn for its end
	owed, keys, err := b.loadOwed(context.WithoutCancel(ctx), b.storage)
	if err != nil {
		b.Logger().Warn("not all that is left to revoke is known", "error", err)
	}
	left := 0
	for _, debts := range owed {
		for _, d := range debts {
			left += len(d.tokens)
		}
	}
	if left+len(keys) > 0 {
		b.Logger().Warn("the mount is removed with tokens and API keys that Palette has not ended; they live to their own expiry", "tokens", left, "api_keys", len(keys))
	}
}
