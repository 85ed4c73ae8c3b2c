package palettesecrets

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/advice"
	"vault-plugin-secrets-palette/internal/apikey"
	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/keyname"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

// warnRenewable is for a write that does not set renewable. A client that only extends its leases has a
// dead token within 15 minutes where they are renewable.
const warnRenewable = "renewable is true: a renewal returns a new token, or the present one of shared API keys, which Vault Agent templates and other clients that only extend a lease never see, so that they keep a dead one. Set renewable=false on roles that such clients read."

func (b *backend) pathRoles() []*framework.Path {
	return []*framework.Path{
		listPath("roles/?$", "roles", b.roles.List, "List the names of the roles."),
		{
			Pattern:         "roles/" + input.Name(fieldName),
			DisplayAttrs:    displayAttrs("role"),
			Fields:          withName(roleFields(), "Name of the role."),
			ExistenceCheck:  b.roleExists,
			HelpSynopsis:    "A role: which config issues its credentials, and how long they last.",
			HelpDescription: help.Role,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: forwarded(b.announced(telemetry.EventRoleWrite, b.handleRoleWrite), "Write a role.", roleWritten()),
				logical.UpdateOperation: forwarded(b.announced(telemetry.EventRoleWrite, b.handleRoleWrite), "Change the named fields of a role.", roleWritten()),
				logical.ReadOperation: &framework.PathOperation{
					Callback: b.handleRoleRead, Summary: "Read a role.",
					Responses: answers(http.StatusOK, "The role.", shown(roleFields()), http.StatusNotFound),
				},
				logical.DeleteOperation: forwarded(b.announced(telemetry.EventRoleDelete, b.handleRoleDelete), "Delete a role. Its leases stay revocable.", orWarned(noContent("Deleted."), "Deleted; a warning says what becomes of the leases.")),
			},
		},
	}
}

// roleWritten: a write without a warning is answered 204, one with a warning 200.
func roleWritten() map[int][]framework.Response {
	return orWarned(noContent("Stored."), "Stored, with a warning.")
}

func roleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldConfigName:     {Type: framework.TypeString, Default: defaultConfigName, Description: "Name of the config that issues the credentials (default \"default\")."},
		fieldTTL:            {Type: framework.TypeDurationSecond, Description: "Longest term of a lease, between renewals. 0 (default): the mount's default, and for API keys an hour at most. Never longer than the token lives."},
		fieldMaxTTL:         {Type: framework.TypeDurationSecond, Description: "Longest time from the issue to the end of the last renewal, and how long a shared API key lives. 0 (default): the mount's maximum, and 24 hours for such a key."},
		fieldRenewable:      {Type: framework.TypeBool, Default: true, Description: "Whether leases can be renewed (default true). A renewal returns a new token: false for Vault Agent templates and other clients that only extend a lease."},
		fieldShared:         {Type: framework.TypeBool, Description: "Hand out one credential that the engine keeps fresh, instead of one for each lease (default false). That is a Palette session per config or, with credential_type=api_key, an API key per role. Revoking such a lease leaves the session or key alone, since others use it."},
		fieldCredentialType: {Type: framework.TypeString, Default: store.CredentialToken, AllowedValues: []any{store.CredentialToken, store.CredentialAPIKey}, Description: "What creds/<role> returns: token (default) or api_key."},
		fieldUserUID:        {Type: framework.TypeString, Description: "UID of the Palette user that the API keys are for (default: the config's own). For another user the config's must be a tenant administrator."},
		fieldNameTemplate:   {Type: framework.TypeString, Description: "Template of the API keys' names, with .RoleName, .DisplayName and .EntityID. It must hold random 7 (or more) or uuid, outside of conditions, and pass it to nothing that shortens it. The default cuts role and display name at 24 bytes each: " + keyname.Default},
		fieldDescription:    {Type: framework.TypeString, Description: "Description of the API keys at Palette."},
		fieldProjectUID:     {Type: framework.TypeString, Description: "UID of a Palette project, given back with each credential for the ProjectUid header. It does not confine the token."},
	}
}

