package palettesecrets

import (
	"context"
	"net/http"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

func (b *backend) pathRotate() []*framework.Path {
	return ofConfig("rotate-root", "default-root", "root", func(pattern, suffix string) *framework.Path {
		return &framework.Path{
			Pattern:         pattern,
			DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: "palette", OperationVerb: "rotate", OperationSuffix: suffix},
			Fields:          map[string]*framework.FieldSchema{},
			HelpSynopsis:    "Give a config a new password, or a new API key, that nobody sees.",
			HelpDescription: help.Rotate,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: forwarded(b.handleRotate, "Rotate the config's password or API key.",
					noContent("Rotated.", http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable)),
			},
		}
	})
}

func (b *backend) handleRotate(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := configName(d)
	cfg, err := b.namedConfig(ctx, req.Storage, name)
	if err != nil {
		return upstream.Answer(err)
	}
	err = b.credentials.Rotate(ctx, req.Storage, name)
	switch says := answer.Refusal(err); {
	case err == nil:
		return nil, nil
	case says != nil && says.Op != palette.OpLogin:
		return upstream.Answer(b.usage.CreateFailed(ctx, req.Storage, name, nil, cfg, err, "nothing has changed"))
	default:
		return upstream.Answer(upstream.LoginFailed(name, cfg, err, ""))
	}
}

// rotationDone counts and tells of a rotation that has ended.
func (b *backend) rotationDone(ctx context.Context, s logical.Storage, name string, err error) {
	secret := telemetry.SecretPassword
	if cfg, unknown := b.configs.Get(ctx, s, name); unknown == nil && cfg != nil && cfg.APIKey != "" {
		secret = telemetry.SecretKey
	}
	b.metrics.Rotation(secret, err == nil)
	kind := telemetry.EventRotated
	if err != nil {
		kind = telemetry.EventRotateFailed
	}
	b.events.Send(kind, "rotate-root/"+name, "config", name, "secret", secret, logical.EventMetadataModified, strconv.FormatBool(err == nil))
}
