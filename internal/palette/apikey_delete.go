package palette

import (
	"context"
	"net/http"
)

// DeleteAPIKey calls DELETE /v1/apiKeys/{uid}. Errors are *[Error], of the verdict Gone
// where there is no such key, which is what the caller wanted.
func (c *Client) DeleteAPIKey(ctx context.Context, auth Auth, uid string) error {
	const op = "delete the API key"
	path, err := c.apiKeyPath(op, uid)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: op, endpoint: "delete_api_key", method: http.MethodDelete, path: path, auth: auth})
	return err
}
