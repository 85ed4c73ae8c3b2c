package palette

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// login logs in with a config. A token that arrives after the caller has gone is
// revoked.
func (b *backend) login(ctx context.Context, s logical.Storage, cfg *config, login palette.Login) (palette.Token, error) {
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return palette.Token{}, err
	}
	return b.detached(ctx, s, cfg.account(), func(ctx context.Context) (palette.Token, error) {
		return b.loginNow(ctx, s, cfg, client, login)
	})
}

// loginNow logs in on the caller's time. A token that is of no use, since a second factor
// is owed, is revoked.
func (b *backend) loginNow(ctx context.Context, s logical.Storage, cfg *config, client paletteAPI, login palette.Login) (palette.Token, error) {
	token, err := client.Login(ctx, login)
	var mfa *palette.MFAError
	if errors.As(err, &mfa) && mfa.Token != "" {
		b.discardNow(s, cfg.account(), heldToken{mfa.Token, b.clock.Now().Add(palette.DefaultTokenLife)}, "a login that owes a second factor")
	}
	return token, err
}

// refresh gets a new token of the session of another one. A token that arrives after
// the caller has gone is revoked.
func (b *backend) refresh(ctx context.Context, s logical.Storage, cfg *config, newest palette.Secret) (palette.Token, error) {
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return palette.Token{}, err
	}
	return b.detached(ctx, s, cfg.account(), func(ctx context.Context) (palette.Token, error) {
		return client.Refresh(ctx, newest)
	})
}

// detached runs a call that makes a token apart from the caller's context: a call that
// is broken off may have made one that nobody knows, and only its answer tells which.
// It returns as soon as the caller has gone; the call goes on, within the config's
// request_timeout, and what it then brings is revoked.
func (b *backend) detached(ctx context.Context, s logical.Storage, a account, call func(context.Context) (palette.Token, error)) (palette.Token, error) {
	type outcome struct {
		token palette.Token
		err   error
	}
	arrived, kept, gone := make(chan outcome), make(chan bool, 1), make(chan struct{})
	started := b.inBackground(func() {
		var out outcome
		out.token, out.err = call(context.WithoutCancel(ctx))
		wanted := false
		select {
		case arrived <- out:
			wanted = <-kept
		case <-gone:
		}
		if out.err == nil && !wanted {
			b.discardNow(s, a, held(out.token), "a call whose caller had gone")
		}
	})
	if !started {
		return palette.Token{}, errEnding
	}
	select {
	case out := <-arrived:
		// Vault throws away what is returned to a caller who has gone.
		err := cmp.Or(out.err, ctx.Err())
		kept <- err == nil
		return out.token, err
	case <-ctx.Done():
		close(gone)
		return palette.Token{}, ctx.Err()
	}
}

// discard revokes a token that no lease will hold. The channel is closed when that is
// done.
func (b *backend) discard(s logical.Storage, a account, token heldToken, why string) <-chan struct{} {
	done := make(chan struct{})
	started := b.inBackground(func() {
		defer close(done)
		b.discardNow(s, a, token, why)
	})
	if !started {
		b.Logger().Warn("the mount ends before a token that no lease holds is revoked; it lives to its own expiry", "from", why, "expires_at", token.ExpiresAt)
		close(done)
	}
	return done
}

// discardNow revokes a token that no lease will hold or, where that fails, leaves it to
// the list of what the engine owes.
func (b *backend) discardNow(s logical.Storage, a account, token heldToken, why string) {
	ctx, tokens := context.Background(), []heldToken{token}
	err := b.end(ctx, a, &revocation{tokens: tokens})
	if err == nil {
		return
	}
	b.Logger().Warn("could not revoke a token that no lease holds; trying again each minute", "from", why, "expires_at", token.ExpiresAt, "error", err)
	if err := b.owe(ctx, s, "", a, tokens); err != nil {
		b.Logger().Error("could not list a token to be revoked; it lives to its own expiry", "from", why, "expires_at", token.ExpiresAt, "error", err)
	}
}

// errEnding is for calls that come while the mount ends.
var errEnding = logical.CodedError(http.StatusServiceUnavailable, "the mount is being sealed, reloaded or removed")

// inBackground runs work that may outlive its request; Clean waits for it. False: the
// mount is ending, and the work is not done.
func (b *backend) inBackground(work func()) bool {
	if !b.background.TryAcquire(1) {
		return false
	}
	go func() {
		defer b.background.Release(1)
		b.shielded(work)
	}()
	return true
}

// shielded runs work in a goroutine of ours: a panic in it would end the process, and
// print what it was about.
func (b *backend) shielded(work func()) {
	defer func() {
		if recover() != nil {
			b.Logger().Error("panic in the background", "stack", string(debug.Stack()))
		}
	}()
	work()
}

// failedLogin answers for a login that did not work: 400 where the user can mend it,
// 502 or 503 where it is Palette's fault. Never 403, which Vault's clients take for a
// bad Vault token.
func failedLogin(name string, cfg *config, err error, hint string) (*logical.Response, error) {
	if hint != "" {
		hint = "; " + hint
	}
	var mfa *palette.MFAError
	if errors.As(err, &mfa) {
		return userError("Palette asks the account %q of config %q for a second factor, which an engine cannot give; use an account without MFA%s", cfg.Email, name, hint), nil
	}
	if says := palette.Refusal(err); says != nil {
		if !says.NextTry.IsZero() {
			hint = fmt.Sprintf("; not asked again before %s, so that Palette does not suspend the account%s", says.NextTry.UTC().Format(time.RFC3339), hint)
		}
		return userError("Palette (%s) rejects the login of config %q as %q in organization %q%s; check email, org and password and write config/%s again%s",
			says.Host, name, cfg.Email, cfg.Org, says.PaletteSays(), name, hint), nil
	}
	return nil, upstreamError(err)
}

// upstreamError is the answer for a fault of Palette's: a coded error, outermost, since
// Vault answers 500 for one that is wrapped.
func upstreamError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // the caller has gone, nobody reads this
	}
	switch palette.KindOf(err) {
	case 0:
		return err
	case palette.Limited:
		return logical.CodedError(http.StatusServiceUnavailable, err.Error())
	default:
		return logical.CodedError(http.StatusBadGateway, err.Error())
	}
}
