package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// http2NotEstablished is the text of an error that net/http does not export; it stands in
// for the alert by which a server refuses a client without a certificate.
const http2NotEstablished = "http2: client conn could not be established"

// plainHTTP is what net/http makes of a record header error where the answer looks like HTTP.
const plainHTTP = "http: server gave HTTP response to HTTPS client"

// NoTLS is the cause where the other side answers without TLS.
const NoTLS = TLSCause + "the other side does not speak TLS"

// TLSCause begins the causes that are TLS's. With TLS 1.3 a server refuses a client's certificate only
// after the handshake, when there is a connection.
const TLSCause = "TLS: "

// ClosedAfterHandshake is the cause of a refused client certificate whose alert does not come through.
const ClosedAfterHandshake = TLSCause + "the other side closed the connection after the handshake (does it want a client certificate?)"

// ClosedByPeer tells whether the other side closed a connection before it answered.
func ClosedByPeer(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// Cause says in safe words why no answer came. Texts of net/http are not passed on. They hold the URL
// (that of a refresh has the token), the Location of a redirect or the first bytes of an answer. Only
// texts of known types are passed on: they are about names, certificates or the operating system.
func Cause(err error) string {
	var (
		dns       *net.DNSError
		op        *net.OpError
		errno     syscall.Errno
		verify    *tls.CertificateVerificationError
		unknownCA x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		netErr    net.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "the caller hung up"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &op) && op.Op == OpProxy:
		return strings.TrimPrefix(Cause(op.Err), "dial: ")
	case errors.As(err, &dns):
		return "name lookup failed: " + dns.Err
	case errors.As(err, &unknownCA):
		return TLSCause + "the certificate is signed by an authority that is not trusted (is ca_cert the right one?)"
	case errors.As(err, &hostname):
		return TLSCause + "the certificate is for another name than " + hostname.Host
	case errors.As(err, &invalid):
		return TLSCause + invalid.Error()
	case errors.As(err, &verify):
		return TLSCause + "the certificate could not be verified"
	case errors.As(err, &record):
		return NoTLS
	case errors.As(err, &alert):
		return TLSCause + alert.Error()
	case errors.As(err, &op) && op.Op == "remote error":
		return TLSCause + "the other side refused the handshake: " + op.Err.Error()
	case errors.As(err, &op) && errors.As(err, &errno):
		return op.Op + ": " + errno.Error()
	case errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was complete"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Op + " failed"
	}
	inner := err
	for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
		inner = next
	}
	switch inner.Error() {
	case http2NotEstablished:
		return ClosedAfterHandshake
	case plainHTTP:
		return NoTLS
	}
	return fmt.Sprintf("the exchange failed (%T)", inner)
}
