package palette

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// keySecret is what Vault calls when the lease of a key is renewed or ends.
func (b *backend) keySecret() *framework.Secret {
	return &framework.Secret{
		Type:   secretTypeKey,
		Fields: keyAnswer(),
		Renew:  b.renewing(b.renewKey),
		Revoke: b.revoking(b.revokeKey),
	}
}

// renewKey moves the key's expiry to the end of the lease as Vault will grant it, and a
// minute. The key stays the same.
func (b *backend) renewKey(ctx context.Context, req *logical.Request, l *lease) (*logical.Response, error) {
	r, cfg, err := b.renewable(ctx, req.Storage, l)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	granted := b.shortest(r, now.Sub(req.Secret.IssueTime), keyLimit(r))
	if granted.left < time.Second {
		return nil, refusedBy(granted, l)
	}
	if !l.Key.ExpiresAt.After(now) {
		return nil, refusal("the lease's API key is dead; read creds/%s again", l.Role)
	}
	l.ConfigName = r.ConfigName
	secret := req.Secret
	b.bound(secret, l, granted.left, now)
	ttl, _, err := framework.CalculateTTL(b.System(), secret.Increment, secret.TTL, 0, secret.MaxTTL, 0, secret.IssueTime)
	if err != nil {
		return nil, refusal("%s", err)
	}
	expiry := now.Add(ttl + keyGrace).UTC()
	err = b.withAuth(ctx, req.Storage, r.ConfigName, cfg, func(client paletteAPI, auth palette.Auth) error {
		return client.UpdateAPIKey(ctx, auth, l.Key.UID, palette.NewAPIKey{Name: l.Key.Name, Description: r.Description, Expiry: expiry})
	})
	if err != nil {
		return nil, asRefusal(failedKeyCall(r.ConfigName, cfg, err, "read creds/"+l.Role+" again"))
	}
	l.Key.ExpiresAt = expiry
	took := time.Since(now)
	if granted.left-took < time.Second {
		return nil, refusedBy(granted, l)
	}
	// Vault counts the increment from the answer on, but the key lives from before the call.
	// One that is over by then still has a second, of keyGrace, or Vault would refuse the
	// renewal and not know that the key dies earlier now.
	b.bound(secret, l, min(granted.left, max(ttl, took.Truncate(time.Second)+2*time.Second)), now)
	if secret.InternalData, err = l.internalData(); err != nil {
		return nil, err
	}
	secret.InternalData["secret_type"] = secretTypeKey
	return &logical.Response{Secret: secret, Data: l.keyCredential(r, ttl, now)}, nil
}

// mayLive tells whether a key may be alive. Its expiry alone does not: a renewal whose answer
// was lost has moved it, by as much as the mount's maximum at most.
func (b *backend) mayLive(k *heldKey) bool {
	_, most := b.limits.get(b.System())
	return k.ExpiresAt.Add(most).After(time.Now())
}

// revokeKey deletes the key at Palette, as endLease does. One that is gone, or surely dead,
// is success.
func (b *backend) revokeKey(ctx context.Context, s logical.Storage, l *lease) (owed bool, err error) {
	if !b.mayLive(&l.Key) {
		return false, nil
	}
	d, err := b.keyDebt(ctx, s, l)
	if err != nil {
		return false, err
	}
	return b.endLease(ctx, s, l, ending{
		what: "API key (" + l.Key.UID + ")", deadAt: l.Key.ExpiresAt, debt: d,
		now: func() error { return b.endKey(ctx, s, l) },
	})
}

// endKey deletes a key: through its config or, where that has gone, leads elsewhere or is
// rejected, by the key itself (an assumption: that a user's key may delete itself; where it
// may not, it dies by its expiry).
func (b *backend) endKey(ctx context.Context, s logical.Storage, l *lease) error {
	a, err := b.accountOf(ctx, s, l)
	if err != nil {
		return err
	}
	client, err := b.clientFor(a.conn)
	if err != nil {
		return err
	}
	cfg, err := b.configs.get(ctx, s, l.ConfigName)
	if err != nil {
		return err
	}
	if cfg != nil && cfg.Address == l.Address && cfg.Org == l.Org {
		var deletion error // a 404 to the session's login says nothing of the key
		err = b.withAuth(ctx, s, l.ConfigName, cfg, func(client paletteAPI, auth palette.Auth) error {
			deletion = client.DeleteAPIKey(ctx, auth, l.Key.UID)
			return deletion
		})
		var mfa *palette.MFAError
		switch {
		case err == nil || gone(deletion):
			return nil
		case palette.Refusal(err) == nil && !errors.As(err, &mfa):
			return err
		}
	}
	err = client.DeleteAPIKey(ctx, palette.Auth{APIKey: l.Key.Key}, l.Key.UID)
	if gone(err) || unauthorized(err) {
		return nil
	}
	return err
}

// keyDebt is a key as it is listed to be deleted later.
func (b *backend) keyDebt(ctx context.Context, s logical.Storage, l *lease) (*debt, error) {
	a, err := b.accountOf(ctx, s, l)
	if err != nil {
		return nil, err
	}
	d := a.debt(nil)
	d.Key, d.ConfigName = &l.Key, l.ConfigName
	return d, nil
}

