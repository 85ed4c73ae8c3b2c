package palette

import (
	"context"
	"encoding/json"
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// UserInfo calls GET /v1/users/info, the cheapest way to see that auth works. Errors are
// *[Error], of the verdict AuthDead where auth is dead.
func (c *Client) UserInfo(ctx context.Context, auth Auth) (UserInfo, error) {
	a, err := c.wire.Do(ctx, exchange.Call{Op: "look up the user", Endpoint: "user_info", Method: http.MethodGet, Path: "/v1/users/info", Auth: auth})
	if err != nil {
		return UserInfo{}, err
	}
	var info UserInfo
	_ = json.Unmarshal(a.Body, &info) // its rule has done the same
	return info, nil
}
