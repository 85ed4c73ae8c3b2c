package palette

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// said is what an answer that is no success says of itself (schema v1Error).
type said struct {
	Code, Message, Ref string
	// A made key that comes under another status than 201 is a secret that nobody knows yet.
	APIKey Secret
}

// hear reads such an answer. It is Palette's own where it has a code or a message; one of
// which nothing prints says nothing.
func hear(body []byte) (says said, palettes bool) {
	isJSON := json.Unmarshal(body, &says) == nil
	return says, isJSON && clean(says.Code, nil)+clean(says.Message, nil) != ""
}

// kindOf tells what an answer means that is no success.
func kindOf(status int, palettes bool) Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return Limited
	case status >= 500 || status == http.StatusRequestTimeout:
		return Unavailable
	case status == http.StatusNotFound:
		return Missing
	case status == http.StatusUnauthorized, status >= 400 && palettes:
		return Rejected
	}
	return Malformed
}

// refused makes the error of an answer that is no success.
func (c *Client) refused(k call, r *reply) *Error {
	says, palettes := hear(r.body)
	status := r.status
	e := c.failure(k.op, kindOf(status, palettes), "")
	e.Status = status
	secrets := append([]Secret{k.auth.Token, k.auth.APIKey, says.APIKey}, k.secrets...)
	if palettes {
		e.Code, e.Message, e.Ref = clean(says.Code, secrets), clean(says.Message, secrets), clean(says.Ref, secrets)
	}
	switch {
	case e.Kind == Limited:
		e.RetryAfter = retryAfter(r.header.Get("Retry-After"), time.Now())
	case e.Kind != Malformed:
	case status >= 400:
		e.Cause = "the answer is not Palette's (no JSON error)"
	case status >= 300:
		e.Cause = "a redirect" + redirectHost(r, secrets) + ", which is not followed (is the address right?)"
	default:
		e.Cause = "the answer is not Palette's, which is " + strconv.Itoa(k.want)
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
