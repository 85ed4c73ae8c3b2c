// Package bare calls the stand-in for Palette with nothing in between: what is measured
// with it is the upstream's own part.
package bare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Client logs in as the stand-in's default user.
type Client struct {
	// Address is the stand-in's.
	Address string
	// HTTP keeps the connections.
	HTTP *http.Client
}

// Refused is an answer that is no success.
type Refused struct {
	Status int
	// RetryAfter is the pause that the answer asks for, 0 where it does not.
	RetryAfter time.Duration
}

func (r *Refused) Error() string { return fmt.Sprintf("the stand-in answers %d", r.Status) }

// Login returns a token. Errors are [*Refused] where the stand-in has answered.
func (c *Client) Login(ctx context.Context) (string, error) {
	user := palettetest.DefaultUser
	body, err := c.post(ctx, "/v1/auth/authenticate?setCookie=false", "",
		map[string]string{"emailId": user.Email, "org": user.Org, "password": user.Password})
	if err != nil {
		return "", err
	}
	var answer struct{ Authorization string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("reading the stand-in's answer: %w", err)
	}
	return answer.Authorization, nil
}

// Revoke revokes tokens in one call. Errors are as [Client.Login]'s.
func (c *Client) Revoke(ctx context.Context, tokens ...string) error {
	_, err := c.post(ctx, "/v1/users/auth/tokens/revoke", tokens[0], map[string][]string{"tokens": tokens})
	return err
}

func (c *Client) post(ctx context.Context, path, auth string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding a call: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Address+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("making a call: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling the stand-in: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the stand-in's answer: %w", err)
	}
	if resp.StatusCode > 299 {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 where there is none
		return nil, &Refused{Status: resp.StatusCode, RetryAfter: time.Duration(seconds) * time.Second}
	}
	return answer, nil
}
