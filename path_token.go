package palette

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
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

func (b *backend) pathCreds() []*framework.Path {
	responses := answers(http.StatusOK, "The token; the lease is beside it.", credsAnswer(), http.StatusBadGateway, http.StatusServiceUnavailable)
	return []*framework.Path{{
		Pattern:      "creds/" + framework.GenericNameRegex(fieldName),
		DisplayAttrs: displayAttrs("credentials"),
		Fields: withName(map[string]*framework.FieldSchema{
			fieldTTL:       {Type: framework.TypeDurationSecond, Query: true, Description: "Shortens the lease. A longer one than the role, the mount and the token allow is cut, with a warning."},
			fieldRenewable: {Type: framework.TypeBool, Query: true, Default: true, Description: "false makes this lease one that cannot be renewed; true does not lift a role's false."},
		}, "Name of the role."),
		HelpSynopsis:    "Issue a Palette authorization token, or an API key, under a lease.",
		HelpDescription: helpCreds,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleCreds, Summary: "Issue a token; fields go into the query.", Responses: responses,
				ForwardPerformanceStandby: true,
			},
			// What a Vault Agent template does when "secret" has further arguments.
			logical.UpdateOperation: &framework.PathOperation{
				Callback: b.handleCreds, Summary: "Issue a token; fields go into the body.", Responses: responses,
				ForwardPerformanceStandby: true,
			},
		},
	}}
}

// credsAnswer is what a read may return: a token or, by the role's credential_type, a key.
func credsAnswer() map[string]*framework.FieldSchema {
	fields := keyAnswer()
	maps.Copy(fields, tokenAnswer())
	fields[fieldExpiresAt].Description = "When the token is dead, or the API key's lease ends, RFC 3339, UTC, by Vault's clock."
	return fields
}

func keyAnswer() map[string]*framework.FieldSchema {
	fields := tokenAnswer()
	delete(fields, fieldToken)
	fields[fieldAPIKey] = &framework.FieldSchema{Type: framework.TypeString, Description: "The API key, for the ApiKey header (credential_type=api_key).", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}}
	fields[fieldAPIKeyUID] = &framework.FieldSchema{Type: framework.TypeString, Description: "The API key's UID at Palette."}
	fields[fieldAPIKeyName] = &framework.FieldSchema{Type: framework.TypeString, Description: "The API key's name at Palette."}
	return fields
}

func tokenAnswer() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldToken:      {Type: framework.TypeString, Description: "The token, for the Authorization header, without \"Bearer\".", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		fieldExpiresAt:  {Type: framework.TypeString, Description: "When the token is dead, RFC 3339, UTC, by Vault's clock."},
		fieldAddress:    {Type: framework.TypeString, Description: "Palette's address."},
		fieldOrg:        {Type: framework.TypeString, Description: "The token's organization."},
		fieldProjectUID: {Type: framework.TypeString, Description: "The role's project, for the ProjectUid header, where it names one."},
	}
}

// handleCreds issues a token under a lease.
func (b *backend) handleCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldName).(string)
	asked, given, mistake := seconds(d, fieldTTL)
	if mistake != nil {
		return mistake, nil
	}
	if given && asked == 0 {
		return userError("field %q is 0, but must be at least a second; leave it out for the role's", fieldTTL), nil
	}
	r, err := b.roles.get(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return userError("there is no role %q; write roles/%s first", name, name), nil
	}
	cfg, err := b.configs.get(ctx, req.Storage, r.ConfigName)
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		return userError("role %q names config %q, which does not exist (any more); write config/%s", name, r.ConfigName, r.ConfigName), nil
	}
	l, err := newLease(name, r, cfg, asked)
	if err != nil {
		return nil, err
	}
	var resp *logical.Response
	if r.CredentialType == credentialAPIKey {
		resp, err = b.issueKey(ctx, req, r, cfg, l)
	} else {
		resp, err = b.issueToken(ctx, req.Storage, r, cfg, l)
	}
	b.leaseDone(leaseIssued, r.holds(), l, cmp.Or(err, resp.Error()))
	if err != nil || resp.IsError() {
		return resp, err
	}
	b.applyRenewable(resp, r, d)
	return resp, nil
}

