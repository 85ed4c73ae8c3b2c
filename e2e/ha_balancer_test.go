package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// balancer stands before a cluster, as load balancers do: it asks each node for its health
// and passes requests to the active one. Its address is the one that clients have.
type balancer struct {
	*httptest.Server
	active atomic.Pointer[url.URL]
	// refused counts the requests that came to no active node, or that it did not answer.
	refused atomic.Int64
}

const (
	// healthEvery is the pause between two questions.
	healthEvery = 250 * time.Millisecond
	// healthTimeout is when a node that does not answer is given up.
	healthTimeout = time.Second
)

// newBalancer starts one for the length of the test.
func newBalancer(t *testing.T, c *cluster) *balancer {
	t.Helper()
	b := new(balancer)
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(b.active.Load()) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { b.refuse(w) },
	}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.active.Load() == nil {
			b.refuse(w)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	for _, node := range c.Nodes {
		go b.watch(t.Context(), node)
	}
	require.Eventually(t, func() bool { return b.active.Load() != nil }, soon, often)
	return b
}

func (b *balancer) refuse(w http.ResponseWriter) {
	b.refused.Add(1)
	http.Error(w, "no node is active", http.StatusServiceUnavailable)
}

// watch asks a node until ctx ends.
func (b *balancer) watch(ctx context.Context, node *vaulttest.Server) {
	address, err := url.Parse(node.Address)
	if err != nil {
		panic(err)
	}
	for ctx.Err() == nil {
		if isActive(ctx, node.Address) {
			b.active.Store(address)
		} else {
			b.active.CompareAndSwap(address, nil)
		}
		time.Sleep(healthEvery)
	}
}

// isActive asks as a load balancer can: the active node alone answers 200.
func isActive(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/v1/sys/health", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
