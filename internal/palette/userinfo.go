package palette

import (
	"context"
	"net/http"
)

// UserInfo is whom credentials belong to (schema v1UserInfo).
type UserInfo struct {
	OrgName   string `json:"orgName"`
	TenantUID string `json:"tenantUid"`
	UserUID   string `json:"userUid"`
}

// UserInfo calls GET /v1/users/info, the cheapest way to see that auth works. Errors are
// *[Error], of the verdict AuthDead where auth is dead.
func (c *Client) UserInfo(ctx context.Context, auth Auth) (UserInfo, error) {
	const op = "look up the user"
	a, err := c.do(ctx, call{op: op, endpoint: "user_info", method: http.MethodGet, path: "/v1/users/info", auth: auth})
	if err != nil {
		return UserInfo{}, err
	}
	var info UserInfo
	if err := c.decode(op, a, &info); err != nil {
		return UserInfo{}, err
	}
	return info, nil
}
