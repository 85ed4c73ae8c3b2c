package palette

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// configWriteTries is how often a write starts over because another one came between
// its login at Palette and its turn to store.
const configWriteTries = 3

// pathConfig returns config, config/<name> and the list. "config/?$" would make
// "DELETE config/" delete the default config; so "config$" and a "config/$" that only
// lists.
func (b *backend) pathConfig() []*framework.Path {
	named := b.configPath("config/"+framework.GenericNameRegex(fieldName), "config")
	withName(named.Fields, "Name of the config.")
	return []*framework.Path{
		listPath("config/$", "configs", b.handleConfigList, helpConfigList),
		b.configPath("config$", "default-config"),
		named,
	}
}

func (b *backend) configPath(pattern, suffix string) *framework.Path {
	return &framework.Path{
		Pattern:         pattern,
		DisplayAttrs:    displayAttrs(suffix),
		Fields:          configFields(),
		ExistenceCheck:  b.configExists,
		HelpSynopsis:    "The Palette login, and how to reach Palette.",
		HelpDescription: helpConfig,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: forwarded(b.announced(eventConfigWrite, b.handleConfigWrite), "Write a config.", configWritten()),
			logical.UpdateOperation: forwarded(b.announced(eventConfigWrite, b.handleConfigWrite), "Change the named fields of a config.", configWritten()),
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleConfigRead, Summary: "Read a config, without its secrets.",
				Responses: answers(http.StatusOK, "The config.", configAnswer(), http.StatusNotFound),
			},
			logical.DeleteOperation: forwarded(b.announced(eventConfigDelete, b.handleConfigDelete), "Delete a config. Its leases stay revocable.", noContent("Deleted.", http.StatusConflict)),
		},
	}
}

func configWritten() map[int][]framework.Response {
	return noContent("Stored.", http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable)
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
		fieldAddress:          {Type: framework.TypeString, Default: palette.DefaultAddress, Description: "Palette's address, https://host[:port] (default https://api.spectrocloud.com). http:// is taken for loopback only."},
		fieldEmail:            text("Email address of the Palette user to log in as."),
		fieldPassword:         secret("Password of the Palette user. Never given back. Asked for again when address, email, org, proxy_url, ca_cert, tls_server_name or tls_skip_verify changes."),
		fieldOrg:              text("Organization (tenant) of the Palette user. May be left out where the user is in one only."),
		fieldCACert:           text("PEM certificates of the authorities to trust instead of the system's."),
		fieldClientCert:       text("PEM client certificate, for mutual TLS; with client_key."),
		fieldClientKey:        secret("PEM private key of client_cert. Never given back."),
		fieldTLSServerName:    text("Name to ask for and to verify in TLS instead of the address's host."),
		fieldTLSSkipVerify:    {Type: framework.TypeBool, Description: "Do not verify Palette's certificate (default false). Whoever is on the way can then read the password."},
		fieldProxyURL:         secret("Proxy to reach Palette through, http://[user:password@]host:port (default: the plugin's environment, HTTPS_PROXY and NO_PROXY). Its password is not given back."),
		fieldRequestTimeout:   {Type: framework.TypeDurationSecond, Default: "30s", Description: "How long one try of a call to Palette may take, 1 to 80 seconds (default 30s)."},
		fieldRateLimit:        {Type: framework.TypeInt, Default: palette.DefaultRateLimit, Description: "Calls to this address in any one second, of all mounts and configs of the plugin process together; the lowest among the configs of an address counts (default 10, Palette's own limit for one IP address; 0: none)."},
		fieldQueueTimeout:     {Type: framework.TypeDurationSecond, Default: "55s", Description: "How long a call waits for its turn under rate_limit, and before it is sent again, 1 second to 5 minutes (default 55s, less than the 60 that Vault's clients wait). One whose turn would come later is answered 503 at once."},
		fieldAPIKey:           secret("API key of the Palette user, instead of email and password: enough for roles with credential_type=api_key. Never given back."),
		fieldAPIKeyUID:        text("UID of api_key at Palette, so that rotate-root can delete it when it has made a new one. Not needed where the user has one key only, and set by each rotation."),
		fieldPasswordPolicy:   text("Vault password policy that makes the passwords of rotations. Without one: 32 characters of all four classes."),
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
	fields["api_key_expires_at"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the stored API key expires, RFC 3339, UTC, where the engine made it."}
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

// namedConfig returns a config that has to be there. The response is the user's mistake.
func (b *backend) namedConfig(ctx context.Context, s logical.Storage, name string) (*config, *logical.Response, error) {
	cfg, err := b.configs.get(ctx, s, name)
	if err == nil && cfg == nil {
		return nil, userError("there is no config %q; write config/%s first", name, name), nil
	}
	return cfg, nil, err
}

func (b *backend) configExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	cfg, err := b.configs.get(ctx, req.Storage, configName(d))
	return cfg != nil, err
}

func (b *backend) handleConfigList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := b.configs.list(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

func (b *backend) handleConfigRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	cfg, err := b.configs.get(ctx, req.Storage, configName(d))
	if err != nil || cfg == nil {
		return nil, err
	}
	return &logical.Response{Data: b.readConfig(configName(d), cfg)}, nil
}

// readConfig is what a read of a config shows.
func (b *backend) readConfig(name string, cfg *config) map[string]any {
	data := cfg.read()
	for field, at := range map[string]int64{"last_rotated": cfg.LastRotated, "api_key_expires_at": cfg.APIKeyExpiry} {
		if at != 0 {
			data[field] = time.Unix(at, 0).UTC().Format(time.RFC3339)
		}
	}
	if cfg.RotationPeriod > 0 {
		data["next_rotation"] = b.dueAt(name, cfg).Format(time.RFC3339)
	}
	b.rotations.with(name, func(st *rotationState) {
		if st.trouble != "" {
			data["rotation_error"] = st.trouble
		}
	})
	return data
}

// handleConfigWrite checks, tries the login, and stores.
func (b *backend) handleConfigWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	old, next, resp, err := b.writeConfig(ctx, req.Storage, name, d)
	if err != nil || next == nil {
		return resp, err
	}
	// Outside the gate: whoever has the session's turn may wait for it.
	return resp, b.endForeignSession(ctx, req.Storage, name, old, next)
}

