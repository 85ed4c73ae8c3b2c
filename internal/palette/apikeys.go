package palette

import (
	"net/url"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
)

// NewAPIKey is what a request to make or change a key says of the key. Its description is an annotation.
type NewAPIKey struct {
	Name, Description string
	// UserUID is whose key it will be; empty for the caller's own.
	UserUID string
	// Expiry is by Palette's clock, see [Client.OnPalettesClock]. Requests round it up to a whole second.
	Expiry time.Time
}

// keyMeta is what the engine sets of the schema v1ObjectMeta.
type keyMeta struct {
	Name        string            `json:"name,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// meta is the key's metadata as a request has it.
func (k NewAPIKey) meta() keyMeta {
	meta := keyMeta{Name: k.Name}
	if k.Description != "" {
		meta.Annotations = map[string]string{"description": k.Description}
	}
	return meta
}

// apiKeyPath is the path of one key. A uid that cannot name a key is an error of kind answer.Malformed.
// Palette would answer 404 to the call, which a caller takes for a key that is gone.
func (c *Client) apiKeyPath(op, uid string) (string, error) {
	if !answer.IsUID(uid) {
		return "", c.wire.Failure(op, answer.Malformed, "the API key's uid is none")
	}
	return "/v1/apiKeys/" + url.PathEscape(uid), nil
}

// wireExpiry is an expiry in RFC 3339, rounded up to a whole second. A key that died within the last
// second of its lease would fail its holder.
func wireExpiry(expiry time.Time) string { return sentExpiry(expiry).Format(time.RFC3339) }

// sentExpiry is an expiry as Palette is told it.
func sentExpiry(expiry time.Time) time.Time {
	whole := expiry.Truncate(time.Second)
	if whole.Before(expiry) {
		whole = whole.Add(time.Second)
	}
	return whole.UTC()
}
