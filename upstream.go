package palette

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/lockout"
)

// login logs in with a config, by its password of the time when the login goes out: a
// rotation under way is waited for. A token that arrives after the caller has gone is
// revoked.
func (b *backend) login(ctx context.Context, s logical.Storage, name string, cfg *config) (palette.Token, error) {
	return b.detachedLogin(ctx, s, cfg, func(ctx context.Context) (palette.Token, error) {
		return b.loginNow(ctx, s, name, cfg)
	})
}

// loginNow logs in on the caller's time. Where Palette says no and a rotation's change of
// the password may have reached it late, that is found out first.
func (b *backend) loginNow(ctx context.Context, s logical.Storage, name string, expected *config) (palette.Token, error) {
	token, err := b.loginOnce(ctx, s, name, expected)
	if rejected(err) && b.rotations.unwatch(name) {
		return b.loginOnce(ctx, s, name, expected) // settles first
	}
	return token, err
}

func (b *backend) loginOnce(ctx context.Context, s logical.Storage, name string, expected *config) (palette.Token, error) {
	cfg, leave, err := b.enterAs(ctx, s, name, expected)
	if err != nil {
		return palette.Token{}, err
	}
	defer leave()
	return b.sendLogin(ctx, s, cfg, cfg.login())
}

// sendLogin logs in. A token that is of no use, since a second factor is owed, is revoked.
func (b *backend) sendLogin(ctx context.Context, s logical.Storage, cfg *config, login palette.Login) (palette.Token, error) {
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return palette.Token{}, err
	}
	token, err := client.Login(ctx, login)
	var mfa *palette.MFAError
	if errors.As(err, &mfa) && mfa.Token != "" {
		b.discardNow(s, cfg.account(), heldToken{mfa.Token, time.Now().Add(palette.DefaultTokenLife)}, "a login that owes a second factor")
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
	return b.detachedLogin(ctx, s, cfg, func(ctx context.Context) (palette.Token, error) {
		return client.Refresh(ctx, newest)
	})
}

// detachedLogin is detached for a call that makes a token: one that arrives late is
// revoked.
func (b *backend) detachedLogin(ctx context.Context, s logical.Storage, cfg *config, call func(context.Context) (palette.Token, error)) (palette.Token, error) {
	return detached(ctx, b, call, func(token palette.Token) {
		b.discardNow(s, cfg.account(), held(token), "a call whose caller had gone")
	})
}

// detached runs a call that makes something apart from the caller's context: a call that
// is broken off may have made one that nobody knows, and only its answer tells which. It
// returns as soon as the caller has gone. A call that still waits for its turn then is not
// made; one that was sent goes on, and what it brings is given to late, to be ended.
func detached[T any](ctx context.Context, b *backend, call func(context.Context) (T, error), late func(T)) (T, error) {
	type outcome struct {
		made T
		err  error
	}
	// What still waits for its turn is broken off when the caller goes, or the mount.
	wait, breakOff := context.WithCancel(ctx)
	leaving := b.background.onLeave()
	arrived, kept, gone := make(chan outcome), make(chan bool, 1), make(chan struct{})
	started := b.run(false, func() {
		defer breakOff()
		out := outcome{err: errPanic} // until the outcome is known
		b.shielded(func() { out.made, out.err = call(palette.Detach(wait)) })
		wanted := false
		select {
		case arrived <- out:
			wanted = <-kept
		case <-gone:
		}
		if out.err == nil && !wanted {
			late(out.made)
		}
	})
	var none T
	if !started {
		breakOff()
		return none, errEnding
	}
	select {
	case out := <-arrived:
		// Vault throws away what is returned to a caller who has gone.
		err := cmp.Or(out.err, ctx.Err())
		kept <- err == nil
		return out.made, err
	case <-ctx.Done():
		close(gone)
		breakOff()
		return none, ctx.Err()
	case <-leaving: // a lease of a mount whose leases have been ended would never end
		close(gone)
		breakOff()
		return none, errEnding
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
	if err := b.end(context.Background(), a, &revocation{tokens: []heldToken{token}}); err != nil {
		b.oweLoose(s, a, token, why, err)
	}
}

// oweLoose lists a token that no lease holds and that could not be revoked.
func (b *backend) oweLoose(s logical.Storage, a account, token heldToken, why string, err error) {
	b.Logger().Warn("could not revoke a token that no lease holds; trying again each minute", "from", why, "expires_at", token.ExpiresAt, "error", err)
	if err := b.owe(context.Background(), s, "", a, []heldToken{token}); err != nil {
		b.Logger().Error("could not list a token to be revoked; it lives to its own expiry", "from", why, "expires_at", token.ExpiresAt, "error", err)
	}
}

// errEnding is for calls that come while the mount ends.
var errEnding = logical.CodedError(http.StatusServiceUnavailable, "the mount is being sealed, reloaded or removed")

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
	var says *palette.Error
	if !errors.As(err, &says) {
		return nil, upstreamError(err)
	}
	withheld := ""
	if !says.NextTry.IsZero() {
		withheld = fmt.Sprintf("; not asked again before %s, so that Palette does not suspend the account", says.NextTry.UTC().Format(time.RFC3339))
	}
	if palette.Refusal(err) == nil {
		if withheld != "" {
			return nil, logical.CodedError(http.StatusBadGateway, err.Error()+withheld)
		}
		return nil, upstreamError(err)
	}
	advice := "check email, org and password and write config/" + name + " again"
	if at := cfg.setAt(); time.Since(at) < lockout.TrustedFor {
		advice = fmt.Sprintf("a rotation has set this password at %s, and Palette may need a moment until it knows it everywhere; where this lasts, write config/%s with the right one", at.UTC().Format(time.RFC3339), name)
	}
	return userError("Palette (%s) rejects the login of config %q as %q in organization %q%s; %s%s%s",
		says.Host, name, cfg.Email, cfg.Org, says.PaletteSays(), advice, withheld, hint), nil
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
