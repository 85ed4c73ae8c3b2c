package exchange

import (
	"errors"
	"net"
	"net/http"
	"net/url"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// proxyHost is the host and port of the proxy that calls go through, or nothing. Its URL may
// hold a password.
func (c *Client) proxyHost() string {
	to, err := url.Parse(c.conn.Address)
	if err != nil {
		return ""
	}
	proxy, err := c.pool.Proxy(&http.Request{URL: to})
	if err != nil || proxy == nil {
		return ""
	}
	return transport.HostPort(proxy)
}

// blameProxy makes the proxy the cause of an error, where it is: whoever reads that Palette
// cannot be reached would look for the fault there.
func (x *exchange) blameProxy(e *answer.Error, err error) {
	host := x.proxyHost()
	if host == "" || e.Context != nil {
		return
	}
	var (
		refused *transport.ConnectError
		op      *net.OpError
	)
	says := ": " + e.Cause
	switch isOp := errors.As(err, &op); {
	case errors.As(err, &refused):
		e.Stage, says = answer.Tunnel, " "+refused.Error()
	case isOp && op.Op == transport.OpSocks && !x.timedOut: // its words are net/http's
		e.Stage, says = answer.Tunnel, " did not connect: "+op.Err.Error()
	case isOp && op.Op == transport.OpProxy:
	case e.Stage == answer.Lookup || e.Stage == answer.Connecting: // only to the proxy
	default:
		return
	}
	e.Proxy, e.Cause = host, "the proxy ("+host+")"+says
}
