package answer

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palette/secret"
)

// jwtOf is a token of Palette's form.
func jwtOf(header, claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(header)) + "." + part([]byte(claims)) + "." + part([]byte("sig"))
}

// loginAnswer is what Palette answers to a login.
func loginAnswer(token string) string {
	text, _ := json.Marshal(map[string]any{"Authorization": token, "isMfa": false}) // a string always can be
	return string(text)
}

// FuzzToken reads tokens out of the answers to a login: a JWT of a header and claims, or
// whatever the answer holds.
func FuzzToken(f *testing.F) {
	const hs = `{"alg":"HS256"}`
	for _, claims := range []string{
		`{"iat":1772366400,"exp":1772367300}`, `{"exp":1772366460}`, `{"iat":1000,"exp":900}`, `{"iat":1000,"exp":1000.9}`,
		`{"exp":4611686018427387903}`, `{"iat":-4611686018427387000,"exp":4611686018427387000}`, `{"exp":1e300}`,
		`{"exp":"later"}`, `{"exp":null,"iat":null}`, `{"exp":[1]}`, `later`, ``,
	} {
		f.Add(hs, claims, "")
	}
	for _, answer := range []string{
		loginAnswer(jwtOf(`{"alg":"none"}`, `{}`)), loginAnswer(jwtOf(`{"alg":"HS256","crit":["exp"],"b64":false}`, `{}`)), loginAnswer("opaque"), loginAnswer("two words"), loginAnswer("a\r\nHeader: b"), loginAnswer(""), loginAnswer(strings.Repeat("a", maxTokenLength+1)),
		`{"Authorization":"opaque","isMfa":true}`, `{"Authorization":["a-token-in-a-list"]}`, `"a-token-alone"`, `null`, `[]`, `<html>`,
	} {
		f.Add("", "", answer)
	}
	f.Fuzz(func(t *testing.T, header, claims, body string) {
		if body == "" {
			body = loginAnswer(jwtOf(header, claims))
		}
		if !isToken([]byte(body)) {
			return // nobody reads a token out of it
		}
		token, err := ReadToken("log in", "palette.example.com:443", &Reply{Body: []byte(body), Sent: epoch}, 0)
		if err != nil {
			assert.Empty(t, token, "beside an error")
			assertOwnWords(t, err.Error(), body)
			return
		}
		assert.Positive(t, token.Life)
		assert.Equal(t, epoch.Add(token.Life), token.ExpiresAt)
		_, err = json.Marshal(token.ExpiresAt)
		require.NoError(t, err, "a lease must be able to keep it")
		_, err = http.NewRequestWithContext(t.Context(), http.MethodGet, "https://palette.example.com/"+url.PathEscape(token.Raw.Reveal()), nil)
		require.NoError(t, err)
		assert.Empty(t, Unusable("token", token.Raw))
	})
}

// assertOwnWords checks that a text has nothing of an answer's, beside short words that
// anything may have.
func assertOwnWords(t *testing.T, text, body string) {
	t.Helper()
	const telling = 24
	for at := 0; at+telling <= len(body); at++ {
		if strings.Contains(text, body[at:at+telling]) {
			t.Fatalf("the error quotes the answer: %q", body[at:at+telling])
		}
	}
}

// refusal is a body of Palette's own.
func refusal(code, message, ref string) string {
	text, _ := json.Marshal(map[string]any{"code": code, "message": message, "ref": ref, "details": nil})
	return string(text)
}

