package answer

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"regexp"
	"strings"

	"vault-plugin-secrets-palette/internal/palette/secret"
)

// fields are those of a JSON object, by their exact names, which encoding/json does not look at;
// none where the body is no JSON object.
func fields(body []byte) map[string]json.RawMessage {
	var f map[string]json.RawMessage
	if json.Unmarshal(body, &f) != nil {
		return nil
	}
	return f
}

// hasText tells whether each of the fields named is a string of which something prints.
func hasText(f map[string]json.RawMessage, names ...string) bool {
	for _, name := range names {
		var text string
		if json.Unmarshal(f[name], &text) != nil || strings.TrimSpace(secret.Printed(text)) == "" {
			return false
		}
	}
	return true
}

// isError is the form of Palette's errors (schema v1Error). Its longest are of a few KiB.
func isError(body []byte) bool {
	return len(body) <= MaxBody && hasText(fields(body), "code", "message")
}

// isToken is the form of the answer to a login, of a user or a system administrator, and to a refresh
// (schema v1UserToken). Where a second factor is wanted the token may be missing (assumption).
func isToken(body []byte) bool {
	f := fields(body)
	var says userToken
	return json.Unmarshal(body, &says) == nil && (hasText(f, "Authorization") || f["isMfa"] != nil && says.IsMFA)
}

// UserInfo is whom credentials belong to (schema v1UserInfo).
type UserInfo struct {
	OrgName   string `json:"orgName"`
	TenantUID string `json:"tenantUid"`
	UserUID   string `json:"userUid"`
}

// isUser is the form of v1UserInfo. The document requires no field of it, but Palette knows whom it
// has let in: other servers' JSON would pass for a yes.
func isUser(body []byte) bool {
	return hasText(fields(body), "userUid") && json.Unmarshal(body, new(UserInfo)) == nil
}

// isNewKey is the form of v1ApiKeyCreateResponse.
func isNewKey(body []byte) bool { return hasText(fields(body), "apiKey", "uid") }

// isList is the form of v1ApiKeys.
func isList(body []byte) bool { return new(KeyPage).Read(bytes.NewReader(body)) == nil }

// mediaType is the form of a media type that is safe to show.
var mediaType = regexp.MustCompile(`^[a-z]+/[a-z0-9.+-]{1,40}$`)

// contentOf says what an answer holds that is not Palette's, in words that quote nothing of it.
func contentOf(a *Reply) string {
	switch {
	case len(a.Body) == 0:
		return "nothing in it"
	case a.Overlong:
		return "more than 32 MiB"
	case len(a.Body) > MaxBody:
		return "more than 1 MiB"
	case a.Status >= 400 && fields(a.Body) != nil:
		return "JSON without Palette's code and message"
	case json.Valid(a.Body):
		return "JSON of another form than Palette's"
	}
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || !mediaType.MatchString(kind) {
		kind, _, _ = strings.Cut(http.DetectContentType(a.Body), ";")
	}
	return kind
}
