package answer_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// asked is each call that there is: what it is called by the stand-in, and how it is made.
var asked = map[string]struct {
	endpoint palettetest.Endpoint
	make     func(*testing.T, *wiretest.Rig, palette.Auth) error
}{
	"login": {palettetest.Login, func(t *testing.T, r *wiretest.Rig, _ palette.Auth) error {
		_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.DefaultUser))
		return err
	}},
	"system_login": {palettetest.SystemLogin, func(t *testing.T, r *wiretest.Rig, _ palette.Auth) error {
		_, err := r.Login(t.Context(), wiretest.LoginOf(palettetest.Console))
		return err
	}},
	"refresh": {palettetest.Refresh, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		_, err := r.Refresh(t.Context(), a.Token)
		return err
	}},
	"revoke": {palettetest.Revoke, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		return r.Revoke(t.Context(), a.Token, []palette.Secret{a.Token})
	}},
	"user_info": {palettetest.UserInfo, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		_, err := r.UserInfo(t.Context(), a)
		return err
	}},
	"change_password": {palettetest.PasswordChange, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		return r.ChangePassword(t.Context(), a, palette.PasswordChange{Email: palettetest.DefaultUser.Email, Current: palette.Secret(palettetest.DefaultUser.Password), New: "Brand-New-9-Password"})
	}},
	"create_api_key": {palettetest.APIKeyCreate, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		_, _, err := r.CreateAPIKey(t.Context(), a, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(time.Hour)})
		return err
	}},
	"update_api_key": {palettetest.APIKeyUpdate, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		return r.UpdateAPIKey(t.Context(), a, r.Palette.Keys()[0].UID, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(time.Hour)})
	}},
	"delete_api_key": {palettetest.APIKeyDelete, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		return r.DeleteAPIKey(t.Context(), a, r.Palette.Keys()[0].UID)
	}},
	"list_api_keys": {palettetest.APIKeyList, func(t *testing.T, r *wiretest.Rig, a palette.Auth) error {
		_, err := r.ListAPIKeys(t.Context(), a)
		return err
	}},
}

