package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"
)

// every is how often the metrics are read.
const every = 5 * time.Second

// policyFile is the policy that the documentation gives to Prometheus.
const policyFile = "../examples/policies/metrics.hcl"

// scraper reads the metrics as Prometheus does.
type scraper struct{ url, token, out string }

// scraper makes one with a Vault token that is good for nothing else.
func (w *world) scraper(ctx context.Context, out string) (*scraper, error) {
	policy, err := os.ReadFile(policyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the policy (in the module e2e?): %w", err)
	}
	if err = w.load.client.Sys().PutPolicyWithContext(ctx, "palette-metrics", string(policy)); err != nil {
		return nil, fmt.Errorf("writing the policy: %w", err)
	}
	made, err := w.load.client.Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{Policies: []string{"palette-metrics"}, NoDefaultPolicy: true})
	if err != nil {
		return nil, fmt.Errorf("making the token: %w", err)
	}
	return &scraper{w.vault.Address + "/v1/" + mount + "/metrics", made.Auth.ClientToken, out}, nil
}

// run reads until the context ends.
func (s *scraper) run(ctx context.Context) error {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		if err := s.scrape(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *scraper) scrape(ctx context.Context) error {
	at := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return fmt.Errorf("asking for the metrics: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("reading the metrics: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the metrics: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("reading the metrics: %s", resp.Status)
	}
	name := filepath.Join(s.out, strconv.FormatInt(at.UnixMilli(), 10)+".prom")
	if err := os.WriteFile(name, body, 0o600); err != nil {
		return fmt.Errorf("keeping the metrics: %w", err)
	}
	return nil
}
