// Package check looks at one config: whether the config works and, where it does not, which step
// fails and what to do.
//
// Promise: the advice never accuses the wrong side, and no answer holds a secret.
//
// State: none; each check is a value of its own.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Values of the check's answer.
const (
	RevocationAvailable = "available"
	RevocationMissing   = "missing"
	RevocationFailed    = "failed"
	RevocationNotAsked  = "not_asked"

	stepLookup  = "name lookup"
	stepConnect = "connection"
	stepTLS     = "TLS"
	stepLogin   = "login"
	stepToken   = "token"
)

// Checker checks the configs of a mount.
type Checker struct {
	Clients     *upstream.Clients
	Credentials *rootcred.Manager
	Sessions    *session.Manager
	Revocations *revocation.Manager
	Tasks       *tasks.Group
	Logger      func() hclog.Logger
}

// check is a check of one config, and what it has found so far.
type check struct {
	*Checker
	storage logical.Storage
	name    string
	cfg     *store.Config
	found   map[string]any
	// warnings are what works, and should be looked at.
	warnings []string
}

// Run checks a config. It returns its findings, by the names of the answer's fields, and warnings. Where
// freshLogin is true, Run logs in although there is a session. Errors are the storage's and the caller's;
// Palette's are among what was found.
func (c *Checker) Run(ctx context.Context, s logical.Storage, name string, cfg *store.Config, freshLogin bool) (found map[string]any, warnings []string, err error) {
	k := &check{
		Checker: c, storage: s, name: name, cfg: cfg,
		found: map[string]any{"ok": true, "config": name, "address": cfg.Address, "revocation": RevocationNotAsked},
	}
	err = k.run(ctx, freshLogin)
	k.lookAtClock()
	return k.found, k.warnings, err
}

// quietOffset is how far Palette's clock and Vault's may be apart without a word.
const quietOffset = 30 * time.Second

// lookAtClock warns where the clocks differ by more.
func (c *check) lookAtClock() {
	seconds, known := c.found["clock_offset"].(float64)
	offset := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	if !known || offset.Abs() <= quietOffset {
		return
	}
	way := "ahead of"
	if offset < 0 {
		way = "behind"
	}
	c.warnings = append(c.warnings, fmt.Sprintf("Palette's clock is %s %s Vault's: the engine sets the expiry of API keys by Palette's clock, up to %s; look at the time of both servers",
		offset.Abs(), way, palette.MaxClockOffset))
}

func (c *check) run(ctx context.Context, freshLogin bool) error {
	if c.cfg.APIKey != "" {
		c.found["method"] = "api_key"
		return c.ask(ctx, palette.Auth{APIKey: c.cfg.APIKey}, "write config/"+c.name+" with an api_key that is active")
	}
	have, err := c.Sessions.Stored(ctx, c.storage, c.name)
	if err != nil {
		return err
	}
	if have != nil && have.Of(c.cfg) && have.Newest().Left(time.Now()) > 0 && !freshLogin {
		c.found["method"] = "session"
		c.found["token_life"] = int64(have.Life.Seconds())
		err = c.ask(ctx, palette.Auth{Token: have.Newest().Token}, "delete sessions/"+c.name+", so that the next read logs in")
		if c.found["user_info"] != CallRefused {
			return err
		}
		c.warnings = nil // a login tells more: the session's token may be dead
	}
	c.found["method"] = "login"
	leave, err := c.Tasks.Enter() // the mount's end waits for the revocation
	if err != nil {
		return err
	}
	defer leave()
	var trace exchange.Trace
	token, err := c.Credentials.Login(exchange.WithTrace(ctx, &trace), c.storage, c.name, c.cfg)
	if err != nil {
		return c.failed(ctx, stepLogin, err, "")
	}
	c.timed("login_ms", trace)
	c.found["token_life"] = int64(token.Life.Seconds())
	err = c.ask(ctx, palette.Auth{Token: token.Raw}, "Palette has just made this token: try again, and ask its support with the ref")
	return cmp.Or(c.end(ctx, c.tryRefresh(ctx, token)), err)
}

