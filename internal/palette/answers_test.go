package palette

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// asked is each call that there is: what it is called by the stand-in, and how it is made.
var asked = map[string]struct {
	endpoint palettetest.Endpoint
	make     func(*testing.T, *rig, Auth) error
}{
	"login": {palettetest.Login, func(t *testing.T, r *rig, _ Auth) error {
		_, err := r.Login(t.Context(), loginOf(palettetest.DefaultUser))
		return err
	}},
	"system_login": {palettetest.SystemLogin, func(t *testing.T, r *rig, _ Auth) error {
		_, err := r.Login(t.Context(), loginOf(consoleAdmin))
		return err
	}},
	"refresh": {palettetest.Refresh, func(t *testing.T, r *rig, a Auth) error {
		_, err := r.Refresh(t.Context(), a.Token)
		return err
	}},
	"revoke": {palettetest.Revoke, func(t *testing.T, r *rig, a Auth) error { return r.Revoke(t.Context(), a.Token, []Secret{a.Token}) }},
	"user_info": {palettetest.UserInfo, func(t *testing.T, r *rig, a Auth) error {
		_, err := r.UserInfo(t.Context(), a)
		return err
	}},
	"change_password": {palettetest.PasswordChange, func(t *testing.T, r *rig, a Auth) error {
		return r.ChangePassword(t.Context(), a, changeOf(Secret(palettetest.DefaultUser.Password), freshPassword))
	}},
	"create_api_key": {palettetest.APIKeyCreate, func(t *testing.T, r *rig, a Auth) error {
		_, _, err := r.CreateAPIKey(t.Context(), a, NewAPIKey{Name: "k", Expiry: epoch.Add(time.Hour)})
		return err
	}},
	"update_api_key": {palettetest.APIKeyUpdate, func(t *testing.T, r *rig, a Auth) error {
		return r.UpdateAPIKey(t.Context(), a, r.palette.Keys()[0].UID, NewAPIKey{Name: "k", Expiry: epoch.Add(time.Hour)})
	}},
	"delete_api_key": {palettetest.APIKeyDelete, func(t *testing.T, r *rig, a Auth) error {
		return r.DeleteAPIKey(t.Context(), a, r.palette.Keys()[0].UID)
	}},
	"list_api_keys": {palettetest.APIKeyList, func(t *testing.T, r *rig, a Auth) error {
		_, err := r.ListAPIKeys(t.Context(), a)
		return err
	}},
}

