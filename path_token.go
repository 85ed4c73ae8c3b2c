package palettesecrets

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// secretTypeToken is the type of a token's secret in Vault's lease.
const secretTypeToken = "palette_token"

// tokenSecret is what Vault calls when a lease is renewed or ends.
func (b *backend) tokenSecret() *framework.Secret {
	return &framework.Secret{
		Type:   secretTypeToken,
		Fields: tokenAnswer(),
		Renew:  b.renewing(b.renewToken),
		Revoke: b.revoking(b.revokeToken),
	}
}

func tokenAnswer() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldToken:      {Type: framework.TypeString, Description: "The token, for the Authorization header, without \"Bearer\".", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		fieldTokenID:    {Type: framework.TypeString, Description: "The token's name: its jti, or a digest. It opens nothing, and can be shown in Vault's audit log (audit-non-hmac-response-keys)."},
		fieldExpiresAt:  {Type: framework.TypeString, Description: "When the token is dead, RFC 3339, UTC, by Vault's clock."},
		fieldAddress:    {Type: framework.TypeString, Description: "Palette's address."},
		fieldOrg:        {Type: framework.TypeString, Description: "The token's organization."},
		fieldProjectUID: {Type: framework.TypeString, Description: "The role's project, for the ProjectUid header, where it names one."},
	}
}

// issueShared hands out the config's shared session.
func (b *backend) issueShared(ctx context.Context, s logical.Storage, r *store.Role, cfg *store.Config, l *lease.Lease) (*logical.Response, error) {
	current, err := b.sessions.Current(ctx, s, r.ConfigName, cfg)
	if err != nil {
		return nil, upstream.LoginFailed(r.ConfigName, cfg, err, "")
	}
	b.metrics.SharedRead(current.State)
	newest := current.Newest()
	return b.issueToken(r, l, newest, newest.Left(time.Now()), current.Warning())
}

// issueToken makes the response of a new lease with a token that has some life left.
func (b *backend) issueToken(r *store.Role, l *lease.Lease, token store.Token, life time.Duration, warning string) (*logical.Response, error) {
	return b.issued(secretTypeToken, l, warning, b.limits.Shortest(r, 0, lease.TokenLimit(life)), func(time.Duration) map[string]any {
		return shownToken(l, r, token)
	})
}

// shownToken is what a read and a renewal of a token return.
func shownToken(l *lease.Lease, r *store.Role, token store.Token) map[string]any {
	data := shownLease(l, r, token.ExpiresAt)
	data[fieldToken], data[fieldTokenID] = token.Token.Reveal(), answer.TokenID(token.Token)
	return data
}

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
		// Palette documents no refresh of a system administrator's token, so a refusal may say nothing of
		// the session: the engine logs in. The old token stays in the lease and ends with it.
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
	if warning := current.Warning(); err == nil && warning != "" {
		resp.AddWarning(warning)
	}
	return resp, err
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
