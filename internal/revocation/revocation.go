// Package revocation ends credentials at Palette: now, in batches, or later.
//
// Promise: what the engine is asked to end is either dead at Palette or a pending revocation in Vault's
// storage. The engine retries a pending revocation each minute, until the credential is dead, by Palette
// or by itself. API keys are ended by [KeyEnder] (package apikey).
//
// A crash takes two things. The first is the call for a credential that no lease holds, as long as its
// revocation is not pending ([Manager.Discard]). The second is a pending revocation that the storage did
// not take ([Manager.StoreLater]). Such credentials die by their expiry.
//
// State, each part with its lock: the batches under way, by account; what waits for the storage; the
// flush at a mount's end. The pending revocations are in storage. One run at a time retries them (the
// retry lock, a named single flight).
package revocation

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// The log's messages.
const (
	MsgLeaseEndsPending = "a lease ends, and the revocation of its credential stays pending; the engine retries each minute"
	MsgNoRevocation     = "this Palette has no endpoint to revoke tokens (404); the tokens die by themselves"
	MsgNotRevocable     = "Palette does not let a system administrator's token revoke itself; the token dies by itself"
	MsgDiscardLost      = "the mount ends before a token that no lease holds is revoked; the token lives to its own expiry"
	MsgUnmountLeaves    = "the mount is removed with tokens and API keys that Palette has not ended; they live to their own expiry"
	MsgLoosePending     = "could not revoke a token that no lease holds; the revocation is pending and retried each minute"
	MsgLooseLost        = "could not store a pending revocation; trying again each minute, until this process ends"
	MsgPendingRevoked   = "revoked tokens whose revocation was pending"
	MsgPendingWaits     = "tokens could not be revoked yet; their revocation stays pending"
	MsgKeyRevoked       = "deleted an API key whose deletion was pending"
	MsgKeyWaits         = "an API key could not be deleted yet; its deletion stays pending"
	MsgRetryFailed      = "not all pending revocations could be retried"
)

// Account is a user at a Palette, and how to reach that Palette. One call may revoke the tokens
// of one account.
type Account struct {
	Connection           palette.Connection
	Org, Email, Username string
}

// AccountOf is the account that a config logs in as.
func AccountOf(cfg *store.Config) Account {
	return Account{cfg.Connection, cfg.Org, cfg.Email, cfg.Username}
}

// Identity is the user, and where.
func (a Account) Identity() store.Identity {
	return store.Identity{Address: a.Connection.Address, Org: a.Org, Email: a.Email, Username: a.Username}
}

// Metrics counts pending revocations.
type Metrics interface {
	// PendingEnqueued is told of each revocation that becomes pending.
	PendingEnqueued()
	// PendingRemoved is told of each pending revocation that is over.
	PendingRemoved()
	// PendingRevoked is told how many credentials a retry has ended, and of which kind.
	PendingRevoked(n int, kind string)
}

// Kinds of credentials, for [Metrics].
const (
	KindToken = "token"
	KindKey   = "api_key"
)

// Manager ends the credentials of one mount.
type Manager struct {
	Configs *store.Configs
	Clients *upstream.Clients
	Tasks   *tasks.Group
	Metrics Metrics
	Logger  func() hclog.Logger
	// Tainted tells whether the mount is being unmounted or moved.
	Tainted func() bool
	// Keys ends API keys, and is asked whether a key may be alive.
	Keys KeyEnder

	batches batches
	flush   flush
	// retrying lets one run over the pending revocations go at a time. Two runs would revoke
	// each token twice.
	retrying *semaphore.Weighted
	// unstored are the pending revocations that the storage did not take.
	unstored unstored
	// limited: the rate limit has stopped a run over the pending revocations.
	limited atomic.Bool
}

// KeyEnder ends the API keys of pending revocations.
type KeyEnder interface {
	// EndPending deletes the key of an entry at Palette. nil: the key is dead.
	EndPending(ctx context.Context, s logical.Storage, e *Entry) error
	// MayLive tells whether a key may still be alive.
	MayLive(key *store.Key) bool
}

// New makes a Manager; the caller sets its fields.
func New() *Manager { return &Manager{retrying: semaphore.NewWeighted(1)} }

// AccountFor finds whose credentials an identity's are, and how to reach its Palette.
func (m *Manager) AccountFor(ctx context.Context, s logical.Storage, configName string, id store.Identity) (Account, error) {
	conn, err := m.Configs.ConnectionTo(ctx, s, configName, id.Address)
	return Account{conn, id.Org, id.Email, id.Username}, err
}

// End ends tokens now, in a call of their own.
func (m *Manager) End(ctx context.Context, a Account, tokens []store.Token) error {
	r := &request{tokens: tokens}
	m.endAll(ctx, a, []*request{r})
	return r.err
}

