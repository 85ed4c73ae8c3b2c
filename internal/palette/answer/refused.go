package answer

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"vault-plugin-secrets-palette/internal/palette/secret"
)

// Error makes the error of an answer that is no success. op and host are the call's. Nothing of the
// error shows one of the secrets.
func (r Rule) Error(op, host string, a *Reply, secrets ...secret.Text) *Error {
	e := &Error{Op: op, Host: host, Kind: a.Kind(), Status: a.Status, Verdict: r.verdict(a.kind)}
	var says struct {
		Code, Message, Ref string
		// A made key that comes under another status than 201 is a secret that nobody knows yet.
		APIKey secret.Text
	}
	_ = json.Unmarshal(a.Body, &says) // what is no JSON says nothing
	secrets = append(secrets, says.APIKey)
	switch {
	case e.Kind == Foreign:
		e.Cause = somebody(a, secrets)
		return e
	case e.Kind == Limited:
		e.RetryAfter = RetryAfter(a.Header.Get("Retry-After"), time.Now())
	}
	if isError(a.Body) {
		e.Code, e.Message, e.Ref = secret.Clean(says.Code, secrets), secret.Clean(says.Message, secrets), secret.Clean(says.Ref, secrets)
	}
	return e
}

// somebody is the cause of an error of kind Foreign: what was seen, and where to look.
func somebody(a *Reply, secrets []secret.Text) string {
	what := contentOf(a)
	if a.Status >= 300 && a.Status < 400 {
		what = "a redirect" + redirectHost(a, secrets) + ", which is not followed"
	}
	return "this is not Palette's answer (status " + strconv.Itoa(a.Status) + ", " + what + "): somebody between Vault and Palette answers; look at the proxy, the gateway and the address"
}

// redirectHost names where a redirect leads. Only the host: its path may hold a token.
func redirectHost(a *Reply, secrets []secret.Text) string {
	to, err := url.Parse(a.Header.Get("Location"))
	if err != nil || to.Host == "" {
		return ""
	}
	return " to " + secret.Clean(to.Host, secrets)
}

// LongestRetryAfter bounds a Retry-After. A number of seconds that does not fit into a Duration would
// become a negative pause: the call would go out at once, over and over.
const LongestRetryAfter = 365 * 24 * time.Hour

// RetryAfter reads the header's two forms, seconds or a date; 0 for neither, and at most
// LongestRetryAfter.
func RetryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int64(LongestRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return min(at.Sub(now), LongestRetryAfter)
	}
	return 0
}
