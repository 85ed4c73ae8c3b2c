// Package transport is how a Palette is reached: address, TLS, proxy, time-outs and limits.
//
// Promise: a connection that is valid can be dialled. Errors say what is wrong with the way to Palette in
// words that hold neither a secret nor a URL.
//
// State: none. A [Connection] is a value that can be compared.
package transport

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"vault-plugin-secrets-palette/internal/palette/secret"
)

const (
	// DefaultAddress is Palette's SaaS.
	DefaultAddress = "https://api.spectrocloud.com"
	// DefaultRequestTimeout bounds one call where the operator says nothing.
	DefaultRequestTimeout = 30 * time.Second
	// DefaultRateLimit is Palette's limit for one IP address and resource, in calls a second (the
	// introduction of its API). All calls of a Vault come from one address.
	DefaultRateLimit = 10
	// burstFactor makes a burst out of a limit: Palette takes 5 seconds' calls at once (as above).
	burstFactor = 5
	// MaxBurst bounds a burst.
	MaxBurst = 10000
	// DefaultQueueTimeout is how long a call waits for its turn: less than the 60 seconds that
	// Vault's clients wait for an answer.
	DefaultQueueTimeout = 55 * time.Second
	// redactedPassword is what net/url shows for a password.
	redactedPassword = "xxxxx"
	// idleConnectionsPerHost is how many connections are kept for reuse. net/http keeps
	// two, so that a burst of reads would make a TLS handshake each.
	idleConnectionsPerHost = 64
)

// Connection is how to reach one Palette. It is comparable, and it is all that is
// needed to end a token there, so that a copy of it outlives the config it came from.
type Connection struct {
	// Address is scheme://host[:port], as [ParseAddress] returns it.
	Address string `json:"address"`
	// CACert is PEM, of the authorities to trust instead of the system's.
	CACert string `json:"ca_cert,omitempty"`
	// ClientCert and ClientKey are PEM, for mutual TLS: both or none.
	ClientCert string      `json:"client_cert,omitempty"`
	ClientKey  secret.Text `json:"client_key,omitempty"`
	// TLSServerName is the name to ask for and to verify instead of the host's.
	TLSServerName string `json:"tls_server_name,omitempty"`
	TLSSkipVerify bool   `json:"tls_skip_verify,omitempty"`
	// ProxyURL may hold a password. Empty: the environment's proxy settings.
	ProxyURL secret.Text `json:"proxy_url,omitempty"`
	// RequestTimeout bounds one call, from the first byte sent to the last one read.
	RequestTimeout time.Duration `json:"request_timeout"`
	// RateLimit is the calls a second of each of Palette's resources, 0 for no limit. The lowest
	// among the clients that have called an address counts.
	RateLimit int `json:"rate_limit"`
	// RateBurst is how many of them may go at once, see [Connection.Burst].
	RateBurst int `json:"rate_burst,omitempty"`
	// QueueTimeout bounds how long a call waits for its turn, also before it is sent again.
	QueueTimeout time.Duration `json:"queue_timeout"`
}

// Burst is RateBurst or, where it is not set, five times RateLimit, which is Palette's own proportion.
func (c Connection) Burst() int {
	if c.RateBurst > 0 {
		return c.RateBurst
	}
	return min(burstFactor*c.RateLimit, MaxBurst)
}

// QueueFor is how long a call waits for its turn: QueueTimeout, or its default where there is none.
func (c Connection) QueueFor() time.Duration { return cmp.Or(c.QueueTimeout, DefaultQueueTimeout) }

