package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// Each cause in safe words; one that is not known by its type alone.
func TestCauses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{context.Canceled, "the caller hung up"},
		{context.DeadlineExceeded, "no answer in time"},
		{&net.DNSError{Err: "no such host", Name: "palette.example.com"}, "name lookup failed: no such host"},
		{x509.UnknownAuthorityError{}, "is ca_cert the right one?"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "palette.example.com"}, "another name than palette.example.com"},
		{x509.CertificateInvalidError{Reason: x509.Expired}, "TLS: x509: certificate has expired"},
		{&tls.CertificateVerificationError{Err: errors.New("Leaky")}, "could not be verified"},
		{tls.RecordHeaderError{Msg: "Leaky"}, "does not speak TLS"},
		{tls.AlertError(42), "TLS: tls: bad certificate"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, "refused the handshake: tls: certificate required"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "dial: connection refused"},
		{&net.OpError{Op: "read", Err: timeout{errors.New("Leaky")}}, "no answer in time"},
		{&net.OpError{Op: "proxyconnect", Err: errors.New("Leaky")}, "the exchange failed (*errors.errorString)"},
		{&net.OpError{Op: "accept", Err: errors.New("Leaky")}, "accept failed"},
		{io.ErrUnexpectedEOF, "closed before the answer was complete"},
		{syscall.ECONNRESET, "connection reset by peer"},
		{errors.New(http2NotEstablished), "client certificate"},
		{errors.New(plainHTTP), "does not speak TLS"},
		{errors.New("Leaky"), "the exchange failed (*errors.errorString)"},
	} {
		got := Cause(fmt.Errorf("Leaky: %w", c.err))
		assert.Contains(t, got, c.want)
		assert.NotContains(t, got, "Leaky")
	}
}

func TestConnectionThatTheOtherSideCloses(t *testing.T) {
	for err, want := range map[error]bool{syscall.EPIPE: true, syscall.ECONNRESET: true, syscall.ECONNREFUSED: false, io.EOF: false} {
		assert.Equal(t, want, ClosedByPeer(&net.OpError{Op: "read", Err: err}), err)
	}
}
