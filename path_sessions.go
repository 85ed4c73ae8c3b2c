package palette

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/telemetry"
)

func (b *backend) pathSessions() []*framework.Path {
	return []*framework.Path{
		listPath("sessions/?$", "sessions", b.handleSessionList, "List the configs that have a shared session."),
		{
			Pattern:         "sessions/" + input.Name(fieldName),
			DisplayAttrs:    displayAttrs("session"),
			Fields:          withName(map[string]*framework.FieldSchema{}, "Name of the config whose session it is."),
			HelpSynopsis:    "A config's shared session: what the leases of its shared roles hand out.",
			HelpDescription: helpSession,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback: b.handleSessionRead, Summary: "Read a shared session, without its token.",
					Responses: answers(http.StatusOK, "The session.", sessionAnswer(), http.StatusNotFound),
				},
				// Not forwarded to the primary: a performance secondary has sessions of its own.
				logical.DeleteOperation: &framework.PathOperation{
					Callback: b.announced(telemetry.EventSessionEnd, b.handleSessionDelete), Summary: "End a shared session, at Palette and in Vault.",
					Responses: noContent("Ended."), ForwardPerformanceStandby: true,
				},
			},
		},
	}
}

func sessionAnswer() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"issued_at":    {Type: framework.TypeString, Description: "When the engine logged in, RFC 3339, UTC."},
		fieldExpiresAt: {Type: framework.TypeString, Description: "When the present token is dead, RFC 3339, UTC, by Vault's clock."},
		"refreshes":    {Type: framework.TypeInt, Description: "How often the session has been refreshed since."},
		fieldAddress:   {Type: framework.TypeString, Description: "Palette's address."},
		fieldOrg:       {Type: framework.TypeString, Description: "The session's organization."},
		fieldEmail:     {Type: framework.TypeString, Description: "The session's user; \"\" where it is a system administrator."},
		fieldUsername:  {Type: framework.TypeString, Description: "The session's system administrator; \"\" where it is a user."},
	}
}

func (b *backend) handleSessionList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := b.sessions.List(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

func (b *backend) handleSessionRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	have, err := b.sessions.Stored(ctx, req.Storage, d.Get(fieldName).(string))
	if err != nil || have == nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		"issued_at":    have.IssuedAt.Format(time.RFC3339),
		fieldExpiresAt: have.Newest().ExpiresAt.Format(time.RFC3339),
		"refreshes":    have.Refreshes,
		fieldAddress:   have.Address,
		fieldOrg:       have.Org,
		fieldEmail:     have.Email,
		fieldUsername:  have.Username,
	}}, nil
}

func (b *backend) handleSessionDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return nil, b.sessions.End(ctx, req.Storage, d.Get(fieldName).(string))
}

const helpSession = `
Roles with shared=true hand out one Palette session per config. The engine logs in once
and then refreshes it on demand: a token is handed out while at least two thirds of its
life are left. The session is stored seal-wrapped, and a restarted or a new active Vault
goes on with it.

The trade: revoking one of the leases does not end the token, which others use. A read
shows the session, never its token. A delete ends it at Palette and in Vault: all
tokens that its leases carry are dead then, and the next read logs in. Palette out of
reach, the engine tries each minute until the tokens are revoked or dead.

A config that changes its address, org, email or username or is deleted ends its session, and so does
removing the mount. A seal or a reload of the plugin does not.
`
