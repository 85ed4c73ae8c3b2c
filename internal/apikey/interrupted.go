package apikey

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Interrupted notes write-ahead entries of keys that may have been made and that nobody was given.
func (m *Manager) Interrupted(ids []string) {
	m.interrupted.mu.Lock()
	defer m.interrupted.mu.Unlock()
	m.interrupted.ids = append(m.interrupted.ids, ids...)
}

// take begins a search: it returns the entries, and forgets them and the configs that were backed
// off.
func (i *interrupted) take() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	ids := i.ids
	i.ids, i.backedOff = nil, nil
	return ids
}

func (i *interrupted) isBackedOff(config string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.backedOff[config]
}

func (i *interrupted) backOff(config string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.backedOff == nil {
		i.backedOff = make(map[string]bool)
	}
	i.backedOff[config] = true
}

var (
	// ErrBackedOff is for a key that is left for the next minute.
	ErrBackedOff = errors.New("the call for another key of the config has just failed")
	// ErrMayArrive is for a key whose making may still reach Palette.
	ErrMayArrive = errors.New("the call that makes the key may still be on its way")
)

// The log's messages for keys whose making was interrupted.
const (
	MsgSearchFailed = "an API key whose making was interrupted could not be looked for; trying again in a minute"
	MsgCannotSearch = "an API key whose making was interrupted cannot be looked for: its config has gone or leads elsewhere"
)

// EachMinute deletes the keys whose making this or an earlier process has not finished, by name and
// expiry. Those of an earlier process come from rootcred.LookUp, by a hook. [Manager.Rollback] is
// Vault's second net, for older entries. A key that stays is logged.
func (m *Manager) EachMinute(ctx context.Context, s logical.Storage) error {
	var tried []string
	for _, id := range m.interrupted.take() {
		err := m.deleteInterrupted(ctx, s, id)
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrBackedOff):
			m.Interrupted([]string{id}) // before the entries that were tried, so that each gets its try
			continue
		case !errors.Is(err, ErrMayArrive):
			m.Logger().Warn(MsgSearchFailed, "error", err)
		}
		tried = append(tried, id)
	}
	m.Interrupted(tried)
	return nil
}

// deleteInterrupted deletes one key and its write-ahead entry.
func (m *Manager) deleteInterrupted(ctx context.Context, s logical.Storage, id string) error {
	entry, _, err := store.LoadWAL(ctx, s, id)
	if err != nil || entry == nil {
		return err
	}
	if err := m.Rollback(ctx, s, entry.Data); err != nil {
		return err
	}
	return framework.DeleteWAL(ctx, s, id)
}

// Rollback finds a key by the name and expiry that were written ahead, and deletes the key. nil: the
// write-ahead entry is of no more use.
func (m *Manager) Rollback(ctx context.Context, s logical.Storage, data any) error {
	var w store.KeyWAL
	if err := store.DecodeWAL(data, &w); err != nil {
		return err
	}
	cfg, err := m.Configs.Get(ctx, s, w.ConfigName)
	if err != nil {
		return err
	}
	if !w.Expiry.After(time.Now()) {
		return nil // dead by itself
	}
	if kept, failed := m.isKept(ctx, s, &w); failed != nil || kept {
		return failed
	}
	if cfg == nil || !store.SameAddress(cfg.Address, w.Address) {
		m.Logger().Warn(MsgCannotSearch, "name", w.Name, "dead_by_itself_at", w.Expiry)
		return nil
	}
	if m.interrupted.isBackedOff(w.ConfigName) {
		return ErrBackedOff
	}
	found := false
	err = m.use(ctx, s, w.ConfigName, cfg, func(client upstream.API, auth palette.Auth) (err error) {
		found, err = m.Credentials.DeleteMade(ctx, client, auth, cfg, &w, "")
		return err
	})
	if err != nil && answer.Refusal(err) == nil {
		m.interrupted.backOff(w.ConfigName)
	}
	if err == nil && !found && time.Now().Before(w.Until(cfg)) {
		return ErrMayArrive
	}
	return err
}

// isKept tells whether a key whose making was written ahead is the shared key of a role: then only the
// write-ahead entry was left.
func (m *Manager) isKept(ctx context.Context, s logical.Storage, w *store.KeyWAL) (bool, error) {
	if w.Role == "" {
		return false, nil
	}
	have, err := m.SharedKeys.Stored(ctx, s, w.Role)
	if err != nil || have == nil {
		return false, err
	}
	return slices.ContainsFunc(have.Keys, func(k store.Key) bool { return k.Name == w.Name }), nil
}
