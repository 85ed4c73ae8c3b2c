package palettetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

const certificateLife = 24 * time.Hour

// Authority is a certificate authority that lives in memory.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority valid for a day.
func NewAuthority() (*Authority, error) {
	template := certificate("palette-standin CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encodePEM("CERTIFICATE", a.cert.Raw) }

// Issue makes a certificate and its key, both PEM, for servers and clients. The first name is the subject's too.
func (a *Authority) Issue(names ...string) (certPEM, keyPEM []byte, err error) {
	template := certificate(names[0])
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", keyDER), nil
}

// certificate is what all certificates here have in common. It starts an hour ago, for clocks that differ.
func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // see newID
	now := time.Now()                                                        // whoever verifies a certificate does so by the real time
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLife),
	}
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// tlsConfig is the server's side of TLS, and the authority that a client has to trust.
func (o *settings) tlsConfig() (*tls.Config, *Authority, error) {
	authority, err := NewAuthority()
	if err != nil {
		return nil, nil, err
	}
	names := o.tlsNames
	if len(names) == 0 {
		names = []string{"localhost", "127.0.0.1", "::1", "palette.example.com"}
	}
	certPEM, keyPEM, err := authority.Issue(names...)
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }}
	if o.clientCA != nil {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(o.clientCA) {
			return nil, nil, fmt.Errorf("the client authority has no certificate in PEM")
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, authority, nil
}

// NewCA gives the server a certificate of another authority, see CA. All connections are closed, as by a restart.
func (s *Server) NewCA() error {
	config, authority, err := s.opts.tlsConfig()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ca, s.certificate = authority, config.GetCertificate
	open := s.connections
	s.connections = nil
	s.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
	return nil
}

// track keeps the connections that are open.
func (s *Server) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		if s.connections == nil {
			s.connections = make(map[net.Conn]bool)
		}
		s.connections[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(s.connections, c)
	}
}

// present is the certificate of the server at present.
func (s *Server) present(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	certificate := s.certificate
	s.mu.Unlock()
	return certificate(hello)
}