// ask asks Palette whose the credentials are.
func (c *check) ask(ctx context.Context, auth palette.Auth, advice string) error {
	client, err := c.Clients.For(c.cfg.Connection)
	if err != nil {
		return err
	}
	var trace exchange.Trace
	info, err := client.UserInfo(exchange.WithTrace(ctx, &trace), auth)
	if c.barred("user_info", err, "the check is the login alone") {
		return nil
	}
	if err != nil {
		return c.failed(ctx, stepToken, err, advice)
	}
	if c.cfg.IsSystem() {
		c.found["user_info"] = CallAvailable
	}
	c.timed("user_info_ms", trace)
	c.found["org"], c.found["tenant_uid"], c.found["user_uid"] = info.OrgName, info.TenantUID, info.UserUID
	return nil
}

// timed notes how long a call took, and what it told of Palette's clock.
func (c *check) timed(field string, trace exchange.Trace) {
	c.found[field] = rounded(float64(trace.Took) / float64(time.Millisecond))
	if trace.HasOffset {
		c.found["clock_offset"] = rounded(trace.Offset.Seconds())
	}
}

func rounded(x float64) float64 { return math.Round(x*10) / 10 }

// end revokes the check's tokens, the newest last, also where the caller has gone, and notes whether
// Palette can.
func (c *check) end(ctx context.Context, tokens []palette.Token) error {
	newest := tokens[len(tokens)-1]
	var secrets []palette.Secret
	for _, token := range tokens {
		secrets = append(secrets, token.Raw)
	}
	type outcome struct {
		err   error
		trace exchange.Trace
	}
	done := make(chan outcome, 1)
	started := c.Tasks.StartFollowUp(func() {
		out := outcome{err: tasks.ErrPanic} // until the outcome is known
		defer func() { done <- out }()
		var client upstream.API
		client, out.err = c.Clients.For(c.cfg.Connection)
		if out.err == nil {
			out.err = client.Revoke(exchange.WithTrace(context.Background(), &out.trace), newest.Raw, secrets)
		}
		if out.err == nil || answer.VerdictOf(out.err) == answer.NoEndpoint || c.cfg.IsSystem() && answer.Barred(out.err) != nil {
			return
		}
		for _, token := range tokens {
			c.Revocations.EnqueueLoose(c.storage, revocation.AccountOf(c.cfg), store.TokenOf(token), "a config's check", out.err)
		}
	})
	if !started {
		c.Logger().Warn("the mount ends before a check's token is revoked; it lives to its own expiry", "expires_at", newest.ExpiresAt)
		return tasks.ErrEnding
	}
	select {
	case out := <-done:
		c.found["revocation"] = RevocationAvailable
		switch {
		case c.barred("revocation", out.err, "its tokens live to their expires_at, whatever becomes of their leases"):
		case answer.VerdictOf(out.err) == answer.NoEndpoint:
			c.found["revocation"] = RevocationMissing
		case out.err != nil:
			c.found["revocation"] = RevocationFailed
			c.warnings = append(c.warnings, "the check's token could not be revoked yet; the revocation is pending and retried each minute: "+out.err.Error())
		default:
			c.found["revoke_ms"] = rounded(float64(out.trace.Took) / float64(time.Millisecond))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed notes where the check failed, how, and what to do. An error that is not Palette's
// is returned.
func (c *check) failed(ctx context.Context, step string, err error, advice string) error {
	var (
		says *palette.Error
		mfa  *palette.MFAError
	)
	isMFA := errors.As(err, &mfa)
	if ctx.Err() != nil || !errors.As(err, &says) && !isMFA {
		return err
	}
	text := err.Error()
	var mistake *upstream.Mistake
	if step == stepLogin && errors.As(upstream.LoginFailed(c.name, c.cfg, err, ""), &mistake) {
		text = mistake.Text
	}
	switch {
	case isMFA:
		advice = "use a Palette account without a second factor (MFA)"
	case says.Kind == answer.Unreachable:
		step, advice = unreached(step, says)
	case says.Kind == answer.Limited:
		advice = "Palette's limit is reached or the engine's own queue is long: wait, see rate_limit and queue_timeout, and whether roles can be shared"
	case says.Kind == answer.Unavailable:
		advice = "Palette is out of order: wait, and look at its own state"
	case says.Kind == answer.Foreign:
		advice = "somebody between Vault and Palette answers: look at the proxy (" + proxySetting + "), the gateway and the address"
		if !says.NextTry.IsZero() {
			c.found["withheld_until"] = says.NextTry.UTC().Format(time.RFC3339)
		}
	case says.Kind == answer.Malformed:
		advice = "Palette's answer is of no use: ask its support"
	case step == stepLogin && time.Since(c.cfg.SetByRotation()) < palette.TrustedFor:
		// Nobody knows the password that a rotation has set, so nobody can write the right one.
		if !says.NextTry.IsZero() {
			c.found["withheld_until"] = says.NextTry.UTC().Format(time.RFC3339)
		}
		advice = "wait: a rotation has set this password, and Palette may need a moment to know it everywhere; the engine tries again by itself. Where this lasts, write config/" + c.name + " with a password that works"
	case !says.NextTry.IsZero():
		advice = c.withheld(says)
	case step == stepLogin:
		advice = "write config/" + c.name + " with the right " + c.cfg.LoginFields() + "; see whether the account is suspended"
	case says.Status == http.StatusForbidden:
		advice = "give Palette's user the permission to read its own account"
	}
	c.found["ok"], c.found["step"], c.found["error"], c.found["advice"] = false, step, text, advice
	return nil
}

// withheld notes until when login protection lets no login go out, and says what to do. Another password
// that is written may be tried sooner than the stored one.
func (c *check) withheld(says *palette.Error) (advice string) {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	c.found["withheld_until"] = at(says.NextTry)
	if says.Others {
		return "wait until withheld_until, and find out who else logs in as the account"
	}
	if says.NextWrite.IsZero() {
		return "write config/" + c.name + " with the right " + c.cfg.LoginFields() + "; one more login is kept for that"
	}
	c.found["withheld_until"] = at(says.NextWrite)
	return fmt.Sprintf("%d logins have failed: even a write is not tried before %s. Write config/%s with the right %s then (verify_connection=false stores it now)",
		says.Failures, at(says.NextWrite), c.name, c.cfg.LoginFields())
}

// proxySetting is where a proxy comes from.
const proxySetting = "proxy_url (or HTTPS_PROXY in Vault's environment)"

// unreached says at which step a call ended that got no answer, and what to do.
func unreached(step string, says *palette.Error) (failed, advice string) {
	if says.Proxy != "" {
		return unreachedProxy(says)
	}
	switch says.Stage {
	case answer.Lookup:
		return stepLookup, "check the host in address, and that Vault's server can resolve it"
	case answer.Connecting:
		return stepConnect, "check host and port in address, that a firewall lets Vault's server through to it, and whether it needs " + proxySetting
	case answer.Handshake:
		if says.NoTLS() {
			return stepTLS, "what listens there is no HTTPS: check the port in address"
		}
		return stepTLS, "check ca_cert, tls_server_name and, where Palette asks for one, client_cert"
	}
	return step, "Palette was reached, but did not answer: wait, see whether request_timeout is too short, and what lies between"
}

// unreachedProxy is unreached where it is the proxy that a call failed at.
func unreachedProxy(says *palette.Error) (failed, advice string) {
	switch says.Stage {
	case answer.Lookup:
		return stepLookup, "check host and port in " + proxySetting
	case answer.Tunnel:
		return stepConnect, "check user and password in " + proxySetting + ", and that the proxy lets Vault's server through to this host"
	case answer.Handshake:
		if says.NoTLS() {
			return stepTLS, "what listens there is no HTTPS: check scheme and port in " + proxySetting
		}
		return stepTLS, "check the host in " + proxySetting + "; ca_cert, tls_server_name and client_cert count for an https:// proxy too"
	}
	return stepConnect, "check host and port in " + proxySetting
}
