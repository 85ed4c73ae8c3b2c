package palette

import (
	"context"
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

// ExpiresAsSent tells whether the key's expiry is one that a request has named: a request rounds it
// up to a whole second.
func (k APIKey) ExpiresAsSent(expiry time.Time) bool {
	later := k.Expiry.Sub(expiry)
	return 0 <= later && later < time.Second
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
// those of the tenant. Errors are *[Error].
func (c *Client) ListAPIKeys(ctx context.Context, auth Auth) ([]APIKey, error) {
	const op = "list the API keys"
	a, err := c.do(ctx, call{op: op, endpoint: "list_api_keys", method: http.MethodGet, path: "/v1/apiKeys", auth: auth})
	if err != nil {
		return nil, err
	}
	var says struct {
		Items []listedKey `json:"items"`
	}
	if err := c.decode(op, a, &says); err != nil {
		return nil, err
	}
	keys := make([]APIKey, 0, len(says.Items))
	for _, k := range says.Items {
		expiry, _ := time.Parse(time.RFC3339, k.Spec.Expiry)
		keys = append(keys, APIKey{k.Metadata.UID, k.Metadata.Name, k.Spec.User.UID, expiry, k.Status.IsActive})
	}
	return keys, nil
}