// endAll ends the tokens of all requests and sets the error of each. Where Palette refuses them
// together, endAll takes them apart, so that one bad token fails alone. A system administrator's token
// that Palette does not let revoke itself dies by itself: Palette documents no revocation of such tokens.
func (m *Manager) endAll(ctx context.Context, a Account, batch []*request) {
	client, err := m.Clients.For(a.Connection)
	if err == nil {
		err = m.endTogether(ctx, a, client, batch)
	}
	switch {
	case answer.VerdictOf(err) != answer.NotDone:
	case len(batch) > 1:
		m.endAll(ctx, a, batch[:len(batch)/2])
		m.endAll(ctx, a, batch[len(batch)/2:])
		return
	case len(batch[0].tokens) > 1:
		err = m.endOneByOne(ctx, a, batch[0].tokens)
	case a.Username != "" && answer.Barred(err) != nil:
		m.logNotRevocable(a, batch[0].tokens, err)
		err = nil
	}
	for _, r := range batch {
		r.err = err
	}
}

// endOneByOne ends each token in a call of its own, and returns the last error.
func (m *Manager) endOneByOne(ctx context.Context, a Account, tokens []store.Token) error {
	var failed error
	for _, t := range tokens {
		if err := m.End(ctx, a, []store.Token{t}); err != nil {
			failed = err
		}
	}
	return failed
}

// endTogether ends tokens in one call, which the newest token authenticates. A 401 says that this
// token is dead, and nothing of the others: the next token authenticates the next try.
func (m *Manager) endTogether(ctx context.Context, a Account, client upstream.API, batch []*request) error {
	var left []store.Token
	for _, r := range batch {
		left = append(left, r.tokens...)
	}
	slices.SortStableFunc(left, func(x, y store.Token) int { return y.ExpiresAt.Compare(x.ExpiresAt) })
	for len(left) > 0 {
		err := client.Revoke(ctx, left[0].Token, store.Secrets(left))
		switch answer.VerdictOf(err) {
		case answer.Done:
			return nil
		case answer.AuthDead:
			if a.Username != "" { // which says so of a live token too, where such tokens revoke nothing
				m.logNotRevocable(a, left[:1], err)
			}
			left = left[1:]
		case answer.NoEndpoint:
			m.Logger().Warn(MsgNoRevocation, "address", a.Connection.Address, "tokens", len(left), "dead_at", store.LastExpiry(left))
			return nil
		default:
			return err
		}
	}
	return nil
}

// logNotRevocable says when tokens die that Palette does not revoke.
func (m *Manager) logNotRevocable(a Account, tokens []store.Token, err error) {
	m.Logger().Warn(MsgNotRevocable, "address", a.Connection.Address, "dead_at", store.LastExpiry(tokens), "error", err)
}

// Discard revokes a token that no lease will hold, apart from the caller. done is closed when the
// token is revoked or pending. why says where the token comes from.
func (m *Manager) Discard(s logical.Storage, a Account, token store.Token, why string) (done <-chan struct{}) {
	over := make(chan struct{})
	started := m.Tasks.StartFollowUp(func() {
		defer close(over)
		m.DiscardNow(s, a, token, why)
	})
	if !started {
		m.Logger().Warn(MsgDiscardLost, "from", why, "expires_at", token.ExpiresAt)
		close(over)
	}
	return over
}

// DiscardNow is Discard in the caller's goroutine.
func (m *Manager) DiscardNow(s logical.Storage, a Account, token store.Token, why string) {
	if err := m.End(context.Background(), a, []store.Token{token}); err != nil {
		m.EnqueueLoose(s, a, token, why, err)
	}
}

// EnqueueLoose makes the revocation of a token pending that no lease holds. failed says why the
// token could not be revoked.
func (m *Manager) EnqueueLoose(s logical.Storage, a Account, token store.Token, why string, failed error) {
	m.Logger().Warn(MsgLoosePending, "from", why, "expires_at", token.ExpiresAt, "error", failed)
	entry := a.Entry([]store.Token{token})
	if err := m.Enqueue(context.Background(), s, "", entry); err != nil {
		m.Logger().Error(MsgLooseLost, "from", why, "expires_at", token.ExpiresAt, "error", err)
		m.StoreLater(token.ExpiresAt, func(ctx context.Context, s logical.Storage) error { return m.Enqueue(ctx, s, "", entry) })
	}
}

// RetryAfter is how long after the first failed revocation of a lease the engine still asks Vault
// to try again. Vault gives a lease up as irrevocable after six tries (source: Vault's expiration
// manager), so from then on the engine answers with success and retries by itself.
const RetryAfter = 30 * time.Second
