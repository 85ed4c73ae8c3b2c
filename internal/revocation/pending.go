package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/store"
)

// Entry is a pending revocation: what the engine must still end at Palette. An entry holds the
// connection, so that no later change of a config keeps the engine from the revocation.
type Entry struct {
	Connection palette.Connection `json:"connection"`
	Org        string             `json:"org"`
	Email      string             `json:"email"`
	Username   string             `json:"username,omitempty"`
	Tokens     []store.Token      `json:"tokens,omitempty"`
	// Key is an API key instead of tokens.
	Key *store.Key `json:"key,omitempty"`
	// ConfigName is the config whose credential deletes the key.
	ConfigName  string    `json:"config_name,omitempty"`
	FirstFailed time.Time `json:"first_failed"`
}

// Entry is a pending revocation of an account's tokens.
func (a Account) Entry(tokens []store.Token) *Entry {
	return &Entry{Connection: a.Connection, Org: a.Org, Email: a.Email, Username: a.Username, Tokens: tokens}
}

// KeyEntry is a pending revocation of an API key.
func (a Account) KeyEntry(configName string, key store.Key) *Entry {
	e := a.Entry(nil)
	e.Key, e.ConfigName = &key, configName
	return e
}

// Account is the account whose credential the entry holds.
func (e *Entry) Account() Account {
	return Account{e.Connection, e.Org, e.Email, e.Username}
}

// Identity is the user whose credential the entry holds.
func (e *Entry) Identity() store.Identity { return e.Account().Identity() }

// Enqueue stores a pending revocation. An empty id gets one made.
func (m *Manager) Enqueue(ctx context.Context, s logical.Storage, id string, e *Entry) error {
	if id == "" {
		made, err := uuid.GenerateUUID()
		if err != nil {
			return fmt.Errorf("naming the pending revocation: %w", err)
		}
		id = made
	}
	e.FirstFailed = time.Now().UTC()
	if err := entries.Put(ctx, s, id, e); err != nil {
		return err
	}
	m.Metrics.PendingEnqueued()
	return nil
}

// entries are the pending revocations in the storage.
var entries = store.NewRecords(store.PendingPrefix, func() *Entry { return &Entry{Connection: store.DefaultConnection("")} })

// Reconnect lets the pending revocations of a config go by another connection: the config has another
// way to the same Palette. They are what went by the config's old connection, the config's API keys, and
// its user's tokens. An entry that cannot be read stays as it is. After an error Reconnect may be called
// again, also where the config has the new connection by then.
func (m *Manager) Reconnect(ctx context.Context, s logical.Storage, configName string, old Account, to palette.Connection) error {
	if err := m.retrying.Acquire(ctx, 1); err != nil { // a retry removes what it has ended
		return fmt.Errorf("waiting for a run over the pending revocations: %w", err)
	}
	defer m.retrying.Release(1)
	var errs []error
	err := entries.Each(ctx, s, func(id string, e *Entry, err error) {
		if err == nil && e.Connection != to && e.isOf(configName, old) {
			e.Connection = to
			errs = append(errs, entries.Put(ctx, s, id, e))
		}
	})
	return errors.Join(append(errs, err)...)
}

// isOf tells whether an entry is a config's, whose account is a.
func (e *Entry) isOf(configName string, a Account) bool {
	switch {
	case e.Connection == a.Connection:
		return true
	case e.Key != nil:
		return e.ConfigName == configName && store.SameAddress(e.Connection.Address, a.Connection.Address)
	}
	return e.Identity().Same(a.Identity())
}

// remove deletes a pending revocation that is over.
func (m *Manager) remove(ctx context.Context, s logical.Storage, id string) error {
	if err := entries.Delete(ctx, s, id); err != nil {
		return err
	}
	m.Metrics.PendingRemoved()
	return nil
}

// pendingTokens is a pending revocation of tokens that a run retries.
type pendingTokens struct {
	id    string
	since time.Time
	request
}

// pendingKey is a pending revocation of an API key that a run retries.
type pendingKey struct {
	id    string
	entry *Entry
}

// pending is what a run retries.
type pending struct {
	tokens map[Account][]*pendingTokens
	keys   []*pendingKey
}

// loadAll reads the pending revocations and removes those whose credentials are all dead. An
// entry that cannot be read is named by the error, and does not keep the others from a retry.
func (m *Manager) loadAll(ctx context.Context, s logical.Storage) (pending, error) {
	found := pending{tokens: make(map[Account][]*pendingTokens)}
	var errs []error
	err := entries.Each(ctx, s, func(id string, e *Entry, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		if e.Key != nil && m.Keys.MayLive(e.Key) {
			found.keys = append(found.keys, &pendingKey{id, e})
			return
		}
		tokens := store.Alive(e.Tokens, time.Now())
		if len(tokens) == 0 {
			errs = append(errs, m.remove(ctx, s, id))
			return
		}
		a := e.Account()
		found.tokens[a] = append(found.tokens[a], &pendingTokens{id, e.FirstFailed, request{tokens: tokens}})
	})
	return found, errors.Join(append(errs, err)...)
}
