package palette

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// This file says whose word an answer is, and what follows from it. All else in the package,
// and whoever uses it, goes by the table below.
//
// A success is what Palette's OpenAPI document describes: the status, and the form. An error is
// Palette's if it is a JSON object with non-empty strings code and message (schema v1Error).
// Everything else comes from somebody in between, such as a proxy, a gateway or a captive
// portal, or from another server (public reports): from it nothing follows. A 429 needs no form,
// since whoever answers it has passed nothing on.

// answerKind is whose answer it is, and of what it tells.
type answerKind int

const (
	documented   answerKind = iota // the status and the form that the document describes
	refused                        // Palette's error of a 4xx that is none of the following
	unauthorized                   // Palette's 401
	notFound                       // Palette's 404
	faulty                         // Palette's 408 or 5xx
	tooMany                        // anybody's 429
	foreign401                     // a 401 of another form than Palette's
	foreign                        // everything else
	answerKinds
)

// Verdict is what follows from the answer to a call.
type Verdict int

// The verdicts.
const (
	// Unknown: the call may have been carried out or not, and nothing else follows.
	Unknown Verdict = iota
	// Done: the call was carried out.
	Done
	// NotDone: Palette has not carried the call out, and would refuse it again.
	NotDone
	// HeldBack: the call was not carried out, and may be sent again after a pause.
	HeldBack
	// AuthDead: the call was not carried out, since what authenticated it is dead. Nothing
	// follows for anything else that the call names.
	AuthDead
	// LoginFailed: Palette counts the login as a failed one.
	LoginFailed
	// LoginMayHaveFailed: somebody has answered 401 to the login, and Palette may have counted it.
	LoginMayHaveFailed
	// SessionOver: no refresh of the session will work any more.
	SessionOver
	// Gone: what the call is about does not exist, or no longer.
	Gone
	// NoEndpoint: this Palette does not know the call.
	NoEndpoint
)

// rule is what the document describes of a call, and what follows from each kind of answer.
type rule struct {
	// status is that of a success.
	status int
	// form tells whether the body of a success has the form that is described; nil for none.
	form func(body []byte) bool
	// sent says how often the call may be sent.
	sent sending
	// bucket is what the call is counted in.
	bucket bucket
	// follows says what follows from the kinds of answers that do not mean the same to all calls.
	follows follows
}

type sending bool

const (
	again sending = false // the call does the same however often it arrives
	// once: the call must not be sent again when it may have arrived, since it makes something
	// that only its answer names, or would be refused the second time.
	once sending = true
)

type follows struct{ refused, unauthorized, notFound, foreign401 Verdict }

// rules are those of all calls, by the endpoint's name. That Palette counts each refusal of a
// login, whatever its 4xx, and that each refusal of a refresh ends the session, are assumptions,
// which cost a try or a login where they are wrong.
var rules = map[string]rule{
	//                                                     Palette's 4xx, 401 and 404; somebody else's 401
	"login":           {200, isToken, once, logins, follows{LoginFailed, LoginFailed, LoginFailed, LoginMayHaveFailed}},
	"system_login":    {200, isToken, once, refreshes, follows{LoginFailed, LoginFailed, LoginFailed, LoginMayHaveFailed}},
	"refresh":         {200, isToken, again, refreshes, follows{SessionOver, SessionOver, SessionOver, Unknown}},
	"revoke":          {204, nil, again, users, follows{NotDone, AuthDead, NoEndpoint, Unknown}},
	"user_info":       {200, isUser, again, users, follows{NotDone, AuthDead, NotDone, Unknown}},
	"change_password": {204, nil, once, users, follows{NotDone, AuthDead, NotDone, Unknown}},
	"create_api_key":  {201, isNewKey, once, newKeys, follows{NotDone, AuthDead, NotDone, Unknown}},
	"update_api_key":  {204, nil, again, apiKeys, follows{NotDone, AuthDead, Gone, Unknown}},
	"delete_api_key":  {204, nil, again, apiKeys, follows{NotDone, AuthDead, Gone, Unknown}},
	"list_api_keys":   {200, isList, again, apiKeys, follows{NotDone, AuthDead, NotDone, Unknown}},
}

