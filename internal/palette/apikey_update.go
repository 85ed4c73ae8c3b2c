package palette

import (
	"context"
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// UpdateAPIKey calls PUT /v1/apiKeys/{uid} and moves the key's expiry, rounded up to a whole
// second. The request repeats the key's name and the description that the role has now: Palette may
// take a request without them for a wish to clear them (an assumption; the document does not say).
// UserUID is not sent. Errors are *[Error], of the verdict Gone where there is no such key.
func (c *Client) UpdateAPIKey(ctx context.Context, auth Auth, uid string, k NewAPIKey) error {
	const op = "renew the API key"
	path, err := c.apiKeyPath(op, uid)
	if err != nil {
		return err
	}
	type spec struct {
		Expiry string `json:"expiry"`
	}
	_, err = c.wire.Do(ctx, exchange.Call{
		Op: op, Endpoint: "update_api_key", Method: http.MethodPut, Path: path, Auth: auth,
		Body: struct {
			Metadata keyMeta `json:"metadata"`
			Spec     spec    `json:"spec"`
		}{k.meta(), spec{wireExpiry(k.Expiry)}},
	})
	return err
}
