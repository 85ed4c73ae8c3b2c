package palette

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
)

const (
	// leastPage is what a page counts for at least, so that a list of small pages has an end too.
	leastPage = 16 << 10
)

// ListAPIKeys calls GET /v1/apiKeys: the caller's own keys, and for a tenant administrator those of the
// tenant. A list that goes on (listmeta.continue) is read to its end: half a list would look like a list
// without the key that is searched for. Errors are *[Error].
func (c *Client) ListAPIKeys(ctx context.Context, auth Auth) ([]APIKey, error) {
	const op = "list the API keys"
	keys := []APIKey{}
	next, size := "", 0
	for {
		page := new(answer.KeyPage)
		k := exchange.Call{Op: op, Endpoint: "list_api_keys", Method: http.MethodGet, Path: "/v1/apiKeys", Auth: auth}
		k.Stream = func(body io.Reader) bool { return page.Read(body) == nil }
		if next != "" {
			k.Query = url.Values{"continue": {next}}
		}
		a, err := c.wire.Do(ctx, k)
		if err != nil {
			return nil, err
		}
		if !a.Streamed {
			_ = page.Read(bytes.NewReader(a.Body)) // its rule has done the same
		}
		keys = append(keys, page.Keys...)
		size += max(page.Size, leastPage)
		switch {
		case page.Next == "":
			return keys, nil
		case page.Next == next:
			return nil, c.wire.Failure(op, answer.Malformed, "the list goes on with the page that has just been read")
		case size > answer.MaxList:
			return nil, c.wire.Failure(op, answer.Malformed, "the list is longer than 32 MiB")
		}
		next = page.Next
	}
}
