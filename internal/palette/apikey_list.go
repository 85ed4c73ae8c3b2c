package palette

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// APIKey is a key as Palette lists it, without its secret.
type APIKey struct {
	UID, Name, UserUID string
	// Expiry is zero where Palette names none that can be read.
	Expiry time.Time
	Active bool
}

// listedKey is the schema v1ApiKey. Its expiry is a text here, since one key of somebody
// else whose expiry is empty would otherwise spoil the whole list.
type listedKey struct {
	Metadata keyMeta `json:"metadata"`
	Spec     struct {
		Expiry string `json:"expiry"`
		User   struct {
			UID string `json:"uid"`
		} `json:"user"`
	} `json:"spec"`
	Status struct {
		IsActive bool `json:"isActive"`
	} `json:"status"`
}

// ListAPIKeys calls GET /v1/apiKeys: the caller's own keys, and for a tenant administrator
// those of the tenant. Errors are *[Error]; Malformed also where the answer has no list or a
// key without uid: read as "no such key", it would leave a key behind.
func (c *Client) ListAPIKeys(ctx context.Context, auth Auth) ([]APIKey, error) {
	const op = "list the API keys"
	a, err := c.do(ctx, call{op: op, endpoint: "list_api_keys", method: http.MethodGet, path: "/v1/apiKeys", want: http.StatusOK, auth: auth, class: urgent})
	if err != nil {
		return nil, err
	}
	var says struct {
		Items json.RawMessage `json:"items"`
	}
	if err := c.decode(op, a, &says); err != nil {
		return nil, err
	}
	if says.Items == nil {
		return nil, c.failure(op, Malformed, "the answer holds no list of API keys")
	}
	var listed []listedKey // null is an empty list: that is how a Go server writes one
	if err := c.decode(op, answer{body: says.Items}, &listed); err != nil {
		return nil, err
	}
	keys := make([]APIKey, 0, len(listed))
	for _, k := range listed {
		if !isUID(k.Metadata.UID) {
			return nil, c.failure(op, Malformed, "the answer lists an API key without uid")
		}
		expiry, _ := time.Parse(time.RFC3339, k.Spec.Expiry)
		keys = append(keys, APIKey{k.Metadata.UID, k.Metadata.Name, k.Spec.User.UID, expiry, k.Status.IsActive})
	}
	return keys, nil
}