// issueToken issues a token: the config's session's, or one of a login of its own.
func (b *backend) issueToken(ctx context.Context, s logical.Storage, r *role, cfg *config, l *lease) (*logical.Response, error) {
	if cfg.APIKey != "" {
		return userError("config %q of role %q holds an API key, with which nobody can log in; it is for roles with credential_type=api_key", r.ConfigName, l.Role), nil
	}
	if r.Shared {
		return b.issueShared(ctx, s, r, cfg, l)
	}
	token, err := b.login(ctx, s, r.ConfigName, cfg)
	if err != nil {
		return failedLogin(r.ConfigName, cfg, err, "")
	}
	l.Tokens = []heldToken{held(token)}
	return b.issue(r, l, l.Tokens[0], token.Life)
}

// issueShared hands out the config's session.
func (b *backend) issueShared(ctx context.Context, s logical.Storage, r *role, cfg *config, l *lease) (*logical.Response, error) {
	current, err := b.currentSession(ctx, s, r.ConfigName, cfg)
	if err != nil {
		return failedLogin(r.ConfigName, cfg, err, "")
	}
	b.metrics.sharedReads.WithLabelValues(current.state).Inc()
	newest := current.session.newest()
	resp, err := b.issue(r, l, newest, newest.left(time.Now()))
	if err == nil && current.warning != "" {
		resp.AddWarning(current.warning)
	}
	return resp, err
}

// issue makes the response of a new lease with a token that has some life left.
func (b *backend) issue(r *role, l *lease, token heldToken, life time.Duration) (*logical.Response, error) {
	internal, err := l.internalData()
	if err != nil {
		return nil, err
	}
	resp := b.Secret(secretTypeToken).Response(l.credential(r, token), internal)
	granted := b.shortest(r, 0, tokenLimit(life))
	resp.Secret.TTL, resp.Secret.MaxTTL = granted.left, granted.left
	switch {
	case l.TTL > granted.left:
		resp.AddWarning(tooLong(l.TTL, granted))
	case l.TTL > 0:
		resp.Secret.TTL = l.TTL
	}
	return resp, nil
}

// applyRenewable says whether the lease can be renewed: the role's word, which a read
// can turn to false.
func (b *backend) applyRenewable(resp *logical.Response, r *role, d *framework.FieldData) {
	resp.Secret.Renewable = r.Renewable
	asked, given := d.GetOk(fieldRenewable)
	switch {
	case !given:
	case !asked.(bool):
		resp.Secret.Renewable = false
	case !r.Renewable:
		resp.AddWarning("renewable=true does not lift the role's renewable=false: the lease cannot be renewed")
	}
}

// credential is what a read and a renewal return.
func (l *lease) credential(r *role, token heldToken) map[string]any {
	data := map[string]any{
		fieldToken:     token.Token.Reveal(),
		fieldExpiresAt: token.ExpiresAt.Format(time.RFC3339),
		fieldAddress:   l.Address,
		fieldOrg:       l.Org,
	}
	if r.ProjectUID != "" {
		data[fieldProjectUID] = r.ProjectUID
	}
	return data
}

const helpCreds = `
Logs in to Palette and returns the authorization token under a lease that lasts as long
as the token, cut by the request, the role and the mount. The token goes into the
Authorization header of calls to Palette, without "Bearer".

A renewal returns a new token and its expires_at; the old one lives on to its own
expires_at. When the lease ends, those of its tokens that are alive are revoked at Palette.

A role with shared=true hands out the config's one session instead: the lease lasts as
long as the token that it carries, a renewal returns the session's present token, and
revoking the lease leaves the session alone.

A role with credential_type=api_key makes an API key. It expires at Palette a minute after
its lease, a renewal moves that and keeps the key, and a revocation deletes it.

  $ vault read palette/creds/app
  $ vault read palette/creds/app ttl=5m renewable=false
`