// What an answer says, of whom, and what follows for each call: what is not in the last column
// is Unknown.
var answerTable = []struct {
	name     string
	fault    palettetest.Fault
	kind     Kind // 0: a success
	seen     string
	resent   bool // by the calls that may be sent again
	verdicts map[string]Verdict
}{
	{"a success", palettetest.Fault{}, 0, "", false, everywhere(Done, nil)},

	{"Palette's 400", own(400), Rejected, "", false, refusals},
	{"Palette's 403", own(403), Rejected, "", false, refusals},
	{"Palette's 409", own(409), Rejected, "", false, refusals},
	{"Palette's 422", own(422), Rejected, "", false, refusals},
	{"Palette's 401", own(401), Rejected, "", false, everywhere(AuthDead, map[string]Verdict{"login": LoginFailed, "system_login": LoginFailed, "refresh": SessionOver})},
	{"Palette's 404", own(404), Missing, "", false, everywhere(NotDone, map[string]Verdict{
		"login": LoginFailed, "system_login": LoginFailed, "refresh": SessionOver, "revoke": NoEndpoint, "update_api_key": Gone, "delete_api_key": Gone,
	})},
	{"Palette's 408", own(408), Unavailable, "", false, nil},
	{"Palette's 500", own(500), Unavailable, "", false, nil},
	{"Palette's 502", own(502), Unavailable, "", true, nil},
	{"Palette's 503", own(503), Unavailable, "", true, nil},
	{"Palette's 504", own(504), Unavailable, "", true, nil},

	{"Palette's 429", own(429), Limited, "", false, everywhere(HeldBack, nil)},
	{"a gateway's 429", page(429), Limited, "", false, everywhere(HeldBack, nil)},
	{"a 429 with nothing in it", theirs(429, ""), Limited, "", false, everywhere(HeldBack, nil)},

	{"a gateway's 401", page(401), Foreign, "status 401, text/html", false, mayCount},
	{"a 401 with nothing in it", theirs(401, ""), Foreign, "status 401, nothing in it", false, mayCount},
	{"a 401 of JSON without a code", theirs(401, `{"message":"Unauthorized"}`), Foreign, "status 401, JSON without Palette's code and message", false, mayCount},
	{"a 401 of JSON whose code is a number", theirs(401, `{"code":401,"message":"no"}`), Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of JSON whose names differ", theirs(401, `{"Code":"Unauthorized","Message":"no"}`), Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of JSON whose error is inside", theirs(401, `{"error":{"code":"Unauthorized","message":"no"}}`), Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of JSON with empty words", theirs(401, `{"code":" ","message":"no"}`), Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of a JSON list", theirs(401, `[{"code":"a","message":"b"}]`), Foreign, "status 401, JSON of another form", false, mayCount},
	{"a 401 of JSON that breaks off", theirs(401, `{"code":"a","message":"b"`), Foreign, "status 401, text/plain", false, mayCount},
	{"a gateway's 400", page(400), Foreign, "status 400, text/html", false, nil},
	{"a proxy's 403", theirs(403, "Access denied by policy"), Foreign, "status 403, text/plain", false, nil},
	{"a gateway's 404", theirs(404, `{"message":"no Route matched with those values"}`), Foreign, "status 404, JSON without", false, nil},
	{"an ingress's 404", theirs(404, "default backend - 404"), Foreign, "status 404, text/plain", false, nil},
	{"a proxy's 407", page(407), Foreign, "status 407, text/html", false, nil},
	{"a balancer's 408", page(408), Foreign, "status 408, text/html", false, nil},
	{"a page of 500", page(500), Foreign, "status 500, text/html", false, nil},
	{"a balancer's 502", page(502), Foreign, "status 502, text/html", true, nil},
	{"an ingress's 503", theirs(503, ""), Foreign, "status 503, nothing in it", true, nil},
	{"a gateway's 504", theirs(504, `{"message":"Endpoint request timed out"}`), Foreign, "status 504, JSON", true, nil},
	{"a page of 599", page(599), Foreign, "status 599, text/html", false, nil},

	{"a captive portal", page(200), Foreign, "status 200, text/html", false, nil},
	{"a page under another status", page(203), Foreign, "status 203, text/html", false, nil},
	{"nothing", theirs(202, ""), Foreign, "status 202, nothing in it", false, nil},
	{"JSON of somebody", theirs(200, `{"status":"up"}`), Foreign, "status 200, JSON of another form", false, nil},
	{"an error of Palette's form under 200", theirs(200, `{"code":"a","message":"b"}`), Foreign, "status 200, JSON of another form", false, nil},
	{"more than anybody reads", palettetest.Fault{Huge: true}, Foreign, "status 200, more than 1 MiB", false, nil},
	{"a redirect", palettetest.Fault{Redirect: "https://elsewhere.example.com/login?token=Leaky"}, Foreign, "a redirect to elsewhere.example.com, which is not followed", false, nil},
	{"a redirect within", palettetest.Fault{Redirect: "/login", Status: 307}, Foreign, "status 307, a redirect, which is not followed", false, nil},
	{"a content type that tells too much", palettetest.Fault{Foreign: true, Status: 418, Body: "tea", Header: http.Header{"Content-Type": {"text/Leaky token; a=Leaky"}}}, Foreign, "status 418, text/plain", false, nil},
}

var (
	refusals = everywhere(NotDone, map[string]Verdict{"login": LoginFailed, "system_login": LoginFailed, "refresh": SessionOver})
	mayCount = map[string]Verdict{"login": LoginMayHaveFailed, "system_login": LoginMayHaveFailed}
)

// bars are the answers that say that a call is not for the account.
var bars = []string{"Palette's 401", "Palette's 403", "Palette's 404"}

func everywhere(v Verdict, but map[string]Verdict) map[string]Verdict {
	all := map[string]Verdict{}
	for call := range asked {
		all[call] = v
	}
	maps.Copy(all, but)
	return all
}

func own(status int) palettetest.Fault { return palettetest.Fault{Status: status} }

func theirs(status int, body string) palettetest.Fault {
	return palettetest.Fault{Foreign: true, Status: status, Body: body}
}

func page(status int) palettetest.Fault {
	return theirs(status, "<html><body>Leaky: sign in</body></html>")
}

func TestAnswerRulesAreThereForEachCall(t *testing.T) {
	assert.Equal(t, slices.Sorted(slices.Values(Endpoints)), slices.Sorted(maps.Keys(rules)))
	assert.Equal(t, slices.Sorted(maps.Keys(rules)), slices.Sorted(maps.Keys(asked)))
}

