package palette

import (
	"context"
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// PasswordChange is whose password changes, from what and to what.
type PasswordChange struct {
	Email        string
	Current, New Secret
}

// ChangePassword calls PATCH /v1/users/password/change. It is not sent again once it may
// have arrived: the second one would be refused, since Current is wrong by then. Errors are
// *[Error]: after one of the verdict Unknown the password may have changed or not. Palette can ask for auth or not (its document does not say).
func (c *Client) ChangePassword(ctx context.Context, auth Auth, change PasswordChange) error {
	_, err := c.wire.Do(ctx, exchange.Call{
		Op: "change the password", Endpoint: "change_password", Method: http.MethodPatch, Path: "/v1/users/password/change", Auth: auth,
		Body: struct {
			EmailID         string `json:"emailId"`
			CurrentPassword Secret `json:"currentPassword"`
			NewPassword     Secret `json:"newPassword"`
		}{change.Email, change.Current, change.New},
		Secrets: []Secret{change.Current, change.New},
	})
	return err
}
