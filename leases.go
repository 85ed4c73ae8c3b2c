package palettesecrets

import (
	"context"
	"strconv"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

// This file has what the leases of tokens and of API keys share: issue, renewal and revocation around the
// calls that differ, which are in path_token.go and path_apikey.go.

// issued makes the response of a new lease, which lasts as long as a limit grants or the read has asked.
func (b *backend) issued(secretType string, l *lease.Lease, warning string, granted lease.Limit, shown func(ttl time.Duration) map[string]any) (*logical.Response, error) {
	internal, err := l.InternalData(secretType)
	if err != nil {
		return nil, err
	}
	ttl := granted.Left
	if l.TTL > 0 {
		ttl = min(ttl, l.TTL)
	}
	resp := b.Secret(secretType).Response(shown(ttl), internal)
	resp.Secret.TTL, resp.Secret.MaxTTL = ttl, granted.Left
	if l.TTL > granted.Left {
		resp.AddWarning(granted.Cut(l.TTL))
	}
	if warning != "" {
		resp.AddWarning(warning)
	}
	return resp, nil
}

// shownLease has the fields that each read and renewal returns, of a token or an API key.
func shownLease(l *lease.Lease, r *store.Role, until time.Time) map[string]any {
	data := map[string]any{fieldExpiresAt: until.Format(time.RFC3339), fieldAddress: l.Address, fieldOrg: l.Org}
	if r.ProjectUID != "" {
		data[fieldProjectUID] = r.ProjectUID
	}
	return data
}

// renewing wraps renew as the callback that Vault calls: read the lease, renew, count and tell.
func (b *backend) renewing(renew func(context.Context, *logical.Request, *lease.Lease) (*logical.Response, error)) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
		l, err := lease.From(req.Secret)
		if err != nil {
			return nil, err
		}
		resp, err := renew(ctx, req, l)
		b.leaseDone(telemetry.LeaseRenewed, l.Holds(), l, err)
		return resp, upstream.Coded(err)
	}
}

// renewable returns the role and the config that a lease is renewed by, as they are now. Errors are
// the storage's and Mistakes.
func (b *backend) renewable(ctx context.Context, s logical.Storage, l *lease.Lease) (*store.Role, *store.Config, error) {
	r, err := b.roles.Get(ctx, s, l.Role)
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		return nil, nil, upstream.Mistakef("role %q, which issued the lease, does not exist any more", l.Role)
	}
	cfg, err := b.configs.Get(ctx, s, r.ConfigName)
	switch {
	case err != nil:
		return nil, nil, err
	case cfg == nil:
		return nil, nil, upstream.Mistakef("config %q of role %q does not exist any more", r.ConfigName, l.Role)
	case !l.Same(cfg.Identity()):
		return nil, nil, upstream.Mistakef("config %q of role %q has another address, org, email or username than the lease was issued with; read creds/%s again", r.ConfigName, l.Role, l.Role)
	}
	return r, cfg, nil
}

// refusedBy refuses to renew a lease that a limit leaves less than a second.
func refusedBy(bound lease.Limit, l *lease.Lease) error {
	return upstream.Mistakef("the lease has lasted as long as %s allows; read creds/%s again", bound.Name, l.Role)
}

// revoking wraps revoke as the callback that Vault calls. isPending: Palette has not ended the credential
// yet, and the engine retries.
func (b *backend) revoking(revoke func(context.Context, logical.Storage, *lease.Lease) (isPending bool, err error)) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
		l, err := lease.From(req.Secret)
		if err != nil {
			return nil, err
		}
		isPending, err := revoke(ctx, req.Storage, l)
		b.leaseDone(telemetry.LeaseRevoked, l.Holds(), l, err, "pending", strconv.FormatBool(isPending))
		return nil, upstream.Coded(err)
	}
}

// leaseDone counts an operation on a lease, and sends its event. Of failures only a revocation's has an
// event: the credential may still be alive.
func (b *backend) leaseDone(operation, holds string, l *lease.Lease, err error, more ...string) {
	b.metrics.Lease(operation, holds, err == nil)
	kind := map[string]string{telemetry.LeaseIssued: telemetry.EventIssued, telemetry.LeaseRenewed: telemetry.EventRenewed, telemetry.LeaseRevoked: telemetry.EventRevoked}[operation]
	switch {
	case err != nil && operation != telemetry.LeaseRevoked:
		return
	case err != nil:
		kind = telemetry.EventRevokeFailed
	}
	b.events.Send(kind, "creds/"+l.Role, append([]string{"role", l.Role, "config", l.ConfigName, "type", holds, "lease", l.ID}, more...)...)
}
