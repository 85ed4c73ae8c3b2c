package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// door is a port before a stand-in that can be shut: a connection to it is refused then, as
// where the host is up and Palette is not. What the stand-in knows stays.
type door struct {
	t       *testing.T
	handler http.Handler
	server  *httptest.Server
	// URL is where Palette is, whether the door is open or not.
	URL string
}

// newDoor opens one for the length of the test.
func newDoor(t *testing.T, palette *palettetest.Server) *door {
	t.Helper()
	target, err := url.Parse(palette.URL())
	require.NoError(t, err)
	d := &door{t: t, handler: &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		// Whoever has hung up needs no answer, nor does the test's output.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	// Of the ports that no system gives to whoever asks for any: another program could have it
	// while the door is shut, and another stand-in would answer.
	d.open(func() string { return fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000)) })
	d.URL = d.server.URL
	t.Cleanup(d.shut)
	return d
}

// shut ends all connections, and refuses new ones.
func (d *door) shut() {
	d.server.CloseClientConnections()
	d.server.Close()
}

// reopen takes the port again.
func (d *door) reopen() {
	address := d.server.Listener.Addr().String()
	d.open(func() string { return address })
}

// open listens at the first address that can be had.
func (d *door) open(address func() string) {
	d.t.Helper()
	var listener net.Listener
	require.Eventually(d.t, func() bool {
		var err error
		listener, err = net.Listen("tcp", address())
		return err == nil
	}, soon, often, "there must be a free port")
	d.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: d.handler}}
	d.server.Start()
}
