// Package answer says whose word an answer is, and what follows from it.
//
// Promise: a success is what Palette's OpenAPI document describes: the status, and the form. An error is
// Palette's if it is a JSON object with non-empty strings code and message (schema v1Error). Everything
// else comes from somebody in between, such as a proxy, a gateway or a captive portal, or from another
// server (public reports). Nothing follows from such an answer. A 429 needs no form, since whoever
// answers it has passed nothing on. All of the engine goes by one table, [RuleOf].
//
// State: none.
package answer

import (
	"net/http"
	"time"
)

// MaxBody bounds the answer that is read, in bytes. Real ones are a few KiB. A list may have [MaxList].
const MaxBody = 1 << 20

// Reply is an answer as it came. Its body is at most MaxBody+1 bytes long.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	// Sent is when the request was sent that it answers.
	Sent time.Time
	// Streamed: the call has read a success that is longer than Body. Overlong: it is longer than that.
	Streamed, Overlong bool
	kind               answerKind
}

// Kind is what the answer is called in an [Error], 0 for a success. [Rule.Judge] has found it.
func (a *Reply) Kind() Kind { return errorKinds[a.kind] }

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

// Rule is what the document describes of a call, and what follows from each kind of answer.
type Rule struct {
	// Status is that of a success.
	Status int
	// form tells whether the body of a success has the form that is described; nil for none.
	form func(body []byte) bool
	// Sent says how often the call may be sent.
	Sent Sending
	// Bucket is what the call is counted in.
	Bucket Bucket
	// follows says what follows from the kinds of answers that do not mean the same to all calls.
	follows follows
}

// Sending is how often a call may be sent.
type Sending bool

const (
	again Sending = false // the call does the same however often it arrives
	// Once: the call must not be sent again when it may have arrived. It makes something that only its
	// answer names, or Palette would refuse it the second time.
	Once Sending = true
)

type follows struct{ refused, unauthorized, notFound, foreign401 Verdict }

// rules are those of all calls, by the endpoint's name. Two assumptions: Palette counts each refusal of a
// login, whatever its 4xx, and each refusal of a refresh ends the session. Where one is wrong, it costs a
// try or a login.
var rules = map[string]Rule{
	//                                                     Palette's 4xx, 401 and 404; somebody else's 401
	"login":           {200, isToken, Once, logins, follows{LoginFailed, LoginFailed, LoginFailed, LoginMayHaveFailed}},
	"system_login":    {200, isToken, Once, refreshes, follows{LoginFailed, LoginFailed, LoginFailed, LoginMayHaveFailed}},
	"refresh":         {200, isToken, again, refreshes, follows{SessionOver, SessionOver, SessionOver, Unknown}},
	"revoke":          {204, nil, again, users, follows{NotDone, AuthDead, NoEndpoint, Unknown}},
	"user_info":       {200, isUser, again, users, follows{NotDone, AuthDead, NotDone, Unknown}},
	"change_password": {204, nil, Once, users, follows{NotDone, AuthDead, NotDone, Unknown}},
	"create_api_key":  {201, isNewKey, Once, newKeys, follows{NotDone, AuthDead, NotDone, Unknown}},
	"update_api_key":  {204, nil, again, apiKeys, follows{NotDone, AuthDead, Gone, Unknown}},
	"delete_api_key":  {204, nil, again, apiKeys, follows{NotDone, AuthDead, Gone, Unknown}},
	"list_api_keys":   {200, isList, again, apiKeys, follows{NotDone, AuthDead, NotDone, Unknown}},
}

// RuleOf is the rule of an endpoint.
func RuleOf(endpoint string) Rule { return rules[endpoint] }

// verdict is what follows from an answer of a kind.
func (r Rule) verdict(k answerKind) Verdict {
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

// Judge finds the kind of an answer.
func (r Rule) Judge(a *Reply) Kind {
	a.kind = r.kindOf(a)
	return a.Kind()
}

// kindOf tells of which kind an answer is.
func (r Rule) kindOf(a *Reply) answerKind {
	switch {
	case a.Status == http.StatusTooManyRequests:
		return tooMany
	case a.Status == r.Status && (a.Streamed || len(a.Body) <= MaxBody && (r.form == nil || r.form(a.Body))):
		return documented
	case a.Status < 400 || !isError(a.Body):
		if a.Status == http.StatusUnauthorized {
			return foreign401
		}
		return foreign
	case a.Status >= 500 || a.Status == http.StatusRequestTimeout:
		return faulty
	case a.Status == http.StatusUnauthorized:
		return unauthorized
	case a.Status == http.StatusNotFound:
		return notFound
	}
	return refused
}

// FromPalette tells whether an answer shows that Palette has given it. An empty one shows nothing.
func (r Rule) FromPalette(a *Reply) bool {
	if a.kind == documented {
		return r.form != nil
	}
	return a.Status >= 400 && isError(a.Body)
}
