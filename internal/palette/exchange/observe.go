package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// Observer is told what becomes of the calls of a client. Its methods are called by many
// goroutines and must return at once. None of what they get is a secret, or has more than
// a few values.
type Observer interface {
	// Called is told of each try of a call that had its turn: how it ended, and after how long.
	Called(endpoint string, outcome Outcome, took time.Duration)
	// Waited is told how long a call waited for its turn in the bucket of a resource, one of
	// [answer.Resources], and whether it got one.
	Waited(resource string, took time.Duration, got bool)
	// Retried is told of each call that is sent again, and after what.
	Retried(endpoint string, after Outcome)
	// Queued is told how long a login waited for its permit, behind others of its account, and
	// whether it got one.
	Queued(took time.Duration, got bool)
	// Withheld is told of each login that was not let go out, so that Palette does not suspend
	// the account.
	Withheld()
}

// Outcome is how a try of a call ended.
type Outcome string

// The outcomes.
const (
	OutcomeOK          Outcome = "ok"
	OutcomeRejected    Outcome = "rejected"    // Palette said no, with a 4xx that is none of the following
	OutcomeMissing     Outcome = "missing"     // Palette's 404
	OutcomeLimited     Outcome = "limited"     // 429
	OutcomeUnavailable Outcome = "unavailable" // Palette's 5xx or 408
	OutcomeForeign     Outcome = "foreign"     // an answer that is not Palette's
	OutcomeTimeout     Outcome = "timeout"     // no answer within request_timeout
	OutcomeUnreachable Outcome = "unreachable" // name lookup, connection, TLS, a broken answer
	OutcomeCanceled    Outcome = "canceled"    // the caller hung up
)

// Outcomes are all of them.
var Outcomes = []Outcome{OutcomeOK, OutcomeRejected, OutcomeMissing, OutcomeLimited, OutcomeUnavailable, OutcomeForeign, OutcomeTimeout, OutcomeUnreachable, OutcomeCanceled}

// outcomes are those of the answers that are no success.
var outcomes = map[answer.Kind]Outcome{
	answer.Rejected: OutcomeRejected, answer.Missing: OutcomeMissing, answer.Limited: OutcomeLimited, answer.Unavailable: OutcomeUnavailable, answer.Foreign: OutcomeForeign,
}

// outcomeOf tells how a try ended.
func (x *exchange) outcomeOf(r *answer.Reply, err error) Outcome {
	switch {
	case err != nil && x.timedOut:
		return OutcomeTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return OutcomeCanceled
	case err != nil:
		return OutcomeUnreachable
	case r.Kind() == 0:
		return OutcomeOK
	}
	return outcomes[r.Kind()]
}

// progress notes how far a try comes. Dialling goes on in a goroutine of net/http's, which
// may outlive the try.
type progress struct {
	stage atomic.Int32
	// freshTLS: the connection is TLS's, and was made for this try.
	freshTLS bool
}

func (p *progress) reach(s answer.Stage) {
	for {
		had := p.stage.Load()
		if had >= int32(s) || p.stage.CompareAndSwap(had, int32(s)) {
			return
		}
	}
}

// reached is how far the last try came, which ended for a cause.
func (x *exchange) reached(cause string) answer.Stage {
	switch {
	case x.progress == nil:
		return answer.NotSent
	case strings.HasPrefix(cause, transport.TLSCause):
		return answer.Handshake
	}
	return answer.Stage(x.progress.stage.Load())
}

// hooks let net/http tell the progress.
func (p *progress) hooks(connected func()) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { p.reach(answer.Lookup) },
		ConnectStart:      func(string, string) { p.reach(answer.Connecting) },
		TLSHandshakeStart: func() { p.reach(answer.Handshake) },
		GotConn: func(got httptrace.GotConnInfo) {
			p.reach(answer.Sent)
			_, isTLS := got.Conn.(*tls.Conn)
			p.freshTLS = isTLS && !got.Reused
			connected()
		},
	}
}

// Trace is what the last try of a call came to, for who wants to know more of it than its
// answer. It may be read when the call has returned.
type Trace struct {
	// Took is the time from the sending to the whole answer.
	Took time.Duration
	// Offset is how far Palette's clock is before ours (negative: behind), by the Date header of
	// Palette's answer, which has whole seconds. HasOffset: there was one.
	Offset    time.Duration
	HasOffset bool
}

type traceKey struct{}

// WithTrace returns a context whose call fills a trace.
func WithTrace(ctx context.Context, into *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, into)
}

// note takes in what an answer tells of Palette's clock, and fills the context's trace, if it has one.
func (x *exchange) note(ctx context.Context, r *answer.Reply) {
	found := Trace{Took: time.Since(x.sent)}
	if r != nil && x.rule.FromPalette(r) {
		found.Offset, found.HasOffset = x.clock.note(r.Header, x.sent, time.Now())
	}
	if trace, ok := ctx.Value(traceKey{}).(*Trace); ok {
		*trace = found
	}
}
