// Package apikey makes, extends and deletes the API keys of leases.
//
// Promise: a key outlives its lease by a minute, give or take a second, so that the key dies even
// when Vault does. The name of a key is written ahead of its making: a key whose making was interrupted is
// found by its name and deleted.
//
// State: the ids of the write-ahead entries of interrupted makings, which one mutex guards. The shared
// keys are in a [session.Manager].
package apikey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/keyusage"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Grace is how much longer than its lease a key lives at Palette: the key does not die before its
// lease, and dies even when Vault does.
const Grace = time.Minute

// Manager makes and ends the API keys of a mount.
type Manager struct {
	Configs     *store.Configs
	Clients     *upstream.Clients
	Revocations *revocation.Manager
	Credentials *rootcred.Manager
	Sessions    *session.Manager
	// SharedKeys are the keys of roles that share one; their kind is [Shared].
	SharedKeys *session.Manager
	Tasks      *tasks.Group
	Logger     func() hclog.Logger
	// Usage is told of the keys that are made.
	Usage *keyusage.Manager
	// MaxLease is the mount's longest lease.
	MaxLease func() time.Duration

	interrupted interrupted
}

// Owned is an API key of a lease, and the config that made it.
type Owned struct {
	ConfigName string
	store.Identity
	Key store.Key
}

// Create makes a key that ends at expiry. A key that comes after the caller has gone is deleted.
func (m *Manager) Create(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, name string, expiry time.Time) (store.Key, error) {
	w := &store.KeyWAL{ConfigName: r.ConfigName, Address: cfg.Address, Name: name, Expiry: expiry}
	return tasks.Detach(ctx, m.Tasks, func(ctx context.Context) (store.Key, error) {
		return m.createKept(ctx, s, r, cfg, w, func(store.Key) error { return nil })
	}, func(key store.Key) { m.Discard(s, Owned{r.ConfigName, cfg.Identity(), key}, rootcred.LateCaller) })
}

// createKept makes a key. The write-ahead entry stays until keep has the key: where keep fails, the
// search for interrupted makings deletes the key.
func (m *Manager) createKept(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, w *store.KeyWAL, keep func(store.Key) error) (store.Key, error) {
	// LookUp comes before the write: it would take the new entry for one that a crash has left.
	if err := m.Credentials.LookUp(ctx, s); err != nil {
		return store.Key{}, err
	}
	key, id, verdict, err := m.create(ctx, s, r, cfg, w)
	if err != nil {
		m.createFailed(ctx, s, id, verdict)
		return store.Key{}, err
	}
	if err = keep(key); err != nil {
		m.Interrupted([]string{id})
		return store.Key{}, err
	}
	if err = framework.DeleteWAL(ctx, s, id); err != nil {
		m.Interrupted([]string{id})
		if w.Role == "" {
			// The entry would have the key deleted later, while it is in use. So the key goes now.
			m.Discard(s, Owned{r.ConfigName, cfg.Identity(), key}, rootcred.LateCaller)
			return store.Key{}, fmt.Errorf("taking the key's name out of the write-ahead log: %w", err)
		}
	}
	m.Usage.Made(r.ConfigName, cfg, r.UserUID)
	return key, nil
}

// create writes the key's name ahead and calls Palette. id is that of the write-ahead entry, "" where
// none was written. The verdict is that of the creation alone: an error of what comes before says that
// no key was made.
func (m *Manager) create(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, w *store.KeyWAL) (key store.Key, id string, verdict answer.Verdict, err error) {
	key = store.Key{Name: w.Name, ExpiresAt: w.Expiry}
	var creation error
	err = m.use(ctx, s, r.ConfigName, cfg, func(client upstream.API, auth palette.Auth) (err error) {
		if w.SentExpiry.IsZero() {
			if w.SentExpiry, err = client.OnPalettesClock(ctx, auth, w.Expiry); err != nil {
				return err
			}
		}
		if id, err = m.writeAhead(ctx, s, id, cfg, w); err != nil {
			return err
		}
		key.MadeAt = time.Now().UTC()
		key.UID, key.Key, creation = client.CreateAPIKey(ctx, auth, palette.NewAPIKey{
			Name: w.Name, Description: r.Description, UserUID: r.UserUID, Expiry: w.SentExpiry,
		})
		return creation
	})
	return key, id, answer.VerdictOf(creation), err
}

