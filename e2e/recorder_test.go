package e2e

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// recorder stands before a stand-in and keeps who called what with which credential, and what
// was answered.
type recorder struct {
	*httptest.Server

	mu    sync.Mutex
	calls []recorded
}

type recorded struct {
	at          time.Time
	path, agent string
	token       string // or the API key
	status      int
}

// newRecorder starts one for the length of the test.
func newRecorder(t *testing.T, palette *palettetest.Server) *recorder {
	t.Helper()
	target, err := url.Parse(palette.URL())
	require.NoError(t, err)
	r := new(recorder)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		ModifyResponse: func(resp *http.Response) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			header := resp.Request.Header
			r.calls = append(r.calls, recorded{time.Now(), resp.Request.URL.Path, header.Get("User-Agent"), cmp.Or(header.Get("Authorization"), header.Get("ApiKey")), resp.StatusCode})
			return nil
		},
	}
	r.Server = httptest.NewServer(proxy)
	t.Cleanup(r.Close)
	return r
}

// that returns the calls that a test is about.
func (r *recorder) that(wanted func(recorded) bool) []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.calls), func(c recorded) bool { return !wanted(c) })
}

// tokens are the different tokens of calls, in the order of their first use.
func tokens(calls []recorded) []string {
	var seen []string
	for _, c := range calls {
		if !slices.Contains(seen, c.token) {
			seen = append(seen, c.token)
		}
	}
	return seen
}