// writeConfig returns the config before and after; none after where nothing was stored. The
// login is a call to Palette and so outside the lock; where another write came between,
// this one starts over from what that one stored.
func (b *backend) writeConfig(ctx context.Context, s logical.Storage, name string, d *framework.FieldData) (old, next *config, resp *logical.Response, err error) {
	if old, err = b.configs.get(ctx, s, name); err != nil {
		return nil, nil, nil, err
	}
	leave, err := b.enterForWrite(ctx, s, name, d)
	if err != nil {
		resp, err = failedLogin(name, cmp.Or(old, &config{}), err, "nothing is stored")
		return nil, nil, resp, err
	}
	defer leave()
	for range configWriteTries {
		if old, err = b.configs.get(ctx, s, name); err != nil {
			return nil, nil, nil, err
		}
		if next, resp = old.change(d, time.Now()); resp != nil {
			return nil, nil, resp, nil
		}
		if resp, err = b.checkConfig(ctx, s, name, next, d); err != nil || resp.IsError() {
			if old == nil || old.Connection != next.Connection {
				b.clients.drop(next.Connection) // nobody will use it
			}
			return nil, nil, resp, err
		}
		stored, err := b.swapConfig(ctx, s, name, old, next)
		if err != nil {
			return nil, nil, nil, err
		}
		if stored {
			if d.Get(fieldVerifyConnection).(bool) {
				b.supersede(name, next)
			}
			return old, next, resp, nil
		}
	}
	return nil, nil, nil, logical.CodedError(http.StatusConflict,
		fmt.Sprintf("config %q is being changed by others at the same time; nothing of this write is stored, try it again", name))
}

// checkConfig tries what a write brings: its password policy at Vault, and its login at
// Palette unless verify_connection is false.
func (b *backend) checkConfig(ctx context.Context, s logical.Storage, name string, next *config, d *framework.FieldData) (*logical.Response, error) {
	if _, named := d.GetOk(fieldPasswordPolicy); named && next.PasswordPolicy != "" {
		if _, err := b.newPassword(ctx, next.PasswordPolicy); err != nil {
			return userError("field %q is %q, but Vault cannot make a password by it: %s", fieldPasswordPolicy, next.PasswordPolicy, err), nil
		}
	}
	if !d.Get(fieldVerifyConnection).(bool) {
		return nil, nil
	}
	return b.verifyConfig(ctx, s, name, next)
}

// enterForWrite waits for a rotation under way. What an earlier one has left behind is
// settled first, except where the write brings a secret of its own.
func (b *backend) enterForWrite(ctx context.Context, s logical.Storage, name string, d *framework.FieldData) (leave func(), err error) {
	_, password := d.GetOk(fieldPassword)
	_, key := d.GetOk(fieldAPIKey)
	if !password && !key {
		return b.enter(ctx, s, name)
	}
	if err := b.listLeftovers(ctx, s); err != nil {
		return nil, err
	}
	return b.pass(ctx, name)
}

// supersede makes a config usable whatever rotations have left behind: a write has shown
// that its secret works. What they left is looked at once more when nothing of it can reach
// Palette any longer.
func (b *backend) supersede(name string, cfg *config) {
	until := cfg.arrivesBy(time.Now())
	for _, id := range b.rotations.unsettled(name, time.Now()) {
		b.rotations.watch(name, id, until)
	}
}