// writeAhead writes the name of a key ahead of a call; id is that of the entry of the call before, "" for
// the first call.
func (m *Manager) writeAhead(ctx context.Context, s logical.Storage, id string, cfg *store.Config, w *store.KeyWAL) (string, error) {
	w.At = time.Now().UTC() // the session's login is over
	w.ArrivesBy = cfg.ArrivesBy(w.At)
	var err error
	if id == "" {
		id, err = framework.PutWAL(ctx, s, store.WALKey, w)
	} else {
		err = store.RewriteWAL(ctx, s, id, w)
	}
	if err != nil {
		return id, fmt.Errorf("writing the key's name ahead: %w", err)
	}
	return id, nil
}

// createFailed deletes the write-ahead entry of a key that Palette has not made. Where Palette may
// have made the key, the entry stays.
func (m *Manager) createFailed(ctx context.Context, s logical.Storage, id string, verdict answer.Verdict) {
	if id == "" {
		return
	}
	if verdict == answer.Unknown {
		m.Interrupted([]string{id})
		return
	}
	if framework.DeleteWAL(ctx, s, id) != nil {
		m.Interrupted([]string{id})
	}
}

// Extend moves a key's expiry.
func (m *Manager) Extend(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, key store.Key, expiry time.Time) error {
	return m.use(ctx, s, r.ConfigName, cfg, func(client upstream.API, auth palette.Auth) error {
		sent, err := client.OnPalettesClock(ctx, auth, expiry)
		if err != nil {
			return err
		}
		return client.UpdateAPIKey(ctx, auth, key.UID, palette.NewAPIKey{Name: key.Name, Description: r.Description, Expiry: sent})
	})
}

// use calls Palette with the config's API key or, without one, with its shared session: a login
// for each key would be too many.
func (m *Manager) use(ctx context.Context, s logical.Storage, name string, seen *store.Config, call func(upstream.API, palette.Auth) error) error {
	cfg, release, err := m.Credentials.Use(ctx, s, name, seen)
	if err != nil {
		return err
	}
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		release()
		return err
	}
	if cfg.APIKey != "" {
		defer release() // a rotation deletes the key that this call goes out with
		return call(client, palette.Auth{APIKey: cfg.APIKey})
	}
	release() // the session's login acquires the credential lock by itself
	current, err := m.Sessions.Current(ctx, s, name, cfg)
	if err != nil {
		return err
	}
	used := current.Newest().Token
	if err = call(client, palette.Auth{Token: used}); !upstream.Unauthorized(err) {
		return err
	}
	// The session has ended. Palette has not carried out a call that it answers with 401, so the
	// call may be sent again.
	if current, err = m.Sessions.After(ctx, s, name, cfg, used); err != nil {
		return err
	}
	return call(client, palette.Auth{Token: current.Newest().Token})
}

// MayLive tells whether a key may be alive. Its expiry alone does not tell: a renewal whose answer
// was lost has moved the expiry, by the mount's longest lease at most.
func (m *Manager) MayLive(key *store.Key) bool {
	return key.ExpiresAt.Add(m.MaxLease()).After(time.Now())
}

// errNoWay is for a key that neither its config nor the key itself can delete.
var errNoWay = errors.New("the key's config has gone or leads elsewhere, and the key itself is not known")

