// Package palette is the wire client for Spectro Cloud's Palette: HTTP and JSON. It
// knows nothing of Vault. Facts about the API are of Palette's published OpenAPI
// document, release 4.8.
package palette

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jonboulle/clockwork"
)

// maxAnswer bounds the answer that is read, in bytes. Real ones are a few KiB.
const maxAnswer = 1 << 20

// Client calls one Palette. It is safe for use by many goroutines and keeps its
// connections for reuse.
type Client struct {
	conn      Connection
	host      string
	http      *http.Client
	clock     clockwork.Clock
	userAgent string
}

// New makes a client. It sends nothing. Errors are *[FieldError].
func New(conn Connection, clock clockwork.Clock, userAgent string) (*Client, error) {
	transport, err := conn.transport()
	if err != nil {
		return nil, err
	}
	return &Client{
		conn: conn, host: conn.hostPort(), clock: clock, userAgent: userAgent,
		http: &http.Client{
			Transport: transport,
			// A redirect is an answer, never followed: it could carry the password or the
			// token to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close closes the idle connections. Calls under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request to Palette.
type call struct {
	// op is what the call does, as a verb, for messages.
	op           string
	method, path string
	query        url.Values
	// auth is the authorization token, empty for a login.
	auth Secret
	body any
	// secrets are those that the call sends beside auth; no error may hold them.
	secrets []Secret
}

// failure starts the error of this call.
func (c *Client) failure(op string, kind Kind, cause string) *Error {
	return &Error{Op: op, Host: c.host, Kind: kind, Cause: cause}
}

// answer is the body of a 2xx answer, and when its request was sent.
type answer struct {
	body []byte
	sent time.Time
}

// do sends a call and returns the answer where it is a success. Errors are *[Error].
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	// By the injected clock, so that a test need not wait for it.
	timed, cancel := WithTimeout(ctx, c.clock, c.conn.RequestTimeout)
	defer cancel()
	req, err := c.request(timed, k)
	if err != nil {
		return answer{}, err
	}
	sent := c.clock.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, c.noAnswer(ctx, timed, k, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, c.noAnswer(ctx, timed, k, err)
	}
	if len(body) > maxAnswer {
		return answer{}, c.failure(k.op, Malformed, "the answer is larger than 1 MiB")
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return answer{}, c.refused(k, resp, body)
	}
	return answer{body, sent}, nil
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	var body io.Reader
	if k.body != nil {
		text, err := json.Marshal(k.body)
		if err != nil {
			return nil, c.failure(k.op, Malformed, "the request could not be encoded")
		}
		body = bytes.NewReader(text)
	}
	target := c.conn.Address + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, c.failure(k.op, Malformed, "the request could not be made")
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "application/json")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.auth != "" {
		req.Header.Set("Authorization", k.auth.Reveal()) // no "Bearer": Palette's form
	}
	return req, nil
}

// noAnswer makes the error of a call that got no whole answer. The caller's context
// and the call's own time-out look the same to net/http, so both are asked.
func (c *Client) noAnswer(caller, timed context.Context, k call, err error) *Error {
	e := c.failure(k.op, Unreachable, cause(err))
	switch {
	case caller.Err() != nil:
		e.ctxErr = caller.Err()
		e.Cause = cause(e.ctxErr)
	case timed.Err() != nil:
		e.Cause = "no answer within " + c.conn.RequestTimeout.String() + " (request_timeout)"
	}
	return e
}

// refused makes the error of an answer that is no success.
func (c *Client) refused(k call, resp *http.Response, body []byte) *Error {
	e := c.failure(k.op, Malformed, "")
	e.Status = resp.StatusCode
	var says struct{ Code, Message, Ref string }
	isJSON := json.Unmarshal(body, &says) == nil && (says.Code != "" || says.Message != "")
	if isJSON {
		secrets := append([]Secret{k.auth}, k.secrets...)
		e.Code, e.Message, e.Ref = clean(says.Code, secrets), clean(says.Message, secrets), clean(says.Ref, secrets)
	}
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests:
		e.Kind, e.RetryAfter = Limited, retryAfter(resp.Header.Get("Retry-After"), c.clock.Now())
	case status >= 500 || status == http.StatusRequestTimeout:
		e.Kind = Unavailable
	case status == http.StatusNotFound:
		e.Kind = Missing
	case status == http.StatusUnauthorized, status >= 400 && isJSON:
		e.Kind = Rejected
	case status >= 300 && status < 400:
		e.Cause = "a redirect" + redirectHost(resp) + ", which is not followed (is the address right?)"
	default:
		e.Cause = "the answer is not Palette's (no JSON error)"
	}
	return e
}

// redirectHost names where a redirect leads. Only the host: its path may hold a token.
func redirectHost(resp *http.Response) string {
	to, err := resp.Location()
	if err != nil || to.Host == "" {
		return ""
	}
	return " to " + clean(to.Host, nil)
}

// retryAfter reads the header's two forms, seconds or a date; 0 for neither.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// decode reads a JSON answer. Errors are *[Error] and never quote the answer.
func (c *Client) decode(op string, a answer, into any) error {
	err := json.Unmarshal(a.body, into)
	var otherForm *json.UnmarshalTypeError
	switch {
	case errors.As(err, &otherForm):
		return c.failure(op, Malformed, "the answer is JSON of another form than Palette's")
	case err != nil:
		return c.failure(op, Malformed, "the answer is no JSON")
	}
	return nil
}