// What an answer says, of whom, and what follows for each call: what is not in the last column
// is Unknown.
var answerTable = []struct {
	name     string
	fault    palettetest.Fault
	kind     answer.Kind // 0: a success
	seen     string
	resent   bool // by the calls that may be sent again
	verdicts map[string]answer.Verdict
}{
	{"a success", palettetest.Fault{}, 0, "", false, everywhere(answer.Done, nil)},

	{"Palette's 400", wiretest.Own(400), answer.Rejected, "", false, refusals},
	{"Palette's 403", wiretest.Own(403), answer.Rejected, "", false, refusals},
	{"Palette's 409", wiretest.Own(409), answer.Rejected, "", false, refusals},
	{"Palette's 422", wiretest.Own(422), answer.Rejected, "", false, refusals},
	{"Palette's 401", wiretest.Own(401), answer.Rejected, "", false, everywhere(answer.AuthDead, map[string]answer.Verdict{"login": answer.LoginFailed, "system_login": answer.LoginFailed, "refresh": answer.SessionOver})},
	{"Palette's 404", wiretest.Own(404), answer.Missing, "", false, everywhere(answer.NotDone, map[string]answer.Verdict{
		"login": answer.LoginFailed, "system_login": answer.LoginFailed, "refresh": answer.SessionOver, "revoke": answer.NoEndpoint, "update_api_key": answer.Gone, "delete_api_key": answer.Gone,
	})},
	{"Palette's 408", wiretest.Own(408), answer.Unavailable, "", false, nil},
	{"Palette's 500", wiretest.Own(500), answer.Unavailable, "", false, nil},
	{"Palette's 502", wiretest.Own(502), answer.Unavailable, "", true, nil},
	{"Palette's 503", wiretest.Own(503), answer.Unavailable, "", true, nil},
	{"Palette's 504", wiretest.Own(504), answer.Unavailable, "", true, nil},

	{"Palette's 429", wiretest.Own(429), answer.Limited, "", false, everywhere(answer.HeldBack, nil)},
	{"a gateway's 429", wiretest.Page(429), answer.Limited, "", false, everywhere(answer.HeldBack, nil)},
	{"a 429 with nothing in it", wiretest.Theirs(429, ""), answer.Limited, "", false, everywhere(answer.HeldBack, nil)},

	{"a gateway's 401", wiretest.Page(401), answer.Foreign, "status 401, text/html", false, mayCount},
	{"a 401 with nothing in it", wiretest.Theirs(401, ""), answer.Foreign, "status 401, nothing in it", false, mayCount},
	{"a 401 of JSON without a code", wiretest.Theirs(401, `{"message":"Unauthorized"}`), answer.Foreign, "status 401, JSON without Palette's code and message", false, mayCount},
	{"a 401 of JSON whose code is a number", wiretest.Theirs(401, `{"code":401,"message":"no"}`), answer.Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of JSON whose names differ", wiretest.Theirs(401, `{"Code":"Unauthorized","Message":"no"}`), answer.Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of JSON whose error is inside", wiretest.Theirs(401, `{"error":{"code":"Unauthorized","message":"no"}}`), answer.Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of JSON with empty words", wiretest.Theirs(401, `{"code":" ","message":"no"}`), answer.Foreign, "JSON without Palette's", false, mayCount},
	{"a 401 of a JSON list", wiretest.Theirs(401, `[{"code":"a","message":"b"}]`), answer.Foreign, "status 401, JSON of another form", false, mayCount},
	{"a 401 of JSON that breaks off", wiretest.Theirs(401, `{"code":"a","message":"b"`), answer.Foreign, "status 401, text/plain", false, mayCount},
	{"a gateway's 400", wiretest.Page(400), answer.Foreign, "status 400, text/html", false, nil},
	{"a proxy's 403", wiretest.Theirs(403, "Access denied by policy"), answer.Foreign, "status 403, text/plain", false, nil},
	{"a gateway's 404", wiretest.Theirs(404, `{"message":"no Route matched with those values"}`), answer.Foreign, "status 404, JSON without", false, nil},
	{"an ingress's 404", wiretest.Theirs(404, "default backend - 404"), answer.Foreign, "status 404, text/plain", false, nil},
	{"a proxy's 407", wiretest.Page(407), answer.Foreign, "status 407, text/html", false, nil},
	{"a balancer's 408", wiretest.Page(408), answer.Foreign, "status 408, text/html", false, nil},
	{"a page of 500", wiretest.Page(500), answer.Foreign, "status 500, text/html", false, nil},
	{"a balancer's 502", wiretest.Page(502), answer.Foreign, "status 502, text/html", true, nil},
	{"an ingress's 503", wiretest.Theirs(503, ""), answer.Foreign, "status 503, nothing in it", true, nil},
	{"a gateway's 504", wiretest.Theirs(504, `{"message":"Endpoint request timed out"}`), answer.Foreign, "status 504, JSON", true, nil},
	{"a page of 599", wiretest.Page(599), answer.Foreign, "status 599, text/html", false, nil},

	{"a captive portal", wiretest.Page(200), answer.Foreign, "status 200, text/html", false, nil},
	{"a page under another status", wiretest.Page(203), answer.Foreign, "status 203, text/html", false, nil},
	{"nothing", wiretest.Theirs(202, ""), answer.Foreign, "status 202, nothing in it", false, nil},
	{"JSON of somebody", wiretest.Theirs(200, `{"status":"up"}`), answer.Foreign, "status 200, JSON of another form", false, nil},
	{"an error of Palette's form under 200", wiretest.Theirs(200, `{"code":"a","message":"b"}`), answer.Foreign, "status 200, JSON of another form", false, nil},
	{"more than anybody reads", palettetest.Fault{Huge: true}, answer.Foreign, "status 200, more than 1 MiB", false, nil},
	{"a redirect", palettetest.Fault{Redirect: "https://elsewhere.example.com/login?token=Leaky"}, answer.Foreign, "a redirect to elsewhere.example.com, which is not followed", false, nil},
	{"a redirect within", palettetest.Fault{Redirect: "/login", Status: 307}, answer.Foreign, "status 307, a redirect, which is not followed", false, nil},
	{"a content type that tells too much", palettetest.Fault{Foreign: true, Status: 418, Body: "tea", Header: http.Header{"Content-Type": {"text/Leaky token; a=Leaky"}}}, answer.Foreign, "status 418, text/plain", false, nil},
}

var (
	refusals = everywhere(answer.NotDone, map[string]answer.Verdict{"login": answer.LoginFailed, "system_login": answer.LoginFailed, "refresh": answer.SessionOver})
	mayCount = map[string]answer.Verdict{"login": answer.LoginMayHaveFailed, "system_login": answer.LoginMayHaveFailed}
)

// bars are the answers that say that a call is not for the account.
var bars = []string{"Palette's 401", "Palette's 403", "Palette's 404"}

func everywhere(v answer.Verdict, but map[string]answer.Verdict) map[string]answer.Verdict {
	all := map[string]answer.Verdict{}
	for call := range asked {
		all[call] = v
	}
	maps.Copy(all, but)
	return all
}

func TestAnswerRulesAreThereForEachCall(t *testing.T) {
	assert.Equal(t, slices.Sorted(slices.Values(answer.Endpoints)), slices.Sorted(maps.Keys(asked)))
	for name := range asked {
		assert.NotZero(t, answer.RuleOf(name).Status, name)
	}
}

// The whole table: each kind of answer to each call.
func TestAnswerSaysWhatFollows(t *testing.T) {
	for _, row := range answerTable {
		wiretest.InBubble(t, row.name, func(t *testing.T) {
			r, auth := wiretest.WithKey(t)
			for name, call := range asked {
				if row.kind == 0 {
					r, auth = wiretest.WithKey(t) // the call changes things
				} else {
					r.Palette.Inject(call.endpoint, row.fault)
				}
				before := r.Palette.Calls(call.endpoint)
				err := call.make(t, r, auth)
				sent := r.Palette.Calls(call.endpoint) - before
				assert.Equal(t, []any{row.kind, row.verdicts[name]}, []any{answer.KindOf(err), answer.VerdictOf(err)}, "%s: %v", name, err)
				wanted := 1
				if row.resent && answer.RuleOf(name).Sent != answer.Once {
					wanted = 4
				}
				if row.kind != answer.Limited {
					assert.Equal(t, wanted, sent, name)
				}
				if err == nil {
					continue
				}
				assert.NotContains(t, err.Error(), "Leaky")
				assert.Contains(t, err.Error(), row.seen)
				assert.Equal(t, row.kind == answer.Foreign, strings.Contains(err.Error(), "this is not Palette's answer"), err)
				assert.Equal(t, row.kind == answer.Rejected || row.kind == answer.Missing, answer.Refusal(err) != nil)
				assert.Equal(t, slices.Contains(bars, row.name), answer.Barred(err) != nil, "of the account that makes the call")
			}
			if row.kind != 0 {
				assert.Equal(t, []int{1, 1}, []int{len(r.Palette.LiveTokens()), len(r.Palette.LiveKeys())}, "nothing has changed")
			}
		})
	}
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
		wiretest.InBubble(t, c.call+" "+c.body, func(t *testing.T) {
			r, auth := wiretest.WithKey(t)
			r.Palette.Inject(asked[c.call].endpoint, palettetest.Fault{Foreign: true, Status: answer.RuleOf(c.call).Status, Body: c.body})
			err := asked[c.call].make(t, r, auth)
			require.Equal(t, answer.Foreign, answer.KindOf(err), "%v", err)
			assert.Equal(t, answer.Unknown, answer.VerdictOf(err))
			assert.NotContains(t, err.Error(), "Leaky")
		})
	}
}

func TestVerdictOfWhatGotNoAnswer(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, auth := wiretest.WithKey(t)
		for _, fault := range []palettetest.Fault{{Drop: true}, {DropAfter: true}} {
			for name, call := range asked {
				r.Palette.Inject(call.endpoint, fault)
				err := call.make(t, r, auth)
				assert.Equal(t, []any{answer.Unreachable, answer.Unknown}, []any{answer.KindOf(err), answer.VerdictOf(err)}, name)
				r.Palette.ClearAll()
				if name == "delete_api_key" && len(r.Palette.Keys()) == 0 || name == "revoke" || name == "change_password" {
					r, auth = wiretest.WithKey(t)
				}
			}
		}
	})
	assert.Equal(t, answer.Done, answer.VerdictOf(nil))
	assert.Equal(t, answer.Unknown, answer.VerdictOf(assert.AnError))
}
