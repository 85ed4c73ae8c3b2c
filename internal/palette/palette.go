// Package palette is the wire client for Spectro Cloud's Palette: HTTP and JSON, one file a call. It
// knows nothing of Vault. Facts about the API are of Palette's published OpenAPI document, release 4.8.
//
// Promise: a call is one method. Its errors are *[Error], which say what follows for what the call was
// about (package answer), and are safe to show. No login goes out that could get the account suspended.
//
// State: none of its own. [exchange.Process] has what all mounts share.
package palette

import (
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palette/secret"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// What the calls take and bring.
type (
	// Secret is a password, a private key, a token or an API key.
	Secret = secret.Text
	// Connection is how to reach one Palette.
	Connection = transport.Connection
	// Auth is how a call authenticates.
	Auth = exchange.Auth
	// Token is an authorization token of Palette.
	Token = answer.Token
	// APIKey is a key as Palette lists it.
	APIKey = answer.APIKey
	// UserInfo is whom credentials belong to.
	UserInfo = answer.UserInfo
	// Error is a failed call to Palette.
	Error = answer.Error
	// MFAError says that Palette wants a second factor of the account.
	MFAError = answer.MFAError
)

// Client calls one Palette. It is safe for use by many goroutines.
type Client struct {
	wire    *exchange.Client
	process *exchange.Process
	conn    Connection
}

// NewClient makes a client. It sends nothing. Errors are *[transport.FieldError].
func NewClient(process *exchange.Process, conn Connection, userAgent string, observer exchange.Observer) (*Client, error) {
	wire, err := process.NewClient(conn, userAgent, observer)
	if err != nil {
		return nil, err
	}
	return &Client{wire, process, conn}, nil
}

// Close closes the idle connections, and takes the client's limit back. Calls under way or in line
// go on, and their connections are closed after them.
func (c *Client) Close() { c.wire.Close() }
