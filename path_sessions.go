package palettesecrets

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/telemetry"
)

func (b *backend) pathSessions() []*framework.Path {
	return []*framework.Path{
		listPath("sessions/?$", "sessions", b.sharing, "List the configs that have a shared session or shared API keys."),
		{
			Pattern:         "sessions/" + input.Name(fieldName),
			DisplayAttrs:    displayAttrs("session"),
			Fields:          withName(map[string]*framework.FieldSchema{}, "Name of the config whose session and keys they are."),
			HelpSynopsis:    "A config's shared session and API keys: what the leases of its shared roles hand out.",
			HelpDescription: help.Session,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback: b.handleSessionRead, Summary: "Read a shared session and keys, without the secrets.",
					Responses: answers(http.StatusOK, "The session and keys.", sessionAnswer(), http.StatusNotFound),
				},
				// Not forwarded to the primary: a performance secondary has sessions of its own.
				logical.DeleteOperation: &framework.PathOperation{
					Callback: b.announced(telemetry.EventSessionEnd, b.handleSessionDelete), Summary: "End a shared session and keys, at Palette and in Vault.",
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
		"api_keys":     {Type: framework.TypeMap, Description: "The API keys that roles of the config share, by role: uid, name and expires_at of the present one. Without a session, all there is."},
	}
}

// sharing returns the configs that have a shared session or shared keys.
func (b *backend) sharing(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := b.sessions.List(ctx, s)
	if err != nil {
		return nil, err
	}
	if err = b.keys.SharedKeys.Each(ctx, s, func(_ string, have *session.Credential) { names = append(names, have.ConfigName) }); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (b *backend) handleSessionRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldName).(string)
	have, err := b.sessions.Stored(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	keys, err := b.keys.SharedOf(ctx, req.Storage, name)
	if err != nil || have == nil && len(keys) == 0 {
		return nil, err
	}
	data := map[string]any{}
	if have != nil {
		data = map[string]any{
			"issued_at":    have.IssuedAt.Format(time.RFC3339),
			fieldExpiresAt: have.Newest().ExpiresAt.Format(time.RFC3339),
			"refreshes":    have.Refreshes,
			fieldAddress:   have.Address,
			fieldOrg:       have.Org,
			fieldEmail:     have.Email,
			fieldUsername:  have.Username,
		}
	}
	if len(keys) > 0 {
		byRole := make(map[string]any, len(keys))
		for role, of := range keys {
			key := of.Key()
			byRole[role] = map[string]any{"uid": key.UID, "name": key.Name, fieldExpiresAt: key.ExpiresAt.Format(time.RFC3339)}
		}
		data["api_keys"] = byRole
	}
	return &logical.Response{Data: data}, nil
}

// handleSessionDelete ends the keys first: their end may begin a session.
func (b *backend) handleSessionDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldName).(string)
	return nil, cmp.Or(b.keys.EndSharedOf(ctx, req.Storage, name, true), b.sessions.End(ctx, req.Storage, name))
}
