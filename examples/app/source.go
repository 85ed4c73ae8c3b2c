package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/vault/api"
)

const (
	// renewalPatience is how long the end of a lease's following waits for a renewal that
	// is under way.
	renewalPatience = 5 * time.Second
	// steady is how long a lease has to be followed for the next read to come at once.
	steady    = time.Second
	firstWait = 500 * time.Millisecond
	longWait  = time.Minute
)

// credential is one token and what belongs to it. It never changes: a renewal makes a
// new one.
type credential struct {
	token, address, projectUID string
	expiresAt                  string
	// usableUntil ends before the token does, by this machine's clock.
	usableUntil time.Time
}

// source holds the newest credential of a lease that it follows.
type source struct {
	vault *api.Client
	path  string
	log   *slog.Logger

	mu      sync.Mutex
	cred    *credential   // nil: none that works
	leaseID string        // the newest lease, to be revoked at the end
	changed chan struct{} // closed, and replaced, when there is a new credential
	// rejected wakes the follower when Palette takes the newest token no more.
	rejected chan struct{}
}

func newSource(vault *api.Client, path string, log *slog.Logger) *source {
	return &source{
		vault: vault, path: path, log: log,
		changed: make(chan struct{}), rejected: make(chan struct{}, 1),
	}
}

// current returns the newest credential, and waits for one where there is none that is
// surely alive: better late than with a dead token.
func (s *source) current(ctx context.Context) (*credential, error) {
	for {
		s.mu.Lock()
		cred, changed := s.cred, s.changed
		s.mu.Unlock()
		if cred != nil && time.Now().Before(cred.usableUntil) {
			return cred, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// reject says that Palette does not take a credential. The lease is read anew, unless
// there is a newer credential already.
func (s *source) reject(cred *credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cred != cred {
		return
	}
	s.cred = nil
	select {
	case s.rejected <- struct{}{}:
	default:
	}
}

// follow reads a lease and follows it to its end, over and over until ctx ends.
func (s *source) follow(ctx context.Context) {
	retry := newBackOff(firstWait)
	for ctx.Err() == nil {
		began := time.Now()
		err := s.followOne(ctx)
		if err == nil && time.Since(began) >= steady {
			retry.Reset()
			continue
		}
		wait := retry.NextBackOff()
		if mistaken(err) {
			wait = longWait
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("no token from Vault", "path", s.path, "error", err, "next_try_in", wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// mistaken tells whether an error is for people to mend: a role that does not exist, a
// login that Palette rejects. A hurry would only bring the account its suspension.
func mistaken(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest
}

// followOne reads a lease and follows it until it ends, ctx ends or Palette rejects its
// token. The lease that it leaves behind ends by itself.
func (s *source) followOne(ctx context.Context) error {
	sent := time.Now()
	secret, err := s.vault.Logical().ReadWithContext(ctx, s.path)
	if err != nil {
		return err
	}
	if err = s.take(secret, sent); err != nil {
		return err
	}
	s.log.Info("read a token", "expires_at", secret.Data["expires_at"], "renewable", secret.Renewable)
	// By default a watcher goes on after a failed renewal while the lease lasts, and for a
	// lease that is not renewable it just waits until the lease is nearly over.
	watcher, err := s.vault.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
	if err != nil {
		return fmt.Errorf("following the lease: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watcher.Start()
	}()
	defer func() {
		watcher.Stop()
		select {
		case <-ended:
		case <-time.After(renewalPatience):
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.rejected:
			s.log.Warn("Palette rejects the token; reading a new one")
			return nil
		case err := <-watcher.DoneCh():
			// Shortly before the lease's end: its limit is reached, or renewals fail.
			s.log.Info("the lease is about to end; reading a new one", "last_error", err)
			return nil
		case renewal := <-watcher.RenewCh():
			// The whole point: a renewal does not extend the token, it brings a new one.
			if err := s.take(renewal.Secret, renewal.RenewedAt); err != nil {
				return err
			}
			s.log.Info("renewed", "expires_at", renewal.Secret.Data["expires_at"])
		}
	}
}

// take makes the answer to a read or a renewal the newest credential. at is when it was
// asked for or, where only that is known, when it came.
func (s *source) take(secret *api.Secret, at time.Time) error {
	if secret == nil {
		return errors.New("nothing is there")
	}
	text := func(field string) string {
		value, _ := secret.Data[field].(string)
		return value
	}
	cred := &credential{
		token: text("token"), address: text("address"), projectUID: text("project_uid"),
		expiresAt: text("expires_at"),
		// The lease lasts no longer than the token. A tenth is left alone for what the calls
		// take; a watcher renews after two thirds, and gives up in the last fifth.
		usableUntil: at.Add(time.Duration(secret.LeaseDuration) * time.Second * 9 / 10),
	}
	if cred.token == "" || cred.address == "" {
		return errors.New("the answer holds no token or no address; is this a role of the Palette engine?")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cred, s.leaseID = cred, secret.LeaseID
	select {
	case <-s.rejected: // that was about an older one
	default:
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// revoke ends the newest lease, and with it all of its tokens. Vault answers when
// Palette has.
func (s *source) revoke(ctx context.Context) error {
	s.mu.Lock()
	leaseID := s.leaseID
	s.cred = nil
	s.mu.Unlock()
	if leaseID == "" {
		return nil
	}
	if err := s.vault.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: leaseID, Sync: true}); err != nil {
		return fmt.Errorf("revoking the lease: %w", err)
	}
	s.log.Info("revoked the lease")
	return nil
}

// newBackOff returns growing waits, with jitter, that never end by themselves.
func newBackOff(first time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(first),
		backoff.WithMaxInterval(max(first, longWait)),
		backoff.WithMaxElapsedTime(0),
	)
}