// verdict is what follows from an answer of a kind.
func (r rule) verdict(k answerKind) Verdict {
	return [answerKinds]Verdict{
		documented: Done, refused: r.follows.refused, unauthorized: r.follows.unauthorized, notFound: r.follows.notFound,
		faulty: Unknown, tooMany: HeldBack, foreign401: r.follows.foreign401, foreign: Unknown,
	}[k]
}

// errorKinds is what an answer is called in an [Error]; 0 is a success.
var errorKinds = [answerKinds]Kind{
	refused: Rejected, unauthorized: Rejected, notFound: Missing, faulty: Unavailable,
	tooMany: Limited, foreign401: Foreign, foreign: Foreign,
}

// kindOf tells of which kind an answer is.
func (r rule) kindOf(a *reply) answerKind {
	switch {
	case a.status == http.StatusTooManyRequests:
		return tooMany
	case a.status == r.status && (a.streamed || len(a.body) <= maxAnswer && (r.form == nil || r.form(a.body))):
		return documented
	case a.status < 400 || !isError(a.body):
		if a.status == http.StatusUnauthorized {
			return foreign401
		}
		return foreign
	case a.status >= 500 || a.status == http.StatusRequestTimeout:
		return faulty
	case a.status == http.StatusUnauthorized:
		return unauthorized
	case a.status == http.StatusNotFound:
		return notFound
	}
	return refused
}

// fromPalette tells whether an answer shows that Palette has given it. An empty one shows nothing.
func (r rule) fromPalette(a *reply) bool {
	if a.kind == documented {
		return r.form != nil
	}
	return a.status >= 400 && isError(a.body)
}

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
		if json.Unmarshal(f[name], &text) != nil || strings.TrimSpace(printed(text)) == "" {
			return false
		}
	}
	return true
}

// isError is the form of Palette's errors (schema v1Error). Its longest are of a few KiB.
func isError(body []byte) bool {
	return len(body) <= maxAnswer && hasText(fields(body), "code", "message")
}

// isToken is the form of the answer to a login, of a user or a system administrator, and to a refresh
// (schema v1UserToken). Where a second
// factor is wanted the token may be missing (assumption).
func isToken(body []byte) bool {
	f := fields(body)
	var says userToken
	return json.Unmarshal(body, &says) == nil && (hasText(f, "Authorization") || f["isMfa"] != nil && says.IsMFA)
}

// isUser is the form of v1UserInfo. The document requires no field of it, but Palette knows whom it
// has let in: other servers' JSON would pass for a yes.
func isUser(body []byte) bool {
	return hasText(fields(body), "userUid") && json.Unmarshal(body, new(UserInfo)) == nil
}

// isNewKey is the form of v1ApiKeyCreateResponse.
func isNewKey(body []byte) bool { return hasText(fields(body), "apiKey", "uid") }

// isList is the form of v1ApiKeys.
func isList(body []byte) bool { return new(keyPage).read(bytes.NewReader(body)) == nil }

// mediaType is the form of a media type that is safe to show.
var mediaType = regexp.MustCompile(`^[a-z]+/[a-z0-9.+-]{1,40}$`)

// contentOf says what an answer holds that is not Palette's, in words that quote nothing of it.
func contentOf(a *reply) string {
	switch {
	case len(a.body) == 0:
		return "nothing in it"
	case a.overlong:
		return "more than 32 MiB"
	case len(a.body) > maxAnswer:
		return "more than 1 MiB"
	case a.status >= 400 && fields(a.body) != nil:
		return "JSON without Palette's code and message"
	case json.Valid(a.body):
		return "JSON of another form than Palette's"
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || !mediaType.MatchString(kind) {
		kind, _, _ = strings.Cut(http.DetectContentType(a.body), ";")
	}
	return kind
}

// somebody is the cause of an error of kind Foreign: what was seen, and where to look.
func somebody(a *reply, secrets []Secret) string {
	what := contentOf(a)
	if a.status >= 300 && a.status < 400 {
		what = "a redirect" + redirectHost(a, secrets) + ", which is not followed"
	}
	return "this is not Palette's answer (status " + strconv.Itoa(a.status) + ", " + what + "): somebody between Vault and Palette answers; look at the proxy, the gateway and the address"
}
