package palette

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// settle finds out what became of the rotations that a config's write-ahead entries tell
// of, and ends them one way or the other. Without an error the config can be used, also
// where an entry stays for the storage's sake. The caller has the config's gate alone.
func (b *backend) settle(ctx context.Context, s logical.Storage, name string) error {
	for _, id := range b.rotations.unsettled(name, time.Now()) {
		if !b.rotations.resolved(name, id) {
			over, err := b.settleEntry(ctx, s, name, id)
			if err != nil {
				b.rotations.with(name, func(st *rotationState) { st.trouble = err.Error() })
				b.Logger().Warn("the outcome of a broken-off rotation is not known yet; what it may have made is kept", "config", name, "error", err)
				return err
			}
			if !over {
				continue
			}
			b.rotations.resolve(name, id)
		}
		b.forgetWAL(ctx, s, name, id)
	}
	return nil
}

// forgetWAL deletes an entry that is of no more use. Where that fails it is tried again at
// the next use; the outcome is known, so Palette is not asked again.
func (b *backend) forgetWAL(ctx context.Context, s logical.Storage, name, id string) {
	if err := framework.DeleteWAL(ctx, s, id); err != nil {
		b.Logger().Error("a write-ahead entry that is of no more use could not be deleted", "config", name, "error", err)
		return
	}
	b.rotations.dropLeftover(name, id)
}

// settleEntry settles one write-ahead entry. over: it is of no more use.
func (b *backend) settleEntry(ctx context.Context, s logical.Storage, name, id string) (over bool, err error) {
	entry, _, err := loadWAL(ctx, s, id)
	if err != nil {
		return false, err
	}
	if entry == nil {
		return true, nil
	}
	cfg, err := b.configs.get(ctx, s, name)
	if err != nil {
		return false, err
	}
	if entry.Kind == walRootKey {
		var w keyWAL
		if err = decodeWAL(entry.Data, &w); err != nil {
			return false, err
		}
		known, unknown := b.settleRootKey(ctx, cfg, &w)
		return unknown == nil && (known || b.isOver(name, id, cfg, w.At)), unknown
	}
	var w passwordWAL
	if err = decodeWAL(entry.Data, &w); err != nil {
		return false, err
	}
	if cfg == nil || cfg.origin() != w.origin {
		b.Logger().Warn("a rotation's password is dropped: its config has gone or is another login", "config", name, "since", w.At)
		return true, nil
	}
	return b.settlePassword(ctx, s, name, id, cfg, &w)
}

// lateness is how much longer than a call's limits it may take to reach Palette.
const lateness = 10 * time.Second

// arrivesBy is until when a call that began at a time may still reach Palette: the safety of
// rotations and keys in a crash rests on it.
func (c *config) arrivesBy(began time.Time) time.Time {
	return began.Add(c.QueueTimeout + c.RequestTimeout + lateness)
}

// isOver tells whether the call that an entry was written ahead of can reach Palette no
// more. A plugin that outlives its Vault, or a proxy, may still be about to deliver it.
// Until then the entry stays, and is looked at again.
func (b *backend) isOver(name, id string, cfg *config, at time.Time) bool {
	if cfg == nil {
		return true
	}
	until := cfg.arrivesBy(at)
	if !time.Now().Before(until) {
		return true
	}
	b.rotations.watch(name, id, until)
	return false
}

// settlePassword asks Palette which password works: first the new one, which it may have
// taken, then the config's. Where the config has got another way to Palette, the new one is
// kept and not sent: whoever wrote that way has brought a password of their own along.
func (b *backend) settlePassword(ctx context.Context, s logical.Storage, name, id string, cfg *config, w *passwordWAL) (over bool, err error) {
	if cfg.Password != w.Password {
		elsewhere := w.Way != "" && w.Way != wayOf(cfg)
		if !elsewhere {
			fresh := cfg.login()
			fresh.Password, fresh.SetAt = w.Password, w.At
			err = b.tryPassword(ctx, s, cfg, fresh)
		}
		if elsewhere || rejected(err) {
			err = b.tryPassword(ctx, s, cfg, cfg.login())
			if err == nil {
				b.Logger().Info("a rotation that was broken off had not changed the password at Palette", "config", name)
			} else if rejected(err) {
				b.Logger().Error("neither the config's password nor the one of a broken-off rotation works; both are kept: write the config with the right one", "config", name, "another way to Palette", elsewhere, "error", err)
			}
			return err == nil && b.isOver(name, id, cfg, w.At), err
		}
		if err != nil {
			return false, err // not known yet
		}
		b.Logger().Info("a rotation that was broken off had changed the password at Palette", "config", name)
	}
	return b.storeRotated(ctx, s, name, cfg, w), nil
}

// storeRotated makes a rotated password the config's, and tells whether it is stored. A
// password that works and that could not be stored is used from memory: it stays in its
// write-ahead entry, and the next use stores it.
func (b *backend) storeRotated(ctx context.Context, s logical.Storage, name string, cfg *config, w *passwordWAL) bool {
	next := *cfg
	next.Password = w.Password
	next.rotated(w.At)
	b.markStale(ctx, s, name)
	if err := b.configs.put(ctx, s, name, &next); err != nil {
		b.configs.hold(name, &next)
		b.Logger().Error("a rotated password could not be stored; it is kept in the write-ahead log and used from there", "config", name, "error", err)
		return false
	}
	return true
}

// rejected tells whether Palette has just said no, in contrast to a login that the lockout
// guard did not let go out.
func rejected(err error) bool {
	refusal := palette.Refusal(err)
	return refusal != nil && refusal.NextTry.IsZero()
}

// tryPassword logs in and ends what that brings.
func (b *backend) tryPassword(ctx context.Context, s logical.Storage, cfg *config, login palette.Login) error {
	token, err := b.sendLogin(ctx, s, cfg, login)
	if err != nil {
		return err
	}
	b.discard(s, cfg.account(), held(token), "a rotation's login")
	return nil
}
