package palette

import (
	"context"
	"fmt"
	"net/http"

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
			logical.CreateOperation: forwarded(b.handleConfigWrite, "Write a config.", noContent("Stored.")),
			logical.UpdateOperation: forwarded(b.handleConfigWrite, "Change the named fields of a config.", noContent("Stored.")),
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleConfigRead, Summary: "Read a config, without its secrets.",
				Responses: answers(http.StatusOK, "The config.", configAnswer()),
			},
			logical.DeleteOperation: forwarded(b.handleConfigDelete, "Delete a config. Its leases stay revocable.", noContent("Deleted.")),
		},
	}
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
		fieldRequestTimeout:   {Type: framework.TypeDurationSecond, Default: 30, Description: "How long one call to Palette may take, 1 to 80 seconds (default 30s)."},
		fieldRateLimit:        {Type: framework.TypeInt, Default: palette.DefaultRateLimit, Description: "Calls to this address in any one second, of all mounts and configs of the plugin process together; the lowest among the configs of an address counts (default 10, Palette's own limit for one IP address; 0: none)."},
		fieldQueueTimeout:     {Type: framework.TypeDurationSecond, Default: 55, Description: "How long a call waits for its turn under rate_limit, 1 second to 5 minutes (default 55s, less than the 60 that Vault's clients wait). One whose turn would come later is answered 503 at once."},
		fieldVerifyConnection: {Type: framework.TypeBool, Default: true, Description: "Log in to Palette before storing, revoke what that brought, and store nothing when Palette says no (default true). A switch of this one write, not stored."},
	}
}

func configAnswer() map[string]*framework.FieldSchema {
	fields := configFields()
	for _, hidden := range []string{fieldPassword, fieldClientKey, fieldVerifyConnection} {
		delete(fields, hidden)
	}
	fields["password_set"] = &framework.FieldSchema{Type: framework.TypeBool, Description: "Whether a password is stored."}
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
	return &logical.Response{Data: cfg.read()}, nil
}

// handleConfigWrite checks, tries the login, and stores. The login is a call to Palette
// and so outside the lock; where another write came between, this one starts over from
// what that one stored.
func (b *backend) handleConfigWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, verify := configName(d), d.Get(fieldVerifyConnection).(bool)
	for range configWriteTries {
		old, err := b.configs.get(ctx, req.Storage, name)
		if err != nil {
			return nil, err
		}
		next, mistake := old.change(d)
		if mistake != nil {
			return mistake, nil
		}
		var verified *logical.Response
		if verify {
			if verified, err = b.verifyConfig(ctx, req.Storage, name, next); err != nil || verified.IsError() {
				return verified, err
			}
		}
		stored, err := b.swapConfig(ctx, req.Storage, name, old, next)
		if err != nil {
			return nil, err
		}
		if stored {
			return verified, b.endForeignSession(ctx, req.Storage, name, old, next)
		}
	}
	return nil, logical.CodedError(http.StatusConflict,
		fmt.Sprintf("config %q is being changed by others at the same time; nothing of this write is stored, try it again", name))
}

// verifyConfig logs in with a config that is not stored yet, and revokes what it gets.
func (b *backend) verifyConfig(ctx context.Context, s logical.Storage, name string, cfg *config) (*logical.Response, error) {
	login := cfg.login()
	login.ByOperator = true
	token, err := b.login(ctx, s, cfg, login)
	if err != nil {
		return failedLogin(name, cfg, err, "nothing is stored (verify_connection=false stores without a check)")
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
		return true, b.configs.delete(ctx, s, name)
	}
	if err = b.configs.put(ctx, s, name, next); err != nil {
		return false, err
	}
	_, err = b.clientFor(next.Connection) // its rate limit counts from now on
	return true, err
}

func (b *backend) handleConfigDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	for range configWriteTries {
		old, err := b.configs.get(ctx, req.Storage, name)
		if err != nil || old == nil {
			return nil, err
		}
		deleted, err := b.swapConfig(ctx, req.Storage, name, old, nil)
		if err != nil {
			return nil, err
		}
		if deleted {
			return nil, b.endForeignSession(ctx, req.Storage, name, old, nil)
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

Palette allows 10 calls a second for one IP address, and all calls of the engine come from
Vault's. rate_limit keeps to that; revocations and refreshes go before logins. Where logins
fail, the engine tries at most four in 15 minutes, so that Palette does not suspend the
account: three with the password that is in use, one with another that is written here.
`