func (b *backend) roleExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	r, err := b.roles.Get(ctx, req.Storage, d.Get(fieldName).(string))
	return r != nil, err
}

func (b *backend) handleRoleRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	r, err := b.roles.Get(ctx, req.Storage, d.Get(fieldName).(string))
	if err != nil || r == nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		fieldConfigName:     r.ConfigName,
		fieldTTL:            int64(r.TTL.Seconds()),
		fieldMaxTTL:         int64(r.MaxTTL.Seconds()),
		fieldRenewable:      r.Renewable,
		fieldProjectUID:     r.ProjectUID,
		fieldShared:         r.Shared,
		fieldCredentialType: cmp.Or(r.CredentialType, store.CredentialToken),
		fieldUserUID:        r.UserUID,
		fieldNameTemplate:   r.NameTemplate,
		fieldDescription:    r.Description,
	}}, nil
}

// handleRoleWrite stores a role. A key that the role does not share any more ends.
func (b *backend) handleRoleWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldName).(string)
	resp, err := b.writeRole(ctx, req, d, name)
	if err == nil && !resp.IsError() {
		err = b.keys.SharedKeys.EndForeign(ctx, req.Storage, name)
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (b *backend) writeRole(ctx context.Context, req *logical.Request, d *framework.FieldData, name string) (*logical.Response, error) {
	defer b.roles.Lock(name)()
	old, err := b.roles.Get(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	next, err := changeRole(old, d)
	if err != nil {
		return upstream.Answer(err)
	}
	cfg, err := b.configs.Get(ctx, req.Storage, next.ConfigName)
	switch {
	case err != nil:
		return nil, err
	case cfg == nil:
		return logical.ErrorResponse("field %q is %q, but there is no such config; write config/%s first", fieldConfigName, next.ConfigName, next.ConfigName), nil
	case cfg.APIKey != "" && !next.IsAPIKey():
		return logical.ErrorResponse("field %q is %q, but config %q holds an API key, with which nobody can log in; write credential_type=api_key, or another config_name",
			fieldCredentialType, cmp.Or(next.CredentialType, store.CredentialToken), next.ConfigName), nil
	}
	if err := noKeysOf(cfg, next); err != nil {
		return upstream.Answer(err)
	}
	if err := b.roles.Put(ctx, req.Storage, name, next); err != nil {
		return nil, err
	}
	var warnings []string
	// A renewal keeps an API key as it is, unless others share the key.
	if _, asked := d.GetOk(fieldRenewable); !asked && next.Renewable && (next.Shared || !next.IsAPIKey()) {
		warnings = append(warnings, warnRenewable)
	}
	warnings = append(warnings, advice.NameTemplate(name, next)...)
	var before *store.Config
	if old != nil {
		before, _ = b.configs.Get(ctx, req.Storage, old.ConfigName) // one that cannot be read is as good as none
	}
	return warned(append(warnings, advice.RoleWritten(name, old, next, before, cfg)...)), nil
}

// noKeysOf refuses API keys of a system administrator.
func noKeysOf(cfg *store.Config, r *store.Role) error {
	if !cfg.IsSystem() || !r.IsAPIKey() {
		return nil
	}
	return upstream.Mistakef("field %q is %q, but config %q has %s=%s: %s", fieldCredentialType, store.CredentialAPIKey, r.ConfigName, fieldLoginType, store.LoginSystem, config.NoSystemKeys)
}

// warned is the answer to a write that has nothing but warnings to say; nil for none.
func warned(warnings []string) *logical.Response {
	if len(warnings) == 0 {
		return nil
	}
	return &logical.Response{Warnings: warnings}
}

// rolesOf are the roles of a config, for warnings. Where the storage fails, what was asked for is done
// all the same.
func (b *backend) rolesOf(ctx context.Context, s logical.Storage, config string) []store.Named {
	roles, err := b.roles.Of(ctx, s, config)
	if err != nil {
		b.Logger().Warn("the roles of a config could not be listed; what a write breaks is not known", "config", config, "error", err)
	}
	return roles
}

func (b *backend) handleRoleDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldName).(string)
	unlock := b.roles.Lock(name)
	there, err := b.roles.Has(ctx, req.Storage, name)
	old, _ := b.roles.Get(ctx, req.Storage, name) // one that cannot be read goes too
	if err == nil {
		err = b.roles.Delete(ctx, req.Storage, name)
	}
	unlock()
	if err == nil {
		err = b.keys.SharedKeys.EndForeign(ctx, req.Storage, name)
	}
	if err != nil || !there {
		return nil, err
	}
	return warned(advice.RoleDeleted(name, old)), nil
}

