package palette

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

// renewToken gets a new token of the lease's session, and returns the token as the renewal's data.
func (b *backend) renewToken(ctx context.Context, req *logical.Request, l *lease.Lease) (*logical.Response, error) {
	r, cfg, err := b.renewable(ctx, req.Storage, l)
	if err != nil {
		return nil, err
	}
	// The new token's life is not known yet, so no limit but the role's and the mount's counts here.
	if bound := b.limits.Shortest(r, time.Since(req.Secret.IssueTime), lease.TokenLimit(answer.MaxTokenLife)); bound.Left < time.Second {
		return nil, refusedBy(bound, l)
	}
	l.ConfigName = r.ConfigName // where the role has changed to another config of the same identity
	if l.Shared {
		return b.renewShared(ctx, req, r, cfg, l)
	}
	return b.renewOwn(ctx, req, r, cfg, l)
}

// refusedBy refuses to renew a lease that a limit leaves less than a second.
func refusedBy(bound lease.Limit, l *lease.Lease) error {
	return upstream.Mistakef("the lease has lasted as long as %s allows; read creds/%s again", bound.Name, l.Role)
}

// renewOwn returns a new token for a lease with a session of its own. A lease that holds as many
// tokens as it may gets the newest token again.
func (b *backend) renewOwn(ctx context.Context, req *logical.Request, r *store.Role, cfg *store.Config, l *lease.Lease) (*logical.Response, error) {
	l.Tokens = store.Alive(l.Tokens, time.Now())
	if len(l.Tokens) == 0 {
		return nil, upstream.Mistakef("the lease's token is dead, so that there is no session to renew; read creds/%s again", l.Role)
	}
	newest := l.Tokens[len(l.Tokens)-1]
	if len(l.Tokens) >= lease.MaxTokens {
		return b.renewed(req.Secret, r, l, newest, newest.Left(time.Now()))
	}
	token, err := b.refresh(ctx, req.Storage, cfg, newest.Token)
	if cfg.IsSystem() && answer.VerdictOf(err) == answer.SessionOver {
		// Palette documents no refresh of a system administrator's token, so its refusal may say nothing of
		// the session. The token of before stays in the lease and ends with it.
		if token, err = b.credentials.Login(ctx, req.Storage, r.ConfigName, cfg); err != nil {
			return nil, upstream.LoginFailed(r.ConfigName, cfg, err, "")
		}
	}
	if err != nil {
		return nil, upstream.RefreshFailed(l.Role, err)
	}
	l.Tokens = append(store.Alive(l.Tokens, time.Now()), store.TokenOf(token))
	resp, err := b.renewed(req.Secret, r, l, store.TokenOf(token), token.Life)
	if err != nil { // Vault keeps the lease as it was, without the token
		b.revocations.Discard(req.Storage, revocation.AccountOf(cfg), store.TokenOf(token), "a renewal that came too late")
	}
	return resp, err
}

// refresh gets a new token of the session of another token.
func (b *backend) refresh(ctx context.Context, s logical.Storage, cfg *store.Config, newest palette.Secret) (palette.Token, error) {
	client, err := b.clients.For(cfg.Connection)
	if err != nil {
		return palette.Token{}, err
	}
	return b.credentials.Detach(ctx, s, cfg, func(ctx context.Context) (palette.Token, error) {
		return client.Refresh(ctx, newest)
	})
}

// renewShared returns the present token of the config's shared session.
func (b *backend) renewShared(ctx context.Context, req *logical.Request, r *store.Role, cfg *store.Config, l *lease.Lease) (*logical.Response, error) {
	current, err := b.sessions.Current(ctx, req.Storage, r.ConfigName, cfg)
	if err != nil {
		return nil, upstream.LoginFailed(r.ConfigName, cfg, err, "")
	}
	b.metrics.SharedRead(current.State)
	newest := current.Newest()
	resp, err := b.renewed(req.Secret, r, l, newest, newest.Left(time.Now()))
	if err == nil && current.Warning != "" {
		resp.AddWarning(current.Warning)
	}
	return resp, err
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

// renewed makes the response of a renewal with a token that has some life left. The call has taken
// its time, so renewed looks at the limits once more: Vault refuses a lease that is over.
func (b *backend) renewed(secret *logical.Secret, r *store.Role, l *lease.Lease, token store.Token, life time.Duration) (*logical.Response, error) {
	now := time.Now()
	granted := b.limits.Shortest(r, now.Sub(secret.IssueTime), lease.TokenLimit(life))
	if granted.Left < time.Second {
		return nil, refusedBy(granted, l)
	}
	internal, err := l.InternalData(secretTypeToken)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Secret: secret, Data: shownToken(l, r, token)}
	resp.Secret.InternalData = internal
	l.Bound(resp.Secret, granted.Left, now)
	return resp, nil
}

// revokeToken ends all live tokens of a lease, at the address that issued them. A lease of a shared
// session holds no token: others use the session.
func (b *backend) revokeToken(ctx context.Context, s logical.Storage, l *lease.Lease) (isPending bool, err error) {
	tokens := store.Alive(l.Tokens, time.Now())
	if len(tokens) == 0 {
		return false, nil
	}
	a, err := b.revocations.AccountFor(ctx, s, l.ConfigName, l.Identity)
	if err != nil {
		return false, err
	}
	return b.revocations.EndLease(ctx, s, revocation.Lease{
		PendingID: l.PendingID(), Role: l.Role, Address: l.Address,
		What: fmt.Sprintf("tokens (%d)", len(tokens)), DeadAt: store.LastExpiry(tokens), Entry: a.Entry(tokens),
		Now: func(ctx context.Context) error { return b.revocations.Revoke(ctx, a, tokens) },
	})
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

// leaseDone counts and tells what has become of an operation on a lease. A failure is told where it
// may leave a credential alive: that of a revocation.
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
