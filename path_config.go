package palettesecrets

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/advice"
	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

// pathConfig returns config, config/<name> and the list. "config/?$" would make
// "DELETE config/" delete the default config; so "config$" and a "config/$" that only
// lists.
func (b *backend) pathConfig() []*framework.Path {
	return append(ofConfig("config", "default-config", "config", b.configPath), listPath("config/$", "configs", b.configs.List, "List the names of the configs."))
}

func (b *backend) configPath(pattern, suffix string) *framework.Path {
	return &framework.Path{
		Pattern:         pattern,
		DisplayAttrs:    displayAttrs(suffix),
		Fields:          configFields(),
		ExistenceCheck:  b.configExists,
		HelpSynopsis:    "The Palette login, and how to reach Palette.",
		HelpDescription: help.Config,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: forwarded(b.announced(telemetry.EventConfigWrite, b.handleConfigWrite), "Write a config.", configWritten()),
			logical.UpdateOperation: forwarded(b.announced(telemetry.EventConfigWrite, b.handleConfigWrite), "Change the named fields of a config.", configWritten()),
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleConfigRead, Summary: "Read a config, without its secrets.",
				Responses: answers(http.StatusOK, "The config.", configAnswer(), http.StatusNotFound),
			},
			logical.DeleteOperation: forwarded(b.announced(telemetry.EventConfigDelete, b.handleConfigDelete), "Delete a config. Its leases stay revocable.", orWarned(noContent("Deleted.", http.StatusConflict), "Deleted; a warning names the roles that it breaks.")),
		},
	}
}

// configWritten: a write without a warning is answered 204, one with a warning 200.
func configWritten() map[int][]framework.Response {
	return orWarned(noContent("Stored.", http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable), "Stored, with a warning.")
}

func configFields() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	secret := func(description string) *framework.FieldSchema {
		f := text(description)
		f.DisplayAttrs = &framework.DisplayAttributes{Sensitive: true}
		return f
	}
	return map[string]*framework.FieldSchema{
		fieldAddress:          {Type: framework.TypeString, Default: transport.DefaultAddress, Description: "Palette's address, https://host[:port] (default https://api.spectrocloud.com). http:// is taken for loopback only."},
		fieldLoginType:        {Type: framework.TypeString, Default: store.LoginUser, AllowedValues: []any{store.LoginUser, store.LoginSystem}, Description: "Whose login the config holds: user (default), of a tenant, or system. That is a system administrator of a self-hosted Palette or VerteX, whose roles return tokens alone."},
		fieldEmail:            text("Email address of the Palette user to log in as."),
		fieldUsername:         text("Name of the system administrator to log in as, instead of email and org; with login_type=system."),
		fieldPassword:         secret("Password of the Palette user. Never given back. Asked for again when login_type, username, address, email, org, proxy_url, ca_cert, tls_server_name or tls_skip_verify changes."),
		fieldOrg:              text("Organization (tenant) of the Palette user. May be left out where the user is in one only."),
		fieldCACert:           text("PEM certificates of the authorities to trust instead of the system's."),
		fieldClientCert:       text("PEM client certificate, for mutual TLS; with client_key."),
		fieldClientKey:        secret("PEM private key of client_cert. Never given back."),
		fieldTLSServerName:    text("Name to ask for and to verify in TLS instead of the address's host."),
		fieldTLSSkipVerify:    {Type: framework.TypeBool, Description: "Do not verify Palette's certificate (default false). Whoever is on the way can then read the password."},
		fieldProxyURL:         secret("Proxy to reach Palette through, http://[user:password@]host:port (default: the plugin's environment, HTTPS_PROXY and NO_PROXY). Its password is not given back."),
		fieldRequestTimeout:   {Type: framework.TypeDurationSecond, Default: "30s", Description: "How long one try of a call to Palette may take, 1 to 80 seconds (default 30s)."},
		fieldRateLimit:        {Type: framework.TypeInt, Default: transport.DefaultRateLimit, Description: "Calls a second to each of Palette's resources at this address: logins, refreshes, users, API keys. All mounts and configs of the plugin process share them; the lowest among the configs that have called the address counts. Default 10, Palette's own limit for one IP address; 0: none."},
		fieldRateBurst:        {Type: framework.TypeInt, Description: "How many of these calls may go at once, 1 to 10000 (default, and 0: five times rate_limit, which is Palette's own proportion). Not with rate_limit=0, whose write drops it."},
		fieldQueueTimeout:     {Type: framework.TypeDurationSecond, Default: "55s", Description: "How long a call waits for its turn under rate_limit, and before the engine sends it again: 1 second to 5 minutes. The default, 55s, is less than the 60 that Vault's clients wait. A call whose turn would come later is answered 503 at once."},
		fieldKeyLimit:         {Type: framework.TypeInt, Default: store.DefaultKeyLimit, Description: "How many API keys Palette lets a user have (default 20, Palette's own; 0: not known). Errors name it where Palette refuses a key, and metrics show it beside the number of keys. The engine refuses no key by it."},
		fieldAPIKey:           secret("API key of the Palette user, instead of email and password: enough for roles with credential_type=api_key. Never given back."),
		fieldAPIKeyUID:        text("UID of api_key at Palette, by which rotate-root deletes the key when a new one is made. A write finds the UID where the user has one active key only, and each rotation sets it. Taken as written, space included."),
		fieldPasswordPolicy:   text("Vault password policy that makes the passwords of rotations. Without one: 32 characters of all four classes. Taken as written, space included."),
		fieldRotationPeriod:   {Type: framework.TypeDurationSecond, Description: "Rotate the password or API key by itself, this long after the last rotation or after it was written; at least a minute. 0 (default): only by rotate-root."},
		fieldVerifyConnection: {Type: framework.TypeBool, Default: true, Description: "Log in to Palette before storing, revoke what that brought, and store nothing when Palette says no (default true). A switch of this one write, not stored."},
	}
}

