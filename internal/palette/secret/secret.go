// Package secret keeps passwords, keys and tokens out of texts.
//
// Promise: no verb of fmt prints a [Text], and what Palette says has none of a call's secrets in it
// once it is cleaned.
//
// State: none.
package secret

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Redacted stands where a secret would have been printed.
const Redacted = "[redacted]"

// Text is a password, a private key, a token or an API key. Every verb of fmt prints
// "[redacted]" for it, so that a struct which holds one can be printed by mistake
// without a leak. JSON keeps the value: that is how it reaches Palette and Vault's
// storage.
type Text string

// String returns "[redacted]", or nothing for an empty secret.
func (s Text) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// GoString keeps %#v from printing what String hides.
func (s Text) GoString() string { return `"` + s.String() + `"` }

// Reveal returns the secret itself. Only what sends or stores it may call this.
func (s Text) Reveal() string { return string(s) }

// jwtShaped finds tokens that a server put into a text, also ones that we never sent.
var jwtShaped = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)*`)

// MaxLength bounds what is taken over from an answer into an error, in bytes.
const MaxLength = 300

// formsOf are a secret as it stands and as a URL, the JSON of a request or a quoting message
// has it.
func formsOf(s string) []string {
	sent, _ := json.Marshal(s) // a string always can be
	quoted := strconv.Quote(s)
	return []string{s, url.PathEscape(s), url.QueryEscape(s), string(sent[1 : len(sent)-1]), quoted[1 : len(quoted)-1]}
}

// Clean makes a text that Palette sent fit for an error. Characters that do not print become spaces
// first, in the secrets too: without them a text could become a secret. Then the call's secrets and
// whatever looks like a token are replaced. The longest secrets are replaced before the others: a new
// password can begin with the old one. The length is cut last: a cut through a secret would leave a part
// of the secret.
func Clean(text string, secrets []Text) string {
	var forms []string
	for _, s := range secrets {
		if s != "" {
			forms = append(forms, formsOf(s.Reveal())...)
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	text = Printed(text)
	for _, form := range forms {
		text = strings.ReplaceAll(text, Printed(form), Redacted)
	}
	text = jwtShaped.ReplaceAllString(text, Redacted)
	if len(text) > MaxLength {
		text = strings.ToValidUTF8(text[:MaxLength], "") + "…"
	}
	return strings.TrimSpace(text)
}

// Printed has a space in the place of what does not print: control characters, and those
// that turn or hide what is beside them.
func Printed(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}
