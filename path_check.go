package palettesecrets

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/advice"
	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/upstream"
)

// fieldLogin is the check's switch.
const fieldLogin = "login"

// pathCheck returns check/<config>, and check for the config "default".
func (b *backend) pathCheck() []*framework.Path {
	return ofConfig("check", "default-config", "config", func(pattern, suffix string) *framework.Path {
		return &framework.Path{
			Pattern:      pattern,
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: "palette", OperationVerb: "check", OperationSuffix: suffix},
			Fields: map[string]*framework.FieldSchema{
				fieldLogin: {Type: framework.TypeBool, Query: true, Description: "Log in also where the config has a shared session, which is asked otherwise (default false). Refused with 400 where the config holds an API key."},
			},
			HelpSynopsis:    "Try whether a config works, and say what to do where it does not.",
			HelpDescription: help.Check,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback: b.handleCheck, Summary: "Ask Palette who the config's user is.",
					Responses:                 answers(http.StatusOK, "What the check found, also where it failed (ok=false).", checkAnswer(), http.StatusServiceUnavailable),
					ForwardPerformanceStandby: true, // it logs in, and may have to list a token
				},
			},
		}
	})
}

func checkAnswer() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	ms := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeFloat, Description: description + ", in milliseconds, without the wait for its turn."}
	}
	return map[string]*framework.FieldSchema{
		"ok":             {Type: framework.TypeBool, Description: "Whether Palette answered who the user is or, of a system administrator of whom it does not tell, took the login."},
		"config":         text("The config's name."),
		fieldAddress:     text("Palette's address."),
		"method":         text("What Palette was asked with: login (one made for the check), session (the config's shared one) or api_key."),
		fieldOrg:         text("The organization, as Palette names it."),
		"tenant_uid":     text("The tenant's UID at Palette."),
		fieldUserUID:     text("The user's UID at Palette."),
		"token_life":     {Type: framework.TypeInt64, Description: "How long Palette's tokens live, in seconds. Not with an API key."},
		"clock_offset":   {Type: framework.TypeFloat, Description: "How far Palette's clock is before Vault's, in seconds (negative: behind), give or take one. Beyond 30 a warning says so; beyond 900 no API key is made."},
		"login_ms":       ms("How long the login took"),
		"user_info_ms":   ms("How long the call took that asks who the user is"),
		"revoke_ms":      ms("How long the revocation of the check's token took"),
		"revocation":     text("Whether this Palette can revoke tokens: available, missing, failed (see the log), or not_asked where the check made no token. With login_type=system, also refused: tokens live to their expires_at."),
		"user_info":      text("With login_type=system: whether Palette tells such an account who it is, available or refused. The check is the login alone then."),
		"refresh":        text("With login_type=system, of a login: whether Palette refreshes such tokens, available, refused or failed. Where refused, a renewal logs in."),
		"password_reset": {Type: framework.TypeBool, Description: "With login_type=system, of a login: whether Palette has answered IsPasswordReset."},
		"step":           text("Where ok is false: what failed, one of name lookup, connection, TLS, login, token."),
		"error":          text("Where ok is false: how it failed."),
		"advice":         text("Where ok is false: what to do."),
		"withheld_until": text("Where login protection held the login back: when the next one may go out, RFC 3339, UTC. Where four have failed, when that of the next write may."),
	}
}

func (b *backend) handleCheck(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	cfg, err := b.namedConfig(ctx, req.Storage, name)
	if err != nil {
		return upstream.Answer(err)
	}
	freshLogin := d.Get(fieldLogin).(bool)
	if freshLogin && cfg.APIKey != "" {
		return logical.ErrorResponse("field %q is true, but config %q holds an API key, with which nobody can log in", fieldLogin, name), nil
	}
	found, warnings, err := b.checker.Run(ctx, req.Storage, name, cfg, freshLogin)
	if err != nil {
		return upstream.Answer(err)
	}
	resp := &logical.Response{Data: found, Warnings: append(warnings, advice.KeyExpiry(name, cfg)...)}
	if found["password_reset"] == true {
		resp.Warnings = append(resp.Warnings, advice.PasswordReset(name, cfg))
	}
	for _, r := range b.rolesOf(ctx, req.Storage, name) {
		resp.Warnings = append(resp.Warnings, advice.NameTemplate(r.Name, r.Role)...)
	}
	return resp, nil
}
