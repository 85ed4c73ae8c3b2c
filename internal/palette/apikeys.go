package palette

import (
	"net/url"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
)

// keyMeta is what the engine sets of the schema v1ObjectMeta.
type keyMeta struct {
	Name        string            `json:"name,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// apiKeyPath is the path of one key. A uid that does not name one is an error of kind
// answer.Malformed: the call would be answered 404, which a caller takes for a key that is gone.
func (c *Client) apiKeyPath(op, uid string) (string, error) {
	if !answer.IsUID(uid) {
		return "", c.wire.Failure(op, answer.Malformed, "the API key's uid is none")
	}
	return "/v1/apiKeys/" + url.PathEscape(uid), nil
}

// wireExpiry is an expiry in RFC 3339, in whole seconds. It is rounded up: a key that died
// within the last second of its lease would fail its holder.
func wireExpiry(expiry time.Time) string { return sentExpiry(expiry).Format(time.RFC3339) }

// sentExpiry is an expiry as Palette is told it.
func sentExpiry(expiry time.Time) time.Time {
	whole := expiry.Truncate(time.Second)
	if whole.Before(expiry) {
		whole = whole.Add(time.Second)
	}
	return whole.UTC()
}
