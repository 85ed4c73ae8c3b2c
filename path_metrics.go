package palettesecrets

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/help"
)

func (b *backend) pathMetrics() []*framework.Path {
	return []*framework.Path{{
		Pattern:         "metrics$",
		DisplayAttrs:    displayAttrs("metrics"),
		HelpSynopsis:    "What the mount does, as Prometheus reads it.",
		HelpDescription: help.Metrics,
		Operations: map[logical.Operation]framework.OperationHandler{
			// Not forwarded: each node tells of itself.
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.handleMetrics, Summary: "Read the mount's metrics, in Prometheus's text form.",
				Responses: orErrors(map[int][]framework.Response{http.StatusOK: {{
					// Without fields: the SDK reserves the names by which a body that is not JSON is handed over.
					Description: "The metrics.", MediaType: metricsForm,
				}}}),
			},
		},
	}}
}

// metricsForm is the media type of Prometheus's text form.
const metricsForm = "text/plain; version=0.0.4; charset=utf-8"

func (b *backend) handleMetrics(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	text, err := b.stored.Text(ctx, req.Storage, b.metrics)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPContentType: metricsForm,
		logical.HTTPRawBody:     text,
	}}, nil
}
