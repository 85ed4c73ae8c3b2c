package palette

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxList bounds what a whole list of keys may come to, in bytes. A tenant administrator sees the
	// keys of the whole tenant. No other answer may be as large.
	maxList = 32 << 20
	// leastPage is what a page counts for at least, so that a list of small pages has an end too.
	leastPage = 16 << 10
)

// APIKey is a key as Palette lists it, without its secret.
type APIKey struct {
	UID, Name, UserUID string
	// Expiry is by Palette's clock; zero where Palette names none that can be read.
	Expiry time.Time
	Active bool
}

// ExpiresAsSent tells whether the key's expiry is one that a request has named, by Palette's clock: a
// request rounds it up to a whole second.
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

func (k listedKey) key() APIKey {
	expiry, _ := time.Parse(time.RFC3339, k.Spec.Expiry)
	return APIKey{k.Metadata.UID, k.Metadata.Name, k.Spec.User.UID, expiry, k.Status.IsActive}
}

// ListAPIKeys calls GET /v1/apiKeys: the caller's own keys, and for a tenant administrator
// those of the tenant. A list that goes on (listmeta.continue) is read to its end: half of a list
// would look like one without the key that is looked for. Errors are *[Error].
func (c *Client) ListAPIKeys(ctx context.Context, auth Auth) ([]APIKey, error) {
	const op = "list the API keys"
	keys := []APIKey{}
	next, size := "", 0
	for {
		page := new(keyPage)
		k := call{op: op, endpoint: "list_api_keys", method: http.MethodGet, path: "/v1/apiKeys", auth: auth}
		k.stream = func(body io.Reader) bool { return page.read(body) == nil }
		if next != "" {
			k.query = url.Values{"continue": {next}}
		}
		a, err := c.do(ctx, k)
		if err != nil {
			return nil, err
		}
		if !a.streamed && page.read(bytes.NewReader(a.body)) != nil {
			return nil, c.failure(op, Malformed, "the answer is JSON of another form than Palette's")
		}
		keys = append(keys, page.keys...)
		size += max(page.size, leastPage)
		switch {
		case page.next == "":
			return keys, nil
		case page.next == next:
			return nil, c.failure(op, Malformed, "the list goes on with the page that has just been read")
		case size > maxList:
			return nil, c.failure(op, Malformed, "the list is longer than 32 MiB")
		}
		next = page.next
	}
}

// keyPage is one answer of a list, read as it comes: a page may be as large as the whole list.
type keyPage struct {
	keys []APIKey
	// next goes into the query of the call for the next page; "" where there is none.
	next string
	size int
}

var errNoPage = errors.New("no list of API keys")

// read reads a page (schema v1ApiKeys). null is an empty list: that is how a Go server writes one. A
// list with a key that has no uid is none: read as "no such key", it would leave a key behind.
func (p *keyPage) read(body io.Reader) error {
	*p = keyPage{}
	d := json.NewDecoder(body)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNoPage
	}
	hasItems := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return errNoPage
		}
		switch name {
		case "items":
			hasItems, err = true, p.readItems(d)
		case "listmeta":
			var meta struct {
				Continue string `json:"continue"`
			}
			err = d.Decode(&meta)
			p.next = meta.Continue
		default:
			var passedOver json.RawMessage
			err = d.Decode(&passedOver)
		}
		if err != nil {
			return errNoPage
		}
	}
	_, closed := d.Token()
	_, end := d.Token()
	p.size = int(d.InputOffset())
	if !hasItems || closed != nil || !errors.Is(end, io.EOF) {
		return errNoPage
	}
	return nil
}

func (p *keyPage) readItems(d *json.Decoder) error {
	p.keys = nil
	t, err := d.Token()
	switch {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != json.Delim('['):
		return errNoPage
	}
	for d.More() {
		var k listedKey
		if err = d.Decode(&k); err != nil {
			return err
		}
		if !isUID(k.Metadata.UID) {
			return errNoPage
		}
		p.keys = append(p.keys, k.key())
	}
	_, err = d.Token()
	return err
}
