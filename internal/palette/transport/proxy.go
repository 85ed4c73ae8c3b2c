package transport

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// What net/http calls the way to a proxy, and a SOCKS proxy's way to the host, in a
// net.OpError.
const (
	OpProxy = "proxyconnect"
	OpSocks = "socks connect"
)

// ConnectError is a proxy's answer to CONNECT that gives no connection.
type ConnectError struct{ Status int }

// Error implements error.
func (e *ConnectError) Error() string { return fmt.Sprintf("answered %d to CONNECT", e.Status) }

// connectAnswer is asked by net/http about the answer to a CONNECT. The error that it makes
// itself has no type, and the proxy's own words for its text.
func connectAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &ConnectError{resp.StatusCode}
	}
	return nil
}
