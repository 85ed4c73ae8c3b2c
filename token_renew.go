package palette

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// refusal is a renewal that cannot be: Vault answers it with 400 and the text (a
// response with an error it would print as a Go struct), and the lease stays as it was.
func refusal(format string, args ...any) error {
	return logical.CodedError(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// asRefusal makes of the answer to a read that failed that of a renewal.
func asRefusal(resp *logical.Response, err error) error {
	if err != nil {
		return err
	}
	return refusal("%s", resp.Error())
}

// renewToken gets a new token of the lease's session and returns it as the renewal's
// data.
func (b *backend) renewToken(ctx context.Context, req *logical.Request, l *lease) (*logical.Response, error) {
	r, cfg, err := b.renewable(ctx, req.Storage, l)
	if err != nil {
		return nil, err
	}
	if bound := b.shortest(r, time.Since(req.Secret.IssueTime), tokenLimit(palette.MaxTokenLife)); bound.left < time.Second {
		return nil, refusedBy(bound, l)
	}
	l.ConfigName = r.ConfigName // where the role has changed to another config of the same login
	if l.Shared {
		return b.renewShared(ctx, req, r, cfg, l)
	}
	return b.renewOwn(ctx, req, r, cfg, l)
}

// refusedBy refuses to renew a lease that a limit leaves less than a second.
func refusedBy(bound limit, l *lease) error {
	return refusal("the lease has lasted as long as %s allows; read creds/%s again", bound.name, l.Role)
}

// renewOwn returns a new token for a lease with a session of its own, or, where it holds as
// many as it may, the newest one again. It keeps those that are alive with the lease.
func (b *backend) renewOwn(ctx context.Context, req *logical.Request, r *role, cfg *config, l *lease) (*logical.Response, error) {
	l.Tokens = alive(l.Tokens, time.Now())
	if len(l.Tokens) == 0 {
		return nil, refusal("the lease's token is dead, so that there is no session to renew; read creds/%s again", l.Role)
	}
	newest := l.Tokens[len(l.Tokens)-1]
	if len(l.Tokens) >= maxLeaseTokens {
		return b.renewed(req.Secret, r, l, newest, newest.left(time.Now()))
	}
	token, err := b.refresh(ctx, req.Storage, cfg, newest.Token)
	if err != nil {
		return nil, failedRefresh(l, err)
	}
	l.Tokens = append(alive(l.Tokens, time.Now()), held(token))
	resp, err := b.renewed(req.Secret, r, l, held(token), token.Life)
	if err != nil { // Vault keeps the lease as it was, without the token
		b.discard(req.Storage, cfg.account(), held(token), "a renewal that came too late")
	}
	return resp, err
}

// renewShared returns the present token of the config's session.
func (b *backend) renewShared(ctx context.Context, req *logical.Request, r *role, cfg *config, l *lease) (*logical.Response, error) {
	current, err := b.currentSession(ctx, req.Storage, r.ConfigName, cfg)
	if err != nil {
		return nil, asRefusal(failedLogin(r.ConfigName, cfg, err, ""))
	}
	b.metrics.sharedReads.WithLabelValues(current.state).Inc()
	newest := current.session.newest()
	resp, err := b.renewed(req.Secret, r, l, newest, newest.left(time.Now()))
	if err == nil && current.warning != "" {
		resp.AddWarning(current.warning)
	}
	return resp, err
}

// renewable returns the role and the config that a lease is renewed by, as they are
// now.
func (b *backend) renewable(ctx context.Context, s logical.Storage, l *lease) (*role, *config, error) {
	r, err := b.roles.get(ctx, s, l.Role)
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		return nil, nil, refusal("role %q, which issued the lease, does not exist any more", l.Role)
	}
	cfg, err := b.configs.get(ctx, s, r.ConfigName)
	if err != nil {
		return nil, nil, err
	}
	if cfg == nil {
		return nil, nil, refusal("config %q of role %q does not exist any more", r.ConfigName, l.Role)
	}
	if l.origin != cfg.origin() {
		return nil, nil, refusal("config %q of role %q has another address, org or email than the lease was issued with; read creds/%s again", r.ConfigName, l.Role, l.Role)
	}
	return r, cfg, nil
}

// renewed makes the response of a renewal with a token that has some life left. It looks at
// the limits once more, since the call has taken its time: Vault refuses what is over.
func (b *backend) renewed(secret *logical.Secret, r *role, l *lease, token heldToken, life time.Duration) (*logical.Response, error) {
	now := time.Now()
	granted := b.shortest(r, now.Sub(secret.IssueTime), tokenLimit(life))
	if granted.left < time.Second {
		return nil, refusedBy(granted, l)
	}
	internal, err := l.internalData()
	if err != nil {
		return nil, err
	}
	internal["secret_type"] = secretTypeToken // the framework finds the callbacks by it
	resp := &logical.Response{Secret: secret, Data: l.credential(r, token)}
	resp.Secret.InternalData = internal
	b.bound(resp.Secret, l, granted.left, now)
	return resp, nil
}

// failedRefresh is the error of a renewal. Vault answers 400 whatever the engine says,
// and prints the text of a coded error as it is.
func failedRefresh(l *lease, err error) error {
	if says := palette.Refusal(err); says != nil {
		return refusal("Palette refuses to renew the session, which is over%s; read creds/%s again", says.PaletteSays(), l.Role)
	}
	return upstreamError(err)
}
