// Package wiretest is the common fixture of the tests under internal/palette: a client, and the stand-in
// that it talks to. The plugin does not contain it.
package wiretest

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// Epoch is when each bubble begins.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Bubble runs a test by fake time, from Epoch on.
func Bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(Epoch))
		test(t)
	})
}

// InBubble is a subtest in a bubble of its own.
func InBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { Bubble(t, test) })
}

// Rig is a client and the stand-in that it talks to.
type Rig struct {
	*palette.Client
	Palette *palettetest.Server
	Process *exchange.Process
	Conn    transport.Connection
}

// New is for bubbles: its stand-in listens in memory.
func New(t *testing.T, opts ...palettetest.Option) *Rig {
	t.Helper()
	return of(t, NewProcess().WithoutPauses(), append([]palettetest.Option{palettetest.InMemory()}, opts...)...)
}

// OnSocket is a rig for tests that are about sockets, TLS and proxies.
func OnSocket(t *testing.T, opts ...palettetest.Option) *Rig {
	t.Helper()
	return of(t, exchange.NewProcess().WithoutPauses(), opts...)
}

func of(t *testing.T, process *exchange.Process, opts ...palettetest.Option) *Rig {
	t.Helper()
	p := palettetest.New(t, opts...)
	conn := transport.Connection{Address: p.URL(), CACert: string(p.CA()), RequestTimeout: 10 * time.Second, QueueTimeout: time.Second}
	return &Rig{NewClient(t, process, conn), p, process, conn}
}

// Pausing is a rig whose calls do pause before they go out again.
func Pausing(t *testing.T, opts ...palettetest.Option) *Rig {
	t.Helper()
	r := New(t, opts...)
	r.Process, r.Conn.QueueTimeout = NewProcess(), time.Minute
	r.Use(t, r.Conn)
	return r
}

// Use goes on with a client of another connection.
func (r *Rig) Use(t testing.TB, conn transport.Connection) {
	t.Helper()
	r.Client, r.Conn = NewClient(t, r.Process, conn), conn
}

// NewProcess is a process whose clients pause, for bubbles.
func NewProcess() *exchange.Process { return exchange.NewProcess().WithDial(palettetest.Dial) }

// NewClient is a client that nobody watches.
func NewClient(t testing.TB, process *exchange.Process, conn transport.Connection) *palette.Client {
	t.Helper()
	return Observed(t, process, conn, Nobody{})
}

// Nobody is an observer who does nothing.
type Nobody struct{}

// Called implements exchange.Observer, as do the others.
func (Nobody) Called(string, exchange.Outcome, time.Duration) {}

// Waited does nothing.
func (Nobody) Waited(string, time.Duration, bool) {}

// Retried does nothing.
func (Nobody) Retried(string, exchange.Outcome) {}

// Queued does nothing.
func (Nobody) Queued(time.Duration, bool) {}

// Withheld does nothing.
func (Nobody) Withheld() {}

// Observed is a client, which is closed at the end of the test.
func Observed(t testing.TB, process *exchange.Process, conn transport.Connection, observer exchange.Observer) *palette.Client {
	t.Helper()
	c, err := palette.NewClient(process, conn, "a-test/1", observer)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// Dialled has the rig's client dial anew, and calls back after each connection that is made.
func (r *Rig) Dialled(t testing.TB, then func()) {
	t.Helper()
	r.Process = exchange.NewProcess().WithoutPauses().WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		then()
		return conn, err
	})
	r.Use(t, r.Conn)
}

// LoginOf is what a user logs in with.
func LoginOf(u palettetest.User) palette.Login {
	return palette.Login{Email: u.Email, Org: u.Org, Username: u.Username, Password: palette.Secret(u.Password)}
}

// LogIn logs the default user in.
func (r *Rig) LogIn(t *testing.T) palette.Token {
	t.Helper()
	token, err := r.Login(t.Context(), LoginOf(palettetest.DefaultUser))
	require.NoError(t, err)
	return token
}

// Auth is a new token of the default user.
func (r *Rig) Auth(t *testing.T) palette.Auth {
	t.Helper()
	return palette.Auth{Token: r.LogIn(t).Raw}
}

// Key makes an API key that lives for an hour from Epoch on.
func (r *Rig) Key(t *testing.T, auth palette.Auth, name string) (uid string, key palette.Secret) {
	t.Helper()
	uid, key, err := r.CreateAPIKey(t.Context(), auth, palette.NewAPIKey{Name: name, Expiry: Epoch.Add(time.Hour)})
	require.NoError(t, err)
	return uid, key
}

// WithKey is a rig with a session and a key, and a system administrator beside the default user.
func WithKey(t *testing.T) (*Rig, palette.Auth) {
	t.Helper()
	r := New(t, palettetest.AllowLiveTokens(), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(palettetest.Console))
	auth := r.Auth(t)
	r.Key(t, auth, "there")
	return r, auth
}

// Crowd makes n calls at once.
func Crowd(n int, call func() error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = call() })
	}
	all.Wait()
	return errs
}

// After runs a call that has to take d.
func After(t *testing.T, d time.Duration, call func() error) error {
	t.Helper()
	start := time.Now()
	err := call()
	assert.Equal(t, d, time.Since(start))
	return err
}

// Own is an error of Palette's own.
func Own(status int) palettetest.Fault { return palettetest.Fault{Status: status} }

// Theirs is an answer of somebody in between.
func Theirs(status int, body string) palettetest.Fault {
	return palettetest.Fault{Foreign: true, Status: status, Body: body}
}

// Page is a page of somebody in between.
func Page(status int) palettetest.Fault {
	return Theirs(status, "<html><body>Leaky: sign in</body></html>")
}
