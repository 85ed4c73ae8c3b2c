package palette

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// What net/http calls the way to a proxy, and a SOCKS proxy's way to the host, in a
// net.OpError.
const (
	opProxy = "proxyconnect"
	opSocks = "socks connect"
)

// connectError is a proxy's answer to CONNECT that gives no connection.
type connectError struct{ status int }

// Error implements error.
func (e *connectError) Error() string { return fmt.Sprintf("answered %d to CONNECT", e.status) }

// connectAnswer is asked by net/http about the answer to a CONNECT. The error that it makes
// itself has no type, and the proxy's own words for its text.
func connectAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &connectError{resp.StatusCode}
	}
	return nil
}

// proxyHost is the host and port of the proxy that calls go through, or nothing. Its URL may
// hold a password.
func (c *Client) proxyHost() string {
	to, err := url.Parse(c.conn.Address)
	if err != nil {
		return ""
	}
	proxy, err := c.transport.Proxy(&http.Request{URL: to})
	if err != nil || proxy == nil {
		return ""
	}
	return hostPort(proxy)
}

// blameProxy makes the proxy the cause of an error, where it is: whoever reads that Palette
// cannot be reached would look for the fault there.
func (x *exchange) blameProxy(e *Error, err error) {
	host := x.proxyHost()
	if host == "" || e.ctxErr != nil {
		return
	}
	var (
		refused *connectError
		op      *net.OpError
	)
	says := ": " + e.Cause
	switch isOp := errors.As(err, &op); {
	case errors.As(err, &refused):
		e.Stage, says = Tunnel, " "+refused.Error()
	case isOp && op.Op == opSocks && !x.timedOut: // its words are net/http's
		e.Stage, says = Tunnel, " did not connect: "+op.Err.Error()
	case isOp && op.Op == opProxy:
	case e.Stage == Lookup || e.Stage == Connecting: // only to the proxy
	default:
		return
	}
	e.Proxy, e.Cause = host, "the proxy ("+host+")"+says
}
