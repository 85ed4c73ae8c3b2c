package palettesecrets

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/keyname"
	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// secretTypeKey is the type of an API key's secret in Vault's lease.
const secretTypeKey = "palette_api_key"

// keySecret is what Vault calls when the lease of an API key is renewed or ends.
func (b *backend) keySecret() *framework.Secret {
	return &framework.Secret{
		Type: secretTypeKey, Fields: keyAnswer(),
		Renew: b.renewing(b.renewKey), Revoke: b.revoking(b.revokeKey),
	}
}

func keyAnswer() map[string]*framework.FieldSchema {
	fields := tokenAnswer()
	delete(fields, fieldToken)
	delete(fields, fieldTokenID)
	fields[fieldAPIKey] = &framework.FieldSchema{Type: framework.TypeString, Description: "The API key, for the ApiKey header (credential_type=api_key).", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}}
	fields[fieldAPIKeyUID] = &framework.FieldSchema{Type: framework.TypeString, Description: "The API key's UID at Palette."}
	fields[fieldAPIKeyName] = &framework.FieldSchema{Type: framework.TypeString, Description: "The API key's name at Palette."}
	return fields
}

// errMadeTooLate is for a key whose lease would be over before the answer.
var errMadeTooLate = logical.CodedError(http.StatusServiceUnavailable, "making the API key took as long as the lease would last, and it has been discarded; try again, or with a longer ttl")

// issueKey makes an API key under a lease, or hands out the one that the role's leases share.
func (b *backend) issueKey(ctx context.Context, req *logical.Request, r *store.Role, cfg *store.Config, l *lease.Lease) (*logical.Response, error) {
	if err := noKeysOf(cfg, r); err != nil {
		return nil, err
	}
	if l.SharedKey {
		return b.issueSharedKey(ctx, req.Storage, r, cfg, l)
	}
	name, err := keyname.Make(r.NameTemplate, keyname.Data{RoleName: l.Role, DisplayName: req.DisplayName, EntityID: req.EntityID})
	if err != nil {
		return nil, upstream.Mistakef("the name_template of role %q makes no name: %s", l.Role, err)
	}
	granted := b.limits.Shortest(r, 0, lease.KeyLimit(r))
	ttl := granted.Left
	if l.TTL > 0 {
		ttl = min(ttl, l.TTL)
	}
	if l.Key, err = b.keys.Create(ctx, req.Storage, r, cfg, name, time.Now().Add(ttl+apikey.Grace).UTC()); err != nil {
		return nil, b.usage.CreateFailed(ctx, req.Storage, r.ConfigName, r, cfg, err, "")
	}
	// The key's life counts from before the waits for a session, a permit and the answer. The lease
	// counts from now on.
	now := time.Now()
	left := lease.KeyLeft(l.Key, apikey.Grace, now)
	if left < time.Second {
		b.keys.Discard(req.Storage, ownedKey(l), "a making that took as long as the key's lease")
		return nil, errMadeTooLate
	}
	if left < granted.Left {
		granted = lease.KeyLifeLimit(left)
	}
	return b.issued(secretTypeKey, l, "", granted, func(ttl time.Duration) map[string]any {
		return shownKey(l, r, l.Key, ttl, now)
	})
}

// sharedKey is the key that the role's leases share, and the limit that its life sets.
func (b *backend) sharedKey(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, l *lease.Lease) (current session.Handle, limit lease.Limit, err error) {
	current, err = b.keys.SharedKeys.CurrentOf(ctx, s, &session.Want{Name: l.Role, Config: cfg, Role: r})
	if err != nil {
		return current, limit, b.usage.CreateFailed(ctx, s, r.ConfigName, r, cfg, err, "")
	}
	b.metrics.SharedKeyRead(current.State)
	left := lease.KeyLeft(current.Key(), apikey.SharedGrace(current.Life), time.Now())
	switch {
	case current.Passing != nil: // the failure of the next key is told as that of a first one
		why := b.usage.CreateFailed(ctx, s, r.ConfigName, r, cfg, current.Passing.Err, "")
		if left < time.Second {
			return current, limit, why
		}
		current.Passing = &session.Passing{Warning: current.Passing.Warning, Err: why}
	case left < time.Second:
		return current, limit, logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("the API key that leases of role %q share lives for %s in all, too short for a lease; try again, or with a longer max_ttl of the role or max_lease_ttl of the mount", l.Role, current.Life))
	}
	return current, lease.KeyLifeLimit(left), nil
}

// issueSharedKey hands out the role's shared key. The lease holds no key: others use the key too.
func (b *backend) issueSharedKey(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, l *lease.Lease) (*logical.Response, error) {
	current, limit, err := b.sharedKey(ctx, s, r, cfg, l)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return b.issued(secretTypeKey, l, current.Warning(), b.limits.Shortest(r, 0, lease.KeyLimit(r), limit), func(ttl time.Duration) map[string]any {
		return shownKey(l, r, current.Key(), ttl, now)
	})
}

