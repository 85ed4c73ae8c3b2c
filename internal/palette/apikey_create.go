package palette

import (
	"context"
	"encoding/json"
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// OpCreateKey is what errors of the making of a key call it.
const OpCreateKey = "create an API key"

// CreateAPIKey calls POST /v1/apiKeys and returns the key, which Palette shows this once. The call
// is not sent again once it may have arrived. Errors are *[Error]. After an error of the verdict
// Unknown there may be a key of that name.
func (c *Client) CreateAPIKey(ctx context.Context, auth Auth, k NewAPIKey) (uid string, key Secret, err error) {
	const op = OpCreateKey
	type spec struct {
		Expiry  string `json:"expiry"`
		UserUID string `json:"userUid,omitempty"`
	}
	a, err := c.wire.Do(ctx, exchange.Call{
		Op: op, Endpoint: "create_api_key", Method: http.MethodPost, Path: "/v1/apiKeys", Auth: auth,
		Body: struct {
			Metadata keyMeta `json:"metadata"`
			Spec     spec    `json:"spec"`
		}{k.meta(), spec{wireExpiry(k.Expiry), k.UserUID}},
	})
	if err != nil {
		return "", "", err
	}
	var says struct {
		APIKey Secret `json:"apiKey"`
		UID    string `json:"uid"`
	}
	if json.Unmarshal(a.Body, &says) != nil {
		return "", "", c.wire.Failure(op, answer.Malformed, "the answer is JSON of another form than Palette's")
	}
	if problem := answer.Unusable("API key", says.APIKey); problem != "" {
		return "", "", c.wire.Failure(op, answer.Malformed, problem)
	}
	if !answer.IsUID(says.UID) {
		return "", "", c.wire.Failure(op, answer.Malformed, "the API key's uid is none")
	}
	return says.UID, says.APIKey, nil
}
