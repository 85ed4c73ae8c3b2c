package palettesecrets

import (
	"context"
	"fmt"
	"maps"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

func (b *backend) pathCreds() []*framework.Path {
	responses := answers(http.StatusOK, "The token or API key; the lease is beside it.", credsAnswer(), http.StatusBadGateway, http.StatusServiceUnavailable)
	return []*framework.Path{{
		Pattern:      "creds/" + input.Name(fieldName),
		DisplayAttrs: displayAttrs("credentials"),
		Fields: withName(map[string]*framework.FieldSchema{
			fieldTTL:       {Type: framework.TypeDurationSecond, Query: true, Description: "Shortens the lease. A longer one than the role, the mount and the token allow is cut, with a warning."},
			fieldRenewable: {Type: framework.TypeBool, Query: true, Default: true, Description: "false makes this lease one that cannot be renewed; true does not lift a role's false."},
		}, "Name of the role."),
		HelpSynopsis:    "Issue a Palette authorization token, or an API key, under a lease.",
		HelpDescription: help.Creds,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleCreds, Summary: "Issue a credential; fields go into the query.", Responses: responses,
				ForwardPerformanceStandby: true,
			},
			// What a Vault Agent template does when "secret" has further arguments.
			logical.UpdateOperation: &framework.PathOperation{
				Callback: b.handleCreds, Summary: "Issue a credential; fields go into the body.", Responses: responses,
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

// handleCreds issues a credential under a lease.
func (b *backend) handleCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldName).(string)
	asked, given, err := seconds(d, fieldTTL)
	if err != nil {
		return upstream.Answer(err)
	}
	if given && asked == 0 {
		return logical.ErrorResponse("field %q is 0, but must be at least a second; leave it out for the role's", fieldTTL), nil
	}
	r, cfg, err := b.roleAndConfig(ctx, req.Storage, name)
	if err != nil {
		return upstream.Answer(err)
	}
	l, err := lease.New(name, r, cfg, asked)
	if err != nil {
		return nil, err
	}
	resp, err := b.issue(ctx, req, r, cfg, l)
	b.leaseDone(telemetry.LeaseIssued, lease.HoldsOf(r), l, err)
	if err != nil {
		return upstream.Answer(err)
	}
	b.applyRenewable(resp, r, d)
	if wrap := req.WrapInfo; wrap != nil && wrap.TTL > resp.Secret.TTL {
		resp.AddWarning(fmt.Sprintf("the wrapping token lives for %s, but the lease for %s: unwrapped after that, the credential is dead; wrap it for less", wrap.TTL, resp.Secret.TTL))
	}
	return resp, nil
}

// roleAndConfig returns a role and its config, which a read needs. Errors are the storage's and
// Mistakes.
func (b *backend) roleAndConfig(ctx context.Context, s logical.Storage, name string) (*store.Role, *store.Config, error) {
	r, err := b.roles.Get(ctx, s, name)
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		return nil, nil, upstream.Mistakef("there is no role %q; write roles/%s first", name, name)
	}
	cfg, err := b.configs.Get(ctx, s, r.ConfigName)
	if err == nil && cfg == nil {
		err = upstream.Mistakef("role %q names config %q, which does not exist (any more); write config/%s", name, r.ConfigName, r.ConfigName)
	}
	return r, cfg, err
}

// issue issues what the role hands out: an API key, a token of the config's shared session, or a token of
// a new login.
func (b *backend) issue(ctx context.Context, req *logical.Request, r *store.Role, cfg *store.Config, l *lease.Lease) (*logical.Response, error) {
	switch {
	case r.IsAPIKey():
		return b.issueKey(ctx, req, r, cfg, l)
	case cfg.APIKey != "":
		return nil, upstream.Mistakef("config %q of role %q holds an API key, with which nobody can log in; it is for roles with credential_type=api_key", r.ConfigName, l.Role)
	case r.Shared:
		return b.issueShared(ctx, req.Storage, r, cfg, l)
	}
	token, err := b.credentials.Login(ctx, req.Storage, r.ConfigName, cfg)
	if err != nil {
		return nil, upstream.LoginFailed(r.ConfigName, cfg, err, "")
	}
	l.Tokens = []store.Token{store.TokenOf(token)}
	return b.issueToken(r, l, l.Tokens[0], token.Life, "")
}

// applyRenewable says whether the lease can be renewed: the role's word, which a read can turn to
// false.
func (b *backend) applyRenewable(resp *logical.Response, r *store.Role, d *framework.FieldData) {
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