func ownedKey(l *lease.Lease) apikey.Owned {
	return apikey.Owned{ConfigName: l.ConfigName, Identity: l.Identity, Key: l.Key}
}

// shownKey is what a read and a renewal of an API key return. expires_at is the lease's end; the
// key lives longer, by apikey.Grace where the lease does not share it.
func shownKey(l *lease.Lease, r *store.Role, key store.Key, ttl time.Duration, now time.Time) map[string]any {
	data := shownLease(l, r, now.Add(ttl).UTC())
	data[fieldAPIKey], data[fieldAPIKeyUID], data[fieldAPIKeyName] = key.Key.Reveal(), key.UID, key.Name
	return data
}

// renewKey moves the key's expiry to a minute after the end that Vault will grant the lease. The key
// stays the same. A lease that shares its role's key gets the role's present key instead.
func (b *backend) renewKey(ctx context.Context, req *logical.Request, l *lease.Lease) (*logical.Response, error) {
	r, cfg, err := b.renewable(ctx, req.Storage, l)
	if err != nil {
		return nil, err
	}
	l.ConfigName = r.ConfigName
	limits, warning := []lease.Limit{lease.KeyLimit(r)}, ""
	if l.SharedKey {
		if !r.SharesKey() {
			return nil, upstream.Mistakef("role %q hands out no shared API key any more; read creds/%s again", l.Role, l.Role)
		}
		current, limit, failed := b.sharedKey(ctx, req.Storage, r, cfg, l)
		if failed != nil {
			return nil, failed
		}
		l.Key, warning, limits = current.Key(), current.Warning(), append(limits, limit)
	}
	now := time.Now()
	granted := b.limits.Shortest(r, now.Sub(req.Secret.IssueTime), limits...)
	if granted.Left < time.Second {
		return nil, refusedBy(granted, l)
	}
	if !l.Key.ExpiresAt.After(now) {
		return nil, upstream.Mistakef("the lease's API key is dead; read creds/%s again", l.Role)
	}
	secret := req.Secret
	l.Bound(secret, granted.Left, now)
	ttl, _, err := framework.CalculateTTL(b.System(), secret.Increment, secret.TTL, 0, secret.MaxTTL, 0, secret.IssueTime)
	if err != nil {
		return nil, upstream.Mistakef("%s", err)
	}
	if l.SharedKey {
		return sharedRenewal(secret, l, shownKey(l, r, l.Key, ttl, now), warning)
	}
	expiry := now.Add(ttl + apikey.Grace).UTC()
	if err = b.keys.Extend(ctx, req.Storage, r, cfg, l.Key, expiry); err != nil {
		return nil, upstream.KeyCallFailed(r.ConfigName, cfg, err, "read creds/"+l.Role+" again")
	}
	l.Key.ExpiresAt = expiry
	took := time.Since(now)
	if granted.Left-took < time.Second {
		return nil, refusedBy(granted, l)
	}
	// Extend may have shortened the key's life, so this renewal must not fail any more: Vault would
	// keep the old, later end. A term that has passed during the call becomes a second, taken from
	// apikey.Grace. One more second makes up for Vault's truncation.
	l.Bound(secret, min(granted.Left, max(ttl, took.Truncate(time.Second)+2*time.Second)), now)
	if secret.InternalData, err = l.InternalData(secretTypeKey); err != nil {
		return nil, err
	}
	return &logical.Response{Secret: secret, Data: shownKey(l, r, l.Key, ttl, now)}, nil
}

// sharedRenewal makes the response of a renewal with the role's shared key, which the lease does not hold.
func sharedRenewal(secret *logical.Secret, l *lease.Lease, data map[string]any, warning string) (resp *logical.Response, err error) {
	l.Key = store.Key{}
	if secret.InternalData, err = l.InternalData(secretTypeKey); err != nil {
		return nil, err
	}
	resp = &logical.Response{Secret: secret, Data: data}
	if warning != "" {
		resp.AddWarning(warning)
	}
	return resp, nil
}

// revokeKey deletes the key at Palette. A key that is gone, or surely dead, is success. A key that others
// share stays.
func (b *backend) revokeKey(ctx context.Context, s logical.Storage, l *lease.Lease) (isPending bool, err error) {
	if l.SharedKey || !b.keys.MayLive(&l.Key) {
		return false, nil
	}
	entry, err := b.keys.Entry(ctx, s, ownedKey(l))
	if err != nil {
		return false, err
	}
	return b.revocations.EndLease(ctx, s, revocation.Lease{
		PendingID: l.PendingID(), Role: l.Role, Address: l.Address,
		What: "API key (" + l.Key.UID + ")", DeadAt: l.Key.ExpiresAt, Entry: entry,
		Now: func(ctx context.Context) error { return b.keys.Delete(ctx, s, ownedKey(l)) },
	})
}