// FuzzErrorBody makes errors of answers that are no success, some of which give back what
// was sent.
func FuzzErrorBody(f *testing.F) {
	const password = `Pass <word> "7"/é`
	token := jwtOf(`{"alg":"HS256"}`, `{"exp":1772367300}`)
	for _, text := range []string{
		"plain", password, "a " + password + " b", token, "Bearer " + token + ".", url.QueryEscape(password), url.PathEscape(token),
		"line\r\nbreak\x00\x1b[31m", "\u0085\u009b31m", "\u202egnp.exe\u2066", "Pass\n<word>\t\"7\"/é", strings.Repeat("long ", 1000),
		strings.Repeat("x", secret.MaxLength-5) + password, strings.Repeat("é", secret.MaxLength),
	} {
		f.Add(400, refusal(text, text, text), "", "https://"+text+".example.com/", password, token)
	}
	for _, status := range []int{201, 204, 301, 302, 401, 403, 404, 408, 429, 500, 503, 999} {
		f.Add(status, refusal("Code", "Message", "Ref"), "120", "https://other.example.com/"+token, password, token)
		f.Add(status, "<html>"+password+"</html>", "", "", password, token)
	}
	for _, body := range []string{``, `null`, `[]`, `{}`, `{"code":7}`, `{"message":{"a":1}}`, `{"apiKey":"a-key-that-was-made","message":"a-key-that-was-made"}`} {
		f.Add(500, body, "", "", password, token)
	}
	f.Fuzz(func(t *testing.T, status int, body, retryAfter, location, password, token string) {
		password, token = asJSONBrings(password), asJSONBrings(token)
		if status < 100 || status > 999 || len(password) < 8 || len(token) < 8 {
			return // no answer, or no secrets, of which others' words may be full
		}
		r := &Reply{Status: status, Header: http.Header{"Retry-After": {retryAfter}, "Location": {location}}, Body: []byte(body)}
		rule := RuleOf("login")
		if rule.Judge(r) == 0 {
			assert.True(t, status == http.StatusOK && isToken(r.Body))
			return
		}
		e := rule.Error("log in", "palette.example.com:443", r, secret.Text(token), secret.Text(password))
		assertKind(t, status, body, e)
		for name, text := range map[string]string{"code": e.Code, "message": e.Message, "ref": e.Ref, "cause": e.Cause} {
			assert.LessOrEqual(t, len(text), 2*secret.MaxLength, name)
			assert.Equal(t, -1, strings.IndexFunc(text, unprintable), "the %s has control characters: %q", name, text)
			theirs := text
			if name == "cause" { // of which most is ours
				_, theirs, _ = strings.Cut(text, "a redirect to ")
				theirs, _, _ = strings.Cut(theirs, ", which is not followed")
			}
			theirs = strings.TrimSuffix(theirs, "…") // ours too, and a secret can end with it
			for _, part := range strings.Split(theirs, secret.Redacted) {
				assert.NotContains(t, part, password, name)
				assert.NotContains(t, part, token, name)
				assert.NotRegexp(t, `eyJ[A-Za-z0-9_-]`, part, name)
			}
		}
		assert.LessOrEqual(t, len(e.Error()), 16*secret.MaxLength)
	})
}

// asJSONBrings is a secret as it reaches the client, from Vault and from Palette: JSON has
// no half characters.
func asJSONBrings(secret string) string { return string([]rune(secret)) }

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// assertKind checks what must hold of an answer's kind, whatever else is in it: only what has
// Palette's form is Palette's word, and from nothing else does anything follow.
func assertKind(t *testing.T, status int, body string, e *Error) {
	t.Helper()
	says := e.PaletteSays() != ""
	assert.True(t, !says || strings.Contains(body, `"`), "words of nobody")
	switch e.Kind {
	case Rejected:
		assert.True(t, status >= 400 && status < 500 && says, "status %d", status)
	case Unavailable:
		assert.True(t, (status >= 500 || status == http.StatusRequestTimeout) && says, "status %d", status)
	case Limited:
		assert.Equal(t, http.StatusTooManyRequests, status)
	case Missing:
		assert.True(t, status == http.StatusNotFound && says, "status %d", status)
	case Foreign:
		assert.False(t, says)
		assert.Contains(t, e.Cause, "somebody between Vault and Palette answers")
		assert.Equal(t, status == http.StatusUnauthorized, e.Verdict == LoginMayHaveFailed)
	default:
		t.Errorf("status %d is of no kind", status)
	}
	assert.Equal(t, e.Kind == Rejected || e.Kind == Missing, e.Verdict == LoginFailed)
}

// FuzzRetryAfter holds an address back for as long as a header says.
func FuzzRetryAfter(f *testing.F) {
	for _, header := range []string{
		"", "0", "-1", "7", "+7", "07", "1.5", "1e9", "31536000", "9223372036", "9223372037", "9223372036854775807", "99999999999999999999", "soon",
		epoch.Add(time.Minute).Format(http.TimeFormat), epoch.Add(-time.Minute).Format(http.TimeFormat), "Fri, 31 Dec 9999 23:59:59 GMT", "Sun Nov  6 08:49:37 1994",
	} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		pause := RetryAfter(header, epoch)
		assert.GreaterOrEqual(t, pause, time.Duration(0))
		assert.LessOrEqual(t, pause, LongestRetryAfter)

		bucket := ratelimit.NewAddress().Bucket("r")
		bucket.Limited(pause, time.Now())
		require.Error(t, bucket.Wait(t.Context(), time.Now().Add(time.Millisecond/2)), "a 429 always holds back")
		require.NoError(t, bucket.Expect(0, time.Now().Add(ratelimit.LongestHold)), "and not for ever")
	})
}
