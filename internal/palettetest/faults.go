package palettetest

import (
	"net/http"
	"strings"
	"time"
)

// Fault is what goes wrong at an endpoint. Status, Body, Foreign, Garbage, Huge, Redirect and Drop keep the call from its
// work; the others let it work and spoil the answer.
type Fault struct {
	// Status is answered with Body, or with an error of Palette's form where Body is empty.
	Status int
	// Header is added to the answer.
	Header http.Header
	Body   string
	// Foreign answers Status (200 where it is 0) and Body as they stand, also an empty body, in the place of whoever stands
	// between the engine and Palette. Its Date is the machine's time, its content type what Header says or the body looks
	// like.
	Foreign bool
	// AfterWork lets the call do its work before such an answer, or one of Status and Body, hides what came of it.
	AfterWork bool
	// RetryAfter is the header of that name, as it stands.
	RetryAfter string
	// Delay holds the call up before its work, by the stand-in's clock.
	Delay time.Duration
	// Drop closes the connection without an answer and without the work. Note that Go's client sends a GET once more
	// by itself when that happens on a connection that it had used before.
	Drop bool
	// DropAfter does the work and then drops the connection: the answer is lost on the way.
	DropAfter bool
	// Garbage answers HTML, with 200 unless Status is set, as a proxy in between does.
	Garbage bool
	// Huge answers valid JSON of more than 1 MiB, with 200 unless Status is set.
	Huge bool
	// MFA makes a login or refresh answer isMfa and a token that opens nothing.
	MFA bool
	// NoToken makes a login or refresh answer without a token; none is issued.
	NoToken bool
	// Expired makes a login or refresh answer a token whose life (exp minus iat) is zero.
	Expired bool
	// Redirect sends the caller to this URL, with 302 unless Status is set.
	Redirect string
	// Token makes a login or refresh issue a token with this text. It dies at the exp that the text has in it where it
	// is a JWT, else after the stand-in's token lifetime.
	Token string
	// Times is how many calls meet the fault; 0 is until it is cleared.
	Times int
}

const (
	hugeSize = 2 << 20
	garbage  = "<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n"
)

// Any stands for all endpoints in Inject and Clear: its faults are met by calls that meet none of their own endpoint.
const Any Endpoint = "any"

// Inject makes calls of e meet f. Faults of an endpoint are met in the order of injection, each as often as its Times
// says; one without Times stays until cleared or until the next is injected.
func (s *Server) Inject(e Endpoint, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.faults[e]
	if n := len(queue); n > 0 && queue[n-1].Times == 0 {
		queue = queue[:n-1]
	}
	s.faults[e] = append(queue, f)
}

// Clear takes back the faults of e.
func (s *Server) Clear(e Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, e)
}

// ClearAll takes back all faults.
func (s *Server) ClearAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

// Down, while true, closes the connection of every call without an answer. Such calls are counted like others.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// takeFault is the fault that a call of e meets now, and counts it as met.
func (s *Server) takeFault(e Endpoint) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.faults[e]
	if len(queue) == 0 {
		e = Any
		queue = s.faults[e]
	}
	if len(queue) == 0 {
		return Fault{}
	}
	f := queue[0]
	switch {
	case f.Times == 1:
		s.faults[e] = queue[1:]
	case f.Times > 1:
		queue[0].Times--
	}
	return f
}

// instead is the answer that f gives in place of the work; false where the work is to be done.
func (f Fault) instead() (answer, bool) {
	status := func(otherwise int) int {
		if f.Status != 0 {
			return f.Status
		}
		return otherwise
	}
	switch {
	case f.DropAfter:
		return answer{}, false
	case f.Garbage:
		return answer{status: status(http.StatusOK), body: rawBody(garbage)}, true
	case f.Huge:
		body := `{"Authorization":"` + strings.Repeat("a", hugeSize) + `","isMfa":false}`
		return answer{status: status(http.StatusOK), body: rawBody(body)}, true
	case f.Redirect != "":
		return answer{status: status(http.StatusFound), header: http.Header{"Location": {f.Redirect}}}, true
	case f.Foreign:
		header := http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}
		return answer{status: status(http.StatusOK), header: header, body: rawBody(f.Body)}, true
	case f.Body != "":
		return answer{status: status(http.StatusOK), body: rawBody(f.Body)}, true
	case f.Status != 0:
		return fail(f.Status, "InjectedFault", http.StatusText(f.Status)), true
	}
	return answer{}, false
}

// dress adds to a the headers that f asks for.
func (f Fault) dress(a answer) answer {
	if f.RetryAfter == "" && len(f.Header) == 0 {
		return a
	}
	header := a.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	for name, values := range f.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if f.RetryAfter != "" {
		header.Set("Retry-After", f.RetryAfter)
	}
	a.header = header
	return a
}
