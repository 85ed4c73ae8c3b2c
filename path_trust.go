package palettesecrets

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/config"
	"vault-plugin-secrets-palette/internal/help"
	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
	"vault-plugin-secrets-palette/internal/upstream"
)

// trustFields are the fields of a config that say how Palette is reached and who counts as Palette.
// address and tls_skip_verify are not among them: with them the stored secret could go to anybody.
var trustFields = []string{fieldCACert, fieldTLSServerName, fieldProxyURL, fieldClientCert, fieldClientKey}

// pathTrust returns trust/<config>, which takes sudo: see PathsSpecial.Root.
func (b *backend) pathTrust() []*framework.Path {
	fields, all := map[string]*framework.FieldSchema{}, configFields()
	for _, field := range trustFields {
		fields[field] = all[field]
	}
	return []*framework.Path{{
		Pattern:         "trust/" + input.Name(fieldName),
		DisplayAttrs:    displayAttrs("trust"),
		Fields:          withName(fields, "Name of the config."),
		HelpSynopsis:    "Change how a config reaches Palette, and whom it trusts, without its password (sudo).",
		HelpDescription: help.Trust,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(b.announced(telemetry.EventTrustWrite, b.handleTrust), "Try a config's secret on another way, and store the way.",
				noContent("Stored.", http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable)),
		},
	}}
}

func (b *backend) handleTrust(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	err := b.writer.Trust(ctx, req.Storage, d.Get(fieldName).(string), func(old *store.Config) (*store.Config, error) {
		next := configInput{*old}
		if err := next.applyText(d); err != nil {
			return nil, err
		}
		return &next.Config, config.Valid(&next.Config)
	})
	return upstream.Answer(err)
}
