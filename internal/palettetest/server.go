package palettetest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

// TB is the part of testing.TB that the stand-in needs.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(f func())
}

// Server is the stand-in. Its methods may be called at any time, from any goroutine.
type Server struct {
	// opts is written before the server starts, except for the fields that the Set methods change, under mu.
	opts   settings
	url    string
	http   *http.Server
	signer jose.Signer
	// offset is how far the stand-in's clock is ahead of the machine's, in nanoseconds.
	offset  atomic.Int64
	stop    context.CancelFunc
	serving sync.WaitGroup

	// mu guards what follows. No call holds it while it waits.
	mu     sync.Mutex
	state  state
	counts counts
	faults map[Endpoint][]Fault
	before map[Endpoint]*Gate
	after  map[Endpoint]*Gate
	down   bool
	closed bool
	// ca and certificate are those of the server at present; nil without TLS.
	ca          *Authority
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	connections map[net.Conn]bool
}

// New starts a stand-in for the length of a test. At the test's end it is closed, and the test fails when a token or
// an API key is alive, unless AllowLiveTokens was given.
func New(tb TB, opts ...Option) *Server {
	tb.Helper()
	s, err := Start(opts...)
	if err != nil {
		// Not Errorf: without a server the test would go on to fail somewhere less telling.
		panic(fmt.Sprintf("palettetest: %v", err))
	}
	tb.Cleanup(func() {
		tb.Helper()
		if !s.opts.allowLive {
			s.reportLeftovers(tb)
		}
		s.Close()
	})
	return s
}

// Start starts a stand-in that runs until Close. It fails where it can't listen or make its certificate.
func Start(opts ...Option) (*Server, error) {
	o := settings{address: "127.0.0.1:0", lifetime: DefaultLifetime}
	for _, opt := range opts {
		opt(&o)
	}
	if len(o.users) == 0 {
		o.users = []User{DefaultUser}
	}
	signer, err := newSigner()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:   o,
		signer: signer,
		state:  newState(),
		counts: counts{calls: map[Endpoint]int{}, buckets: map[resource]*rate.Limiter{}},
		faults: map[Endpoint][]Fault{},
		before: map[Endpoint]*Gate{},
		after:  map[Endpoint]*Gate{},
	}
	for _, u := range o.users {
		s.AddUser(u)
	}
	if err := s.listen(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) listen() error {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: time.Minute,
		ConnState:         s.track,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		// Clients that distrust the certificate are part of the tests and would fill their output.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	scheme, serve := "http", s.http.Serve
	if s.opts.tls {
		config, authority, err := s.opts.tlsConfig()
		if err != nil {
			return err
		}
		s.certificate, s.ca = config.GetCertificate, authority
		config.GetCertificate = s.present
		s.http.TLSConfig = config
		scheme, serve = "https", func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	listener, err := s.opts.listener()
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.opts.address, err)
	}
	s.url = scheme + "://" + listener.Addr().String()
	s.serving.Go(func() {
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("palettetest: serving: %v", err))
		}
	})
	return nil
}

// listener is where calls arrive.
func (o *settings) listener() (net.Listener, error) {
	if o.inMemory {
		return ListenInMemory(), nil
	}
	return net.Listen("tcp", o.address)
}

// Close ends the server: held calls are let go, connections closed. It waits for the calls under way.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	_ = s.http.Close()
	s.serving.Wait()
}

// enter counts a call as under way, and reports false where the server is closed: its Wait may be over by then.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.serving.Add(1)
	return true
}

// URL is the server's address, without a slash at the end.
func (s *Server) URL() string { return s.url }

// CA is the PEM of the authority behind the server's certificate; nil without WithTLS.
func (s *Server) CA() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ca == nil {
		return nil
	}
	return s.ca.PEM()
}

// SetLifetime changes the life of tokens issued from now on.
func (s *Server) SetLifetime(d time.Duration) { s.set(func(o *settings) { o.lifetime = d }) }

// SetLatency changes how much later calls are answered.
func (s *Server) SetLatency(d time.Duration) { s.set(func(o *settings) { o.latency = d }) }

// SetRevokeScope changes what a revocation ends.
func (s *Server) SetRevokeScope(scope RevokeScope) {
	s.set(func(o *settings) { o.revokeScope = scope })
}

func (s *Server) set(opt Option) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opt(&s.opts)
}

// reportLeftovers fails the test for what is still alive. It names no token: test logs are kept.
func (s *Server) reportLeftovers(tb TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	tokens := 0
	for _, t := range s.state.tokens {
		if t.alive(now) {
			tokens++
			tb.Logf("alive: token of %s, session %s, issued %s, expires %s", cmp.Or(t.session.user.Email, t.session.user.Username), t.session.id,
				t.issued.Format(time.RFC3339), t.expires.Format(time.RFC3339))
		}
	}
	keys := 0
	for _, k := range s.state.keys {
		if k.alive(now) {
			keys++
			tb.Logf("alive: API key %s (%s), expires %s", k.UID, k.Name, k.Expiry.Format(time.RFC3339))
		}
	}
	if tokens+keys > 0 {
		tb.Errorf("palettetest: left alive at Palette: %d tokens, %d API keys", tokens, keys)
	}
}