// dropLeftovers forgets what rotations of a config that is gone have left behind.
func (b *backend) dropLeftovers(ctx context.Context, s logical.Storage, name string) {
	for _, id := range b.rotations.leftovers(name) {
		b.rotations.resolve(name, id)
		b.forgetWAL(ctx, s, name, id)
	}
}

// verifyConfig logs in with a config that is not stored yet, and revokes what it gets. An
// API key is asked whose it is.
func (b *backend) verifyConfig(ctx context.Context, s logical.Storage, name string, cfg *config) (*logical.Response, error) {
	const hint = "nothing is stored (verify_connection=false stores without a check)"
	if cfg.APIKey != "" {
		if err := b.verifyKey(ctx, cfg); err != nil {
			return failedKeyCall(name, cfg, err, hint)
		}
		return nil, nil
	}
	login := cfg.login()
	login.ByOperator = true
	token, err := b.detachedLogin(ctx, s, cfg, func(ctx context.Context) (palette.Token, error) {
		return b.sendLogin(ctx, s, cfg, login)
	})
	if err != nil {
		return failedLogin(name, cfg, err, hint)
	}
	select {
	case <-b.discard(s, cfg.account(), held(token), "a config's check"):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// swapConfig stores next (nil: deletes) where the stored config is still old, and tells
// whether it was. The connection to an address that the config leaves is kept for the
// leases that were issued there.
func (b *backend) swapConfig(ctx context.Context, s logical.Storage, name string, old, next *config) (bool, error) {
	lock := locksutil.LockForKey(b.configLocks, name)
	lock.Lock()
	defer lock.Unlock()
	current, err := b.configs.get(ctx, s, name)
	if err != nil {
		return false, err
	}
	if (current == nil) != (old == nil) || current != nil && *current != *old {
		return false, nil
	}
	if current != nil && (next == nil || current.Address != next.Address) {
		if err = b.keepConnection(ctx, s, name, current.Connection); err != nil {
			return false, err
		}
	}
	if current != nil && (next == nil || current.Connection != next.Connection) {
		b.clients.drop(current.Connection)
	}
	if next == nil {
		if err = b.configs.delete(ctx, s, name); err != nil {
			return false, err
		}
		b.process.UncountLimit(limitHolder{b, name})
		return true, nil
	}
	if err = b.configs.put(ctx, s, name, next); err != nil {
		return false, err
	}
	b.countLimit(name, next)
	return true, nil
}

func (b *backend) handleConfigDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	// A rotation under way would bring the config back when it stores what it has made.
	leave, err := b.pass(ctx, name)
	if err != nil {
		return nil, err
	}
	old, err := b.deleteConfig(ctx, req.Storage, name)
	leave() // whoever has the session's turn may wait for the gate
	if err != nil || old == nil {
		return nil, err
	}
	return nil, b.endForeignSession(ctx, req.Storage, name, old, nil)
}

// deleteConfig returns the config that was there, nil for none.
func (b *backend) deleteConfig(ctx context.Context, s logical.Storage, name string) (*config, error) {
	for range configWriteTries {
		old, err := b.configs.get(ctx, s, name)
		if err != nil || old == nil {
			return nil, err
		}
		deleted, err := b.swapConfig(ctx, s, name, old, nil)
		if err != nil {
			return nil, err
		}
		if deleted {
			b.dropLeftovers(ctx, s, name)
			return old, nil
		}
	}
	return nil, logical.CodedError(http.StatusConflict, fmt.Sprintf("config %q is being changed by others at the same time; try it again", name))
}

const helpConfigList = "List the names of the configs."

const helpConfig = `
Holds the Palette user that the engine logs in as, and how to reach Palette. "config"
is "config/default".

A write changes only the fields that it names. It first logs in to Palette and revokes
the token that it got; where Palette says no, nothing is stored. With
verify_connection=false it stores without asking.

The password and the client key are never given back. Changing address, email, org,
proxy_url, ca_cert, tls_server_name or tls_skip_verify asks for the password again, so
that a stored password never goes to another host or under another name.

Deleting a config, or leading it elsewhere, leaves its leases revocable; they can not be
renewed any more. Its shared session, if it has one, ends at Palette and in Vault.

Instead of email and password a config may hold an api_key, enough for roles with
credential_type=api_key. "rotate-root" gives it a new password or key that nobody sees,
rotation_period does so by itself.

Palette allows 10 calls a second for one IP address, and all calls of the engine come from
Vault's. rate_limit keeps to that; revocations and refreshes go before logins. Where logins
fail, the engine tries at most four in 15 minutes, so that Palette does not suspend the
account: three with the password that is in use, one with another that is written here.
`