// The whole table: each kind of answer to each call.
func TestAnswerSaysWhatFollows(t *testing.T) {
	for _, answer := range answerTable {
		inBubble(t, answer.name, func(t *testing.T) {
			r, auth := answering(t)
			for name, call := range asked {
				if answer.kind == 0 {
					r, auth = answering(t) // the call changes things
				} else {
					r.palette.Inject(call.endpoint, answer.fault)
				}
				before := r.palette.Calls(call.endpoint)
				err := call.make(t, r, auth)
				sent := r.palette.Calls(call.endpoint) - before
				assert.Equal(t, []any{answer.kind, answer.verdicts[name]}, []any{KindOf(err), VerdictOf(err)}, "%s: %v", name, err)
				wanted := 1
				if answer.resent && rules[name].sent == again {
					wanted = 1 + maxRetries
				}
				if answer.kind != Limited {
					assert.Equal(t, wanted, sent, name)
				}
				if err == nil {
					continue
				}
				assert.NotContains(t, err.Error(), "Leaky")
				assert.Contains(t, err.Error(), answer.seen)
				assert.Equal(t, answer.kind == Foreign, strings.Contains(err.Error(), "this is not Palette's answer"), err)
				assert.Equal(t, answer.kind == Rejected || answer.kind == Missing, Refusal(err) != nil)
				assert.Equal(t, slices.Contains(bars, answer.name), Barred(err) != nil, "of the account that makes the call")
			}
			if answer.kind != 0 {
				assert.Equal(t, []int{1, 1}, []int{len(r.palette.LiveTokens()), len(r.palette.LiveKeys())}, "nothing has changed")
			}
		})
	}
}

// answering is a rig with a session and a key.
func answering(t *testing.T) (*rig, Auth) {
	t.Helper()
	r := newRig(t, palettetest.AllowLiveTokens(), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(consoleAdmin))
	auth := r.auth(t)
	r.key(t, auth, "there")
	return r, auth
}

// A success that is none: the status is right, the form is not.
func TestSuccessOfAnotherForm(t *testing.T) {
	for _, c := range []struct{ call, body string }{
		{"login", `{}`},
		{"login", `{"Authorization":""}`},
		{"login", `{"Authorization":7}`},
		{"login", `{"authorization":"t"}`},
		{"login", `"t"`},
		{"login", `{"Authorization":"t","isMfa":"no"}`},
		{"login", `{"isMfa":false}`},
		{"login", `{"Authorization":"\n"}`},
		{"system_login", `{}`},
		{"system_login", `{"IsPasswordReset":true}`},
		{"system_login", `{"Authorization":"t","IsPasswordReset":"Leaky"}`},
		{"refresh", `{"token":"t"}`},
		{"refresh", `null`},
		{"user_info", `{}`},
		{"user_info", `{"userUid":""}`},
		{"user_info", `{"userUid":7}`},
		{"user_info", `{"userUid":"u","orgName":["o"]}`},
		{"user_info", `{"sub":"u"}`},
		{"create_api_key", `{}`},
		{"create_api_key", `{"apiKey":"Leaky"}`},
		{"create_api_key", `{"uid":"u"}`},
		{"create_api_key", `{"apiKey":["Leaky"],"uid":"u"}`},
		{"create_api_key", `{"apiKey":"Leaky","uid":7}`},
		{"list_api_keys", `{}`},
		{"list_api_keys", `[]`},
		{"list_api_keys", `{"items":{}}`},
		{"list_api_keys", `{"items":[{"metadata":{"name":"Leaky"}}]}`},
		{"list_api_keys", `{"items":[null]}`},
		{"list_api_keys", `{"Items":[]}`},
	} {
		inBubble(t, c.call+" "+c.body, func(t *testing.T) {
			r, auth := answering(t)
			r.palette.Inject(asked[c.call].endpoint, palettetest.Fault{Foreign: true, Status: rules[c.call].status, Body: c.body})
			err := asked[c.call].make(t, r, auth)
			require.Equal(t, Foreign, KindOf(err), "%v", err)
			assert.Equal(t, Unknown, VerdictOf(err))
			assert.NotContains(t, err.Error(), "Leaky")
		})
	}
}

func TestVerdictOfWhatGotNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, auth := answering(t)
		for _, fault := range []palettetest.Fault{{Drop: true}, {DropAfter: true}} {
			for name, call := range asked {
				r.palette.Inject(call.endpoint, fault)
				err := call.make(t, r, auth)
				assert.Equal(t, []any{Unreachable, Unknown}, []any{KindOf(err), VerdictOf(err)}, name)
				r.palette.ClearAll()
				if name == "delete_api_key" && len(r.palette.Keys()) == 0 || name == "revoke" || name == "change_password" {
					r, auth = answering(t)
				}
			}
		}
	})
	assert.Equal(t, Done, VerdictOf(nil))
	assert.Equal(t, Unknown, VerdictOf(assert.AnError))
}