// changeRole returns the role with the fields of a write applied; old is nil for a new role. Errors
// are Mistakes.
func changeRole(old *store.Role, d *framework.FieldData) (*store.Role, error) {
	next := store.Role{ConfigName: defaultConfigName, Renewable: true}
	if old != nil {
		next = *old
	}
	set(d, func(value any) string { return value.(string) }, map[string]*string{fieldConfigName: &next.ConfigName})
	set(d, is, map[string]*bool{fieldRenewable: &next.Renewable, fieldShared: &next.Shared})
	set(d, trimmed, map[string]*string{
		fieldProjectUID: &next.ProjectUID, fieldCredentialType: &next.CredentialType, fieldUserUID: &next.UserUID,
		fieldNameTemplate: &next.NameTemplate, fieldDescription: &next.Description,
	})
	for field, into := range map[string]*time.Duration{fieldTTL: &next.TTL, fieldMaxTTL: &next.MaxTTL} {
		value, given, err := seconds(d, field)
		if err != nil {
			return nil, err
		}
		if given {
			*into = value
		}
	}
	switch {
	case !input.IsName(next.ConfigName):
		return nil, upstream.Mistakef("field %q is %q, which is no name of a config", fieldConfigName, next.ConfigName)
	case next.MaxTTL > 0 && next.TTL > next.MaxTTL:
		return nil, upstream.Mistakef("field %q is %s, but must not be longer than %q, which is %s", fieldTTL, next.TTL, fieldMaxTTL, next.MaxTTL)
	case next.SharesKey() && next.MaxTTL > 0 && next.MaxTTL < apikey.MinSharedLife:
		return nil, upstream.Mistakef("field %q is %s, but must be at least %s where leases share an API key, or 0 for the default", fieldMaxTTL, next.MaxTTL, apikey.MinSharedLife)
	case !transport.FitsHeader(next.ProjectUID):
		return nil, upstream.Mistakef("field %q is %q, but must be a UID without spaces, fit for an HTTP header", fieldProjectUID, next.ProjectUID)
	case !next.IsAPIKey() && next.CredentialType != "" && next.CredentialType != store.CredentialToken:
		return nil, upstream.Mistakef("field %q is %q, but must be %s or %s", fieldCredentialType, next.CredentialType, store.CredentialToken, store.CredentialAPIKey)
	case !next.IsAPIKey() && (next.UserUID != "" || next.NameTemplate != "" || next.Description != ""):
		return nil, upstream.Mistakef("fields %q, %q and %q are for credential_type=api_key", fieldUserUID, fieldNameTemplate, fieldDescription)
	}
	// A write that does not name a stored name_template leaves it, with a warning.
	if _, given := d.GetOk(fieldNameTemplate); !given || !next.IsAPIKey() {
		return &next, nil
	}
	if err := keyname.Check(next.NameTemplate); err != nil {
		return nil, upstream.Mistakef("field %q is %q, which cannot be used: %s", fieldNameTemplate, next.NameTemplate, err)
	}
	return &next, nil
}
