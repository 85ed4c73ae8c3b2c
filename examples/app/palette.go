package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// callTimeout bounds one call to Palette.
const callTimeout = 10 * time.Second

// statusError is an answer of Palette's that is no success.
type statusError int

// Error implements error.
func (e statusError) Error() string { return fmt.Sprintf("Palette answered %d", int(e)) }

// isUnauthorized tells whether Palette did not take the token.
func isUnauthorized(err error) bool {
	var status statusError
	return errors.As(err, &status) && status == http.StatusUnauthorized
}

// paletteClient calls Palette.
type paletteClient struct{ http *http.Client }

// newPaletteClient makes a client that trusts the authorities in a file or, without one,
// the system's.
func newPaletteClient(caFile string) (*paletteClient, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile) // #nosec G304 G703 -- whoever starts the application names the file
		if err != nil {
			return nil, fmt.Errorf("reading PALETTE_CA_CERT: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("PALETTE_CA_CERT: %s holds no certificate in PEM form", caFile)
		}
	}
	return &paletteClient{&http.Client{
		Timeout:   callTimeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true},
		// A redirect could carry the token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// alerts asks for the projects' alerts. Errors do not hold the token.
func (p *paletteClient) alerts(ctx context.Context, cred *credential) error {
	// #nosec G704 -- the address comes from Vault, with the token that is meant for it
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cred.address+"/v1/projects/alerts", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", cred.token) // no "Bearer": Palette's form
	if cred.projectUID != "" {
		req.Header.Set("ProjectUid", cred.projectUID)
	}
	resp, err := p.http.Do(req) // #nosec G704 -- as above
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // an application would decode it
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	return nil
}
