package answer

import (
	"encoding/json"
	"errors"
	"io"
	"time"
)

// MaxList bounds what a whole list of keys may come to, in bytes. A tenant administrator sees the
// keys of the whole tenant. No other answer may be as large.
const MaxList = 32 << 20

// maxUIDLength bounds the uid of an API key, in bytes. Real ones have 24.
const maxUIDLength = 256

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
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
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

// IsUID tells whether a text can name a key.
func IsUID(uid string) bool {
	return uid != "" && uid != "." && uid != ".." && len(uid) <= maxUIDLength
}

// KeyPage is one answer of a list, read as it comes: a page may be as large as the whole list.
type KeyPage struct {
	Keys []APIKey
	// Next goes into the query of the call for the next page; "" where there is none.
	Next string
	// Size is how many bytes of the answer the page took.
	Size int
}

var errNoPage = errors.New("no list of API keys")

// Read reads a page (schema v1ApiKeys). null is an empty list: that is how a Go server writes one. A
// list with a key that has no uid is none: read as "no such key", it would leave a key behind.
func (p *KeyPage) Read(body io.Reader) error {
	*p = KeyPage{}
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
			p.Next = meta.Continue
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
	p.Size = int(d.InputOffset())
	if !hasItems || closed != nil || !errors.Is(end, io.EOF) {
		return errNoPage
	}
	return nil
}

func (p *KeyPage) readItems(d *json.Decoder) error {
	p.Keys = nil
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
		if !IsUID(k.Metadata.UID) {
			return errNoPage
		}
		p.Keys = append(p.Keys, k.key())
	}
	_, err = d.Token()
	return err
}
