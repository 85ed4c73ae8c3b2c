package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-tls", "-ca-out", ca, "-email", "a@example.com", "-org", "o", "-password", "p"}, in, io.Discard)
		_ = in.Close()
	}()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	url, found := strings.CutPrefix(lines.Text(), "palette-standin listening on ")
	require.True(t, found, lines.Text())

	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	body := strings.NewReader(`{"emailId":"a@example.com","org":"o","password":"p"}`)
	response, err := (&http.Client{Transport: transport}).Post(url+"/v1/auth/authenticate", "application/json", body)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, 200, response.StatusCode)

	stop()
	require.True(t, lines.Scan())
	assert.Equal(t, "palette-standin: 1 tokens issued, 1 live", lines.Text())
	require.NoError(t, <-done)
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-nothing"}, {"-listen", "nowhere"}, {"-tls", "-ca-out", "/nowhere/at/all"}} {
		var usage strings.Builder
		require.Error(t, run(t.Context(), args, io.Discard, &usage), args)
		assert.Empty(t, usage.String(), "the error says all")
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	var usage strings.Builder
	require.NoError(t, run(t.Context(), []string{"-h"}, io.Discard, &usage))
	assert.Contains(t, usage.String(), "-rate-limit")
}
