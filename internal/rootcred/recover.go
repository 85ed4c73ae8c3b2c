package rootcred

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// recoverAlone recovers a config's interrupted rotations under its credential lock.
func (m *Manager) recoverAlone(ctx context.Context, s logical.Storage, name string) error {
	release, err := m.acquireAlone(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	return m.recover(ctx, s, name)
}

// recoverApart is recoverAlone for a caller who may hang up: a login that is broken off may leave a
// token that nobody knows.
func (m *Manager) recoverApart(ctx context.Context, s logical.Storage, name string) error {
	_, err := tasks.Detach(ctx, m.Tasks, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, m.recoverAlone(ctx, s, name)
	}, func(struct{}) {})
	return err
}

// recover finds out what became of a config's interrupted rotations, and ends each. Without an
// error the config can be used, even where the storage does not delete an entry. The caller holds
// the whole credential lock.
//
// The newest entry comes first: of several passwords Palette knows the last that it took. Where
// neither an entry's password nor the config's works, another entry may hold the one that does.
func (m *Manager) recover(ctx context.Context, s logical.Storage, name string) error {
	ids := m.unresolved(name)
	slices.Reverse(ids)
	m.with(name, func(st *state) { st.round.works = candidate{} }) // it may have changed since
	for {
		rejected, err := m.recoverEach(ctx, s, name, ids)
		if err != nil && upstream.Rejected(err) && len(rejected) < len(ids) {
			ids = rejected // another entry has changed the config
			continue
		}
		if err != nil {
			m.with(name, func(st *state) { st.lastError = err.Error() })
			m.Logger().Warn(MsgUnresolved, "config", name, "error", err)
		}
		if err == nil || upstream.Rejected(err) {
			m.endRound(name, err)
		}
		return err
	}
}

// recoverEach recovers entries, and returns those whose passwords Palette rejects, with the first
// rejection. Another error ends recoverEach.
func (m *Manager) recoverEach(ctx context.Context, s logical.Storage, name string, ids []string) (rejected []string, first error) {
	for _, id := range ids {
		if !m.isResolved(name, id) {
			over, err := m.recoverEntry(ctx, s, name, id)
			switch {
			case upstream.Rejected(err):
				rejected, first = append(rejected, id), cmp.Or(first, err)
				continue
			case err != nil:
				return nil, err
			case !over:
				continue
			}
			m.resolve(name, id)
		}
		m.deleteWAL(ctx, s, name, id)
	}
	return rejected, first
}

// deleteWAL deletes a resolved entry. Where the storage fails, the config's next use tries again;
// Palette is not asked again.
func (m *Manager) deleteWAL(ctx context.Context, s logical.Storage, name, id string) {
	if err := framework.DeleteWAL(ctx, s, id); err != nil {
		m.Logger().Error(MsgWALNotDeleted, "config", name, "error", err)
		return
	}
	m.forget(name, id)
}

// recoverEntry recovers one write-ahead entry. over: the entry is of no more use.
func (m *Manager) recoverEntry(ctx context.Context, s logical.Storage, name, id string) (over bool, err error) {
	found, _, err := store.LoadWAL(ctx, s, id)
	if err != nil {
		return false, err
	}
	if found == nil {
		return true, nil
	}
	cfg, err := m.Configs.Get(ctx, s, name)
	if err != nil {
		return false, err
	}
	if found.Kind == store.WALRootKey {
		var w store.KeyWAL
		if err = store.DecodeWAL(found.Data, &w); err != nil {
			return false, err
		}
		known, unknown := m.recoverKey(ctx, s, cfg, &w)
		if errors.Is(unknown, errNotYet) { // the config is used meanwhile
			m.grant(name, id, time.Now().Add(keyRetry))
			return false, nil
		}
		return unknown == nil && (known || cfg == nil || m.isOver(name, id, w.Until(cfg))), unknown
	}
	var w store.PasswordWAL
	if err = store.DecodeWAL(found.Data, &w); err != nil {
		return false, err
	}
	if cfg == nil || !cfg.Identity().Same(w.Identity) {
		m.Logger().Warn(MsgPasswordDropped, "config", name, "since", w.At)
		return true, nil
	}
	return m.recoverPassword(ctx, s, name, id, cfg, &w)
}

// isOver tells whether the call of a write-ahead entry can reach Palette no more. A plugin that
// outlives its Vault, or a proxy, may still deliver the call: until then the entry has a grace
// period.
func (m *Manager) isOver(name, id string, until time.Time) bool {
	if !time.Now().Before(until) {
		return true
	}
	m.grant(name, id, until)
	return false
}

// recoverPassword asks Palette which password works: the new one first, which Palette may have
// taken, then the config's. Where the config's trust digest has changed, the new password is kept
// and not sent: whoever wrote the config has brought a password of their own.
func (m *Manager) recoverPassword(ctx context.Context, s logical.Storage, name, id string, cfg *store.Config, w *store.PasswordWAL) (over bool, err error) {
	if cfg.Password == w.Password { // stored, and the entry was left
		m.Hooks.Changed(ctx, s, name)
		return true, nil
	}
	elsewhere := w.TrustDigest != "" && w.TrustDigest != cfg.TrustDigest()
	switch {
	case elsewhere:
		m.with(name, func(st *state) { st.round.elsewhere = true })
	case !m.works(name, cfg):
		fresh := cfg.Login()
		fresh.Password, fresh.SetAt = w.Password, w.At
		if err = m.tryOnce(ctx, s, name, cfg, fresh); err == nil {
			m.Logger().Info(MsgChanged, "config", name)
			return true, m.storePassword(ctx, s, name, cfg, w)
		}
		if !upstream.Rejected(err) {
			return false, err // not known yet
		}
	}
	if err = m.tryOnce(ctx, s, name, cfg, cfg.Login()); err != nil {
		return false, err
	}
	m.Logger().Info(MsgNotChanged, "config", name)
	return m.isOver(name, id, w.Until(cfg)), nil
}

