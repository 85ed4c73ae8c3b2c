package palette

import (
	"context"
	"net/http"
	"time"
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
	a, err := c.do(ctx, call{
		op: op, endpoint: "create_api_key", method: http.MethodPost, path: "/v1/apiKeys", auth: auth,
		body: struct {
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
	if err := c.decode(op, a, &says); err != nil {
		return "", "", err
	}
	if problem := unusable("API key", says.APIKey); problem != "" {
		return "", "", c.failure(op, Malformed, problem)
	}
	if !isUID(says.UID) {
		return "", "", c.failure(op, Malformed, "the API key's uid is none")
	}
	return says.UID, says.APIKey, nil
}
