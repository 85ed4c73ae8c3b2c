package palette

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
)

// NewAPIKey is what a request to make or change a key says of the key.
type NewAPIKey struct {
	Name, Description string
	// UserUID is whose key it will be; empty for the caller's own.
	UserUID string
	// Expiry is by Palette's clock, see [Client.OnPalettesClock]. It is sent rounded up to a whole
	// second.
	Expiry time.Time
}

// meta is the key's metadata as a request has it.
func (k NewAPIKey) meta() keyMeta {
	meta := keyMeta{Name: k.Name}
	if k.Description != "" {
		meta.Annotations = map[string]string{"description": k.Description}
	}
	return meta
}

// OpCreateKey is what errors of the making of a key call it.
const OpCreateKey = "create an API key"

// CreateAPIKey calls POST /v1/apiKeys and returns the key, which Palette shows this once. It
// is not sent again once it may have arrived. Errors are *[Error], after which of the
// verdict Unknown there may be a key of that name, and those of Ahead.
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