// discardKey deletes a key that no lease will hold or, where that fails, leaves it to the
// list of what the engine owes.
func (b *backend) discardKey(s logical.Storage, l *lease, why string) {
	ctx := context.Background()
	err := b.endKey(ctx, s, l)
	if err == nil {
		return
	}
	b.Logger().Warn("could not delete an API key that no lease holds; trying again each minute", "from", why, "uid", l.Key.UID, "expires_at", l.Key.ExpiresAt, "error", err)
	d, err := b.keyDebt(ctx, s, l)
	if err == nil {
		err = b.oweDebt(ctx, s, "", d)
	}
	if err != nil {
		b.Logger().Error("could not list an API key to be deleted; it lives to its own expiry", "from", why, "uid", l.Key.UID, "expires_at", l.Key.ExpiresAt, "error", err)
	}
}

// findLostKeys deletes the keys whose making was broken off, by their names. It runs each
// minute; walRollback does the same for what this process does not know of.
func (b *backend) findLostKeys(ctx context.Context, s logical.Storage) {
	var tried []string
	for _, id := range b.lostKeys.take() {
		err := b.findLostKey(ctx, s, id)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errUnreached):
			b.lostKeys.add(id) // before those that were tried, so that each gets its turn
			continue
		case !errors.Is(err, errMayStillCome):
			b.Logger().Warn("an API key whose making was broken off could not be looked for; trying again in a minute", "error", err)
		}
		tried = append(tried, id)
	}
	b.lostKeys.add(tried...)
}

// findLostKey deletes one, and its entry.
func (b *backend) findLostKey(ctx context.Context, s logical.Storage, id string) error {
	entry, _, err := loadWAL(ctx, s, id)
	if err != nil || entry == nil {
		return err
	}
	if err := b.endLostKey(ctx, s, entry.Data); err != nil {
		return err
	}
	return framework.DeleteWAL(ctx, s, id)
}

// errUnreached is for a key that is left for the next minute.
var errUnreached = errors.New("the call for another key of the config has just failed")

// endLostKey finds a key by the name that was written ahead, and deletes it.
func (b *backend) endLostKey(ctx context.Context, s logical.Storage, data any) error {
	var w keyWAL
	if err := decodeWAL(data, &w); err != nil {
		return err
	}
	cfg, err := b.configs.get(ctx, s, w.ConfigName)
	if err != nil {
		return err
	}
	if !w.Expiry.After(time.Now()) {
		return nil // dead by itself
	}
	if cfg == nil || cfg.Address != w.Address {
		b.Logger().Warn("an API key whose making was broken off cannot be looked for: its config has gone or leads elsewhere", "name", w.Name, "dead_by_itself_at", w.Expiry)
		return nil
	}
	if b.lostKeys.isSilent(w.ConfigName) {
		return errUnreached
	}
	found := false
	err = b.withAuth(ctx, s, w.ConfigName, cfg, func(client paletteAPI, auth palette.Auth) (err error) {
		found, err = b.deleteByName(ctx, client, auth, w.Name, "")
		return err
	})
	if err != nil && palette.Refusal(err) == nil {
		b.lostKeys.silence(w.ConfigName)
	}
	if err == nil && !found && time.Now().Before(cfg.arrivesBy(w.At)) {
		return errMayStillCome
	}
	return err
}

// errMayStillCome is for a key whose making may still be on its way to Palette.
var errMayStillCome = errors.New("the call that makes the key may still be on its way")

// deleteByName deletes the keys of a name but the one with a UID that is to stay, and tells
// whether there was one. One that is gone is success.
func (b *backend) deleteByName(ctx context.Context, client paletteAPI, auth palette.Auth, name, stays string) (found bool, err error) {
	keys, err := client.ListAPIKeys(ctx, auth)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		if key.Name != name || key.UID == stays {
			continue
		}
		if err := client.DeleteAPIKey(ctx, auth, key.UID); err != nil && !gone(err) {
			return true, err
		}
		found = true
		b.Logger().Info("deleted an API key whose making was broken off", "name", name, "uid", key.UID)
	}
	return found, nil
}

// walRollback is Vault's: it hands over entries that are older than walMinAge.
func (b *backend) walRollback(ctx context.Context, req *logical.Request, kind string, data any) error {
	switch kind {
	case walKey:
		return b.endLostKey(ctx, req.Storage, data)
	case walPassword, walRootKey:
		var of struct {
			ConfigName string `json:"config_name"`
		}
		if err := decodeWAL(data, &of); err != nil {
			return err
		}
		if err := b.listLeftovers(ctx, req.Storage); err != nil {
			return err
		}
		if len(b.rotations.leftovers(of.ConfigName)) > 0 {
			return fmt.Errorf("a rotation of config %q is not settled yet", of.ConfigName)
		}
		// Settled, and only the entry is left.
		return nil
	}
	return fmt.Errorf("a write-ahead entry is of the unknown kind %q", kind)
}

// gone tells whether Palette says that a key does not exist (any more).
func gone(err error) bool { return palette.VerdictOf(err) == palette.Gone }

// unauthorized tells whether Palette takes what authenticated a call for dead.
func unauthorized(err error) bool { return palette.VerdictOf(err) == palette.AuthDead }