// candidate is a password that may be a user's.
type candidate struct {
	user     store.Identity
	password palette.Secret
}

// round is what recovery has learned of passwords since it began with the newest entry. Login protection
// lets only a few tries out. Without a round each run would spend them on the same passwords, and never
// come to the last.
type round struct {
	// rejected are the passwords that Palette has rejected, with its rejections.
	rejected map[candidate]error
	// works has worked in this run.
	works candidate
	// elsewhere: a password was not sent, since the config's trust digest has changed.
	elsewhere bool
}

// works tells whether a config's password has worked in this run.
func (m *Manager) works(name string, cfg *store.Config) (works bool) {
	m.with(name, func(st *state) { works = st.round.works == candidate{cfg.Identity(), cfg.Password} })
	return works
}

// tryOnce logs in with a password and revokes the token, unless the round knows the password's outcome.
func (m *Manager) tryOnce(ctx context.Context, s logical.Storage, name string, cfg *store.Config, login palette.Login) (err error) {
	c, works := candidate{cfg.Identity(), login.Password}, false
	m.with(name, func(st *state) { works, err = st.round.works == c, st.round.rejected[c] })
	if works || err != nil {
		return err
	}
	err = m.tryPassword(ctx, s, cfg, login)
	m.with(name, func(st *state) {
		switch {
		case err == nil:
			st.round.works = c
		case upstream.Rejected(err):
			if st.round.rejected == nil {
				st.round.rejected = make(map[candidate]error)
			}
			st.round.rejected[c] = err
		}
	})
	return err
}

// endRound lets the next run begin anew. err is the rejection where no password works.
func (m *Manager) endRound(name string, err error) {
	var r round
	m.with(name, func(st *state) { r, st.round = st.round, round{} })
	if err != nil && len(r.rejected) > 0 {
		m.Logger().Error(MsgNeitherWorks, "config", name, "trust_changed", r.elsewhere, "error", err)
	}
}

// recoverKey deletes the key that the config does not hold: the old key where the new one was
// stored, else the new key, should Palette have made it.
func (m *Manager) recoverKey(ctx context.Context, s logical.Storage, cfg *store.Config, w *store.KeyWAL) (known bool, err error) {
	if cfg == nil || cfg.APIKey == "" || !store.SameAddress(cfg.Address, w.Address) {
		m.Logger().Warn(MsgKeyLeft, "config", w.ConfigName, "name", w.Name, "dead_by_itself_at", w.Expiry)
		return true, nil
	}
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return false, err
	}
	auth := palette.Auth{APIKey: cfg.APIKey}
	if cfg.APIKeyUID == "" || cfg.APIKeyUID == w.OldUID {
		return m.DeleteMade(ctx, client, auth, cfg, w, "")
	}
	// The config's key may be neither, where an operator has written another since. Then both go.
	// Older versions stored no name, and two rotations may come within a second.
	own := cfg.APIKeyName == w.Name || cfg.APIKeyName == "" && cfg.APIKeyExpiry == w.Expiry.Unix() && cfg.LastRotated == w.At.Unix()
	if !own {
		_, err = m.DeleteMade(ctx, client, auth, cfg, w, cfg.APIKeyUID)
		switch {
		case upstream.Unauthorized(err): // a key that was made just now is not known everywhere (public reports)
			m.Logger().Warn(MsgKeyNotYet, "config", w.ConfigName, "uid", w.OldUID, "error", err)
			return false, errNotYet
		case err != nil && !upstream.Rejected(err):
			return false, err
		}
	}
	if err = client.DeleteAPIKey(ctx, auth, w.OldUID); err == nil || upstream.Gone(err) {
		return true, nil
	}
	return m.retireKey(ctx, s, cfg, w, err)
}

// retireKey makes the deletion of a config's old key pending: Palette may not know the new key yet, or
// not let it delete the old one, and the config must be of use meanwhile.
func (m *Manager) retireKey(ctx context.Context, s logical.Storage, cfg *store.Config, w *store.KeyWAL, failed error) (known bool, err error) {
	dead := w.At.Add(RootKeyLife)
	if w.OldExpiry != 0 {
		dead = time.Unix(w.OldExpiry, 0).UTC()
	}
	m.Logger().Warn(MsgOldKeyPending, "config", w.ConfigName, "uid", w.OldUID, "expires_at", dead, "error", failed)
	old := store.Key{UID: w.OldUID, Key: w.OldKey, ExpiresAt: dead}
	err = m.Revocations.Enqueue(context.WithoutCancel(ctx), s, "", revocation.AccountOf(cfg).KeyEntry(w.ConfigName, old))
	return err == nil, err
}

// keyRetry is the pause before an old key is deleted once more with a new key that Palette did not
// accept.
const keyRetry = time.Minute

// errNotYet is for an old key that is deleted later.
var errNotYet = errors.New("Palette does not accept the new API key yet")