func configAnswer() map[string]*framework.FieldSchema {
	fields := shown(configFields())
	for _, hidden := range []string{fieldPassword, fieldAPIKey, fieldClientKey, fieldVerifyConnection} {
		delete(fields, hidden)
	}
	fields["password_set"] = &framework.FieldSchema{Type: framework.TypeBool, Description: "Whether a password is stored."}
	fields["api_key_set"] = &framework.FieldSchema{Type: framework.TypeBool, Description: "Whether an API key is stored."}
	fields["api_key_expires_at"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the stored API key expires, RFC 3339, UTC. Known where the engine made the key, where api_key_uid names it, or where the user has one active key."}
	fields["last_rotated"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the engine last rotated, RFC 3339, UTC."}
	fields["next_rotation"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the next rotation is due, RFC 3339, UTC, where there is a rotation_period."}
	fields["rotation_error"] = &framework.FieldSchema{Type: framework.TypeString, Description: "Why the outcome of a rotation that was broken off is not known yet."}
	fields["client_key_set"] = &framework.FieldSchema{Type: framework.TypeBool, Description: "Whether a client key is stored."}
	return fields
}

// configName is the name in the path, "default" for "config" itself.
func configName(d *framework.FieldData) string {
	if _, named := d.Schema[fieldName]; named {
		return d.Get(fieldName).(string)
	}
	return defaultConfigName
}

// namedConfig returns a config that has to be there. Errors are the storage's and a Mistake.
func (b *backend) namedConfig(ctx context.Context, s logical.Storage, name string) (*store.Config, error) {
	cfg, err := b.configs.Get(ctx, s, name)
	if err == nil && cfg == nil {
		return nil, upstream.Mistakef("there is no config %q; write config/%s first", name, name)
	}
	return cfg, err
}

func (b *backend) configExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	cfg, err := b.configs.Get(ctx, req.Storage, configName(d))
	return cfg != nil, err
}

func (b *backend) handleConfigRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	cfg, err := b.configs.Get(ctx, req.Storage, name)
	if err != nil || cfg == nil {
		return nil, err
	}
	data := shownConfig(cfg)
	if cfg.RotationPeriod > 0 {
		data["next_rotation"] = b.credentials.DueAt(name, cfg).Format(time.RFC3339)
	}
	if failed := b.credentials.LastError(name); failed != "" {
		data["rotation_error"] = failed
	}
	return &logical.Response{Data: data}, nil
}

// handleConfigWrite checks, tries the login, and stores.
func (b *backend) handleConfigWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	given := func(field string) bool { _, ok := d.GetOk(field); return ok }
	var token palette.Token // of the login that tries the config
	old, next, err := b.writer.Write(ctx, req.Storage, name, config.Write{
		Change: func(old *store.Config) (*store.Config, error) {
			next, err := changeConfig(old, d, time.Now())
			if err == nil && next.IsSystem() && (old == nil || !old.IsSystem()) {
				err = b.refuseKeyRoles(ctx, req.Storage, name)
			}
			return next, err
		},
		Verify: d.Get(fieldVerifyConnection).(bool), NewPolicy: given(fieldPasswordPolicy), NewSecret: given(fieldPassword) || given(fieldAPIKey),
		LoggedIn: func(t palette.Token) { token = t },
	})
	if err != nil {
		return upstream.Answer(err)
	}
	if old == nil || !old.SameIdentity(next) || old.APIKey != next.APIKey {
		b.usage.Forget(name)
	}
	if err = b.endShared(ctx, req.Storage, name, old, next); err != nil {
		return nil, err
	}
	warnings := append(advice.ConfigWritten(name, old, next, b.rolesOf(ctx, req.Storage, name)), advice.Config(name, next)...)
	if token.PasswordReset {
		warnings = append(warnings, advice.PasswordReset(name, next))
	}
	return warned(warnings), nil
}

// refuseKeyRoles refuses to make a config a system administrator's while a role hands out its API keys.
func (b *backend) refuseKeyRoles(ctx context.Context, s logical.Storage, name string) error {
	roles, err := b.roles.Of(ctx, s, name)
	if err != nil {
		return err
	}
	for _, r := range roles {
		if r.IsAPIKey() {
			return upstream.Mistakef("field %q is %q, but role %q hands out API keys of config %q, and %s; delete the role, or write another %s there",
				fieldLoginType, store.LoginSystem, r.Name, name, config.NoSystemKeys, fieldConfigName)
		}
	}
	return nil
}

func (b *backend) handleConfigDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	old, err := b.writer.Delete(ctx, req.Storage, name)
	if err != nil {
		return upstream.Answer(err)
	}
	if err = b.endShared(ctx, req.Storage, name, old, nil); err != nil || old == nil {
		return nil, err
	}
	return warned(advice.ConfigDeleted(name, b.rolesOf(ctx, req.Storage, name))), nil
}

// endShared ends what a config shares that a write has deleted (next is nil) or made another user.
func (b *backend) endShared(ctx context.Context, s logical.Storage, name string, old, next *store.Config) error {
	if old == nil || next != nil && !advice.IsOther(old, next) {
		return nil
	}
	return cmp.Or(b.keys.EndSharedOf(ctx, s, name, false), b.sessions.EndForeign(ctx, s, name))
}
