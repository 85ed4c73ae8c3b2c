package palette

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// refused makes the error of an answer that is no success.
func (c *Client) refused(k call, a *reply) *Error {
	e := c.failure(k.op, errorKinds[a.kind], "")
	e.Status, e.Verdict = a.status, rules[k.endpoint].verdict(a.kind)
	var says struct {
		Code, Message, Ref string
		// A made key that comes under another status than 201 is a secret that nobody knows yet.
		APIKey Secret
	}
	_ = json.Unmarshal(a.body, &says) // what is no JSON says nothing
	secrets := append([]Secret{k.auth.Token, k.auth.APIKey, says.APIKey}, k.secrets...)
	switch {
	case e.Kind == Foreign:
		e.Cause = somebody(a, secrets)
		return e
	case e.Kind == Limited:
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), time.Now())
	}
	if isError(a.body) {
		e.Code, e.Message, e.Ref = clean(says.Code, secrets), clean(says.Message, secrets), clean(says.Ref, secrets)
	}
	return e
}

// redirectHost names where a redirect leads. Only the host: its path may hold a token.
func redirectHost(r *reply, secrets []Secret) string {
	to, err := url.Parse(r.header.Get("Location"))
	if err != nil || to.Host == "" {
		return ""
	}
	return " to " + clean(to.Host, secrets)
}

// retryAfter reads the header's two forms, seconds or a date; 0 for neither, and at most
// longestRetryAfter.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int64(longestRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return min(at.Sub(now), longestRetryAfter)
	}
	return 0
}