// Delete deletes a key at Palette: through its config or, where the config has gone, leads
// elsewhere or is rejected, by the key itself. That a user's key may delete itself is an
// assumption; where it may not, the key dies by its expiry. A key that is gone is success.
func (m *Manager) Delete(ctx context.Context, s logical.Storage, k Owned) error {
	a, err := m.Revocations.AccountFor(ctx, s, k.ConfigName, k.Identity)
	if err != nil {
		return err
	}
	client, err := m.Clients.For(a.Connection)
	if err != nil {
		return err
	}
	cfg, err := m.Configs.Get(ctx, s, k.ConfigName)
	if err != nil {
		return err
	}
	unseen := false
	if cfg != nil && store.SameAddress(cfg.Address, k.Address) && cfg.Org == k.Org {
		var deletion error // a 404 to the session's login says nothing of the key
		err = m.use(ctx, s, k.ConfigName, cfg, func(client upstream.API, auth palette.Auth) error {
			deletion = client.DeleteAPIKey(ctx, auth, k.Key.UID)
			return deletion
		})
		var mfa *palette.MFAError
		// To another user than the key's, a key is not there either. Whose an API key is, is not known.
		unseen = upstream.Gone(deletion) && k.Key.Key != "" && (cfg.APIKey != "" || !k.Same(cfg.Identity()))
		switch {
		case err == nil || upstream.Gone(deletion) && !unseen:
			return nil
		case answer.Refusal(err) == nil && !errors.As(err, &mfa) && !unseen:
			return err
		}
	}
	if k.Key.Key == "" { // the engine knows its UID alone
		return cmp.Or(err, errNoWay)
	}
	err = client.DeleteAPIKey(ctx, palette.Auth{APIKey: k.Key.Key}, k.Key.UID)
	if upstream.Gone(err) || upstream.Unauthorized(err) && (unseen || time.Since(k.Key.MadeAt) > knownBy) {
		return nil
	}
	return err
}

// knownBy is how long after a key's making Palette may answer 401 to it: not all of Palette knows a new
// key at once (public reports).
const knownBy = time.Minute

// EndPending implements revocation.KeyEnder. A retired key of a config that has been written to the
// config again is not to be ended any more.
func (m *Manager) EndPending(ctx context.Context, s logical.Storage, e *revocation.Entry) error {
	cfg, err := m.Configs.Get(ctx, s, e.ConfigName)
	if err != nil {
		return err
	}
	if cfg != nil && cfg.APIKey != "" && (cfg.APIKey == e.Key.Key || cfg.APIKeyUID == e.Key.UID) {
		return nil
	}
	return m.Delete(ctx, s, Owned{e.ConfigName, e.Identity(), *e.Key})
}

// Entry is the pending revocation of a key.
func (m *Manager) Entry(ctx context.Context, s logical.Storage, k Owned) (*revocation.Entry, error) {
	a, err := m.Revocations.AccountFor(ctx, s, k.ConfigName, k.Identity)
	if err != nil {
		return nil, err
	}
	return a.KeyEntry(k.ConfigName, k.Key), nil
}

// The log's messages for keys that no lease holds.
const (
	MsgLoosePending = "could not delete an API key that no lease holds; the deletion is pending and retried each minute"
	MsgLooseLost    = "could not store a pending deletion of an API key; trying again each minute, until this process ends"
)

// Discard deletes a key that no lease will hold, or makes the deletion pending. why says where the
// key comes from.
func (m *Manager) Discard(s logical.Storage, k Owned, why string) {
	ctx := context.Background()
	err := m.Delete(ctx, s, k)
	if err == nil {
		return
	}
	m.Logger().Warn(MsgLoosePending, "from", why, "uid", k.Key.UID, "expires_at", k.Key.ExpiresAt, "error", err)
	if err = m.enqueue(ctx, s, k); err != nil {
		m.Logger().Error(MsgLooseLost, "from", why, "uid", k.Key.UID, "expires_at", k.Key.ExpiresAt, "error", err)
		m.Revocations.StoreLater(k.Key.ExpiresAt, func(ctx context.Context, s logical.Storage) error { return m.enqueue(ctx, s, k) })
	}
}

// enqueue makes the deletion of a key pending.
func (m *Manager) enqueue(ctx context.Context, s logical.Storage, k Owned) error {
	entry, err := m.Entry(ctx, s, k)
	if err != nil {
		return err
	}
	return m.Revocations.Enqueue(ctx, s, "", entry)
}

// interrupted are the write-ahead entries of keys that may have been made and that nobody was
// given.
type interrupted struct {
	mu  sync.Mutex
	ids []string
	// backedOff are the configs for which this minute's search met a passing fault. With Palette
	// down each try takes request_timeout, and the pending revocations wait for the search.
	backedOff map[string]bool
}
