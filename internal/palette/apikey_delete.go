package palette

import (
	"context"
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// DeleteAPIKey calls DELETE /v1/apiKeys/{uid}. Errors are *[Error], of the verdict Gone
// where there is no such key, which is what the caller wanted.
func (c *Client) DeleteAPIKey(ctx context.Context, auth Auth, uid string) error {
	const op = "delete the API key"
	path, err := c.apiKeyPath(op, uid)
	if err != nil {
		return err
	}
	_, err = c.wire.Do(ctx, exchange.Call{Op: op, Endpoint: "delete_api_key", Method: http.MethodDelete, Path: path, Auth: auth})
	return err
}