// FieldError is a mistake in one field of a [Connection]. Its text never holds a
// secret field's value.
type FieldError struct {
	Field, Problem string
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// ParseAddress brings an address into one form: lower case, without a trailing slash.
// A path is refused, since Palette's is part of each call: with ".../v1" every call
// would be answered 404, which a revocation takes for a Palette without the endpoint.
func ParseAddress(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if text = strings.TrimSpace(text); err == nil && u.User == nil && noScheme.MatchString(text) {
		return "", &FieldError{"address", fmt.Sprintf("is %q, but must start with https://", text)}
	}
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return "", &FieldError{"address", "must be of the form https://host[:port]"}
	}
	switch {
	case u.User != nil:
		return "", &FieldError{"address", "must not hold a user name or a password"}
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", &FieldError{"address", fmt.Sprintf("is %q, but must end after the host and port", text)}
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", &FieldError{"address", fmt.Sprintf("is %q, but must start with https:// (http:// is taken for loopback only)", text)}
	case u.Scheme != "https" && u.Scheme != "http":
		return "", &FieldError{"address", fmt.Sprintf("is %q, but must start with https://", text)}
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

// noScheme finds the address that has everything but a scheme. It is shown, so it must look
// like a host's name and nothing else.
var noScheme = regexp.MustCompile(`^([A-Za-z0-9-]+\.)+[A-Za-z]{2,}(:[0-9]+)?/?$`)

// loopback tells whether a host is this machine by its text alone, without a lookup.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Validate returns a *[FieldError] for the first field that cannot work.
func (c Connection) Validate() error {
	if _, err := ParseAddress(c.Address); err != nil {
		return err
	}
	_, err := c.Transport()
	return err
}

// Transport makes the connection pool. Errors are *[FieldError].
func (c Connection) Transport() (*http.Transport, error) {
	t := cleanhttp.DefaultPooledTransport()
	t.MaxIdleConnsPerHost = idleConnectionsPerHost
	t.ForceAttemptHTTP2 = true
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	t.TLSClientConfig = tlsConfig
	t.OnProxyConnectResponse = connectAnswer
	if c.ProxyURL != "" {
		u, err := c.proxy()
		if err != nil {
			return nil, err
		}
		t.Proxy = http.ProxyURL(u)
	}
	return t, nil
}

func (c Connection) tls() (*tls.Config, error) {
	out := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: c.TLSServerName,
		// #nosec G402 -- off unless the operator of the mount turns it on.
		InsecureSkipVerify: c.TLSSkipVerify,
	}
	if c.CACert != "" {
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM([]byte(c.CACert)) {
			return nil, &FieldError{"ca_cert", "holds no certificate in PEM form"}
		}
	}
	switch {
	case c.ClientCert == "" && c.ClientKey == "":
	case c.ClientKey == "":
		return nil, &FieldError{"client_key", "is missing, but client_cert is set"}
	case c.ClientCert == "":
		return nil, &FieldError{"client_cert", "is missing, but client_key is set"}
	default:
		pair, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey.Reveal()))
		if err != nil {
			// The error's own text is not passed on: what it says of a key is not ours to vouch for.
			return nil, &FieldError{"client_cert", "and client_key are not a certificate and its private key in PEM form"}
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

func (c Connection) proxy() (*url.URL, error) {
	u, err := url.Parse(c.ProxyURL.Reveal())
	if err != nil || u.Host == "" {
		return nil, &FieldError{"proxy_url", "must be of the form http://[user:password@]host:port"}
	}
	if password, _ := u.User.Password(); password == redactedPassword {
		return nil, &FieldError{"proxy_url", "has " + redactedPassword + " for its password, which is what a read shows in its place"}
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	}
	return nil, &FieldError{"proxy_url", "must start with http://, https:// or socks5://"}
}

// FitsHeader tells whether a text can be sent as a header's value as it stands: printable
// ASCII without spaces.
func FitsHeader(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// RedactedProxyURL is ProxyURL with its password replaced, for people to read.
func (c Connection) RedactedProxyURL() string {
	if c.ProxyURL == "" {
		return ""
	}
	u, err := c.proxy()
	if err != nil {
		return secret.Redacted
	}
	return u.Redacted()
}

// HostPort is the host and port of the address, for messages.
func (c Connection) HostPort() string {
	u, err := url.Parse(c.Address)
	if err != nil {
		return "an address that cannot be read"
	}
	return HostPort(u)
}

// HostPort is the host and port of a URL, the scheme's own port where it names none.
func HostPort(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), map[string]string{"https": "443", "http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme])
	}
	return u.Host
}
