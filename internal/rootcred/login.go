package rootcred

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Login logs in with a config, by its password of the time when the login goes out. A token that
// comes after the caller has gone is revoked.
func (m *Manager) Login(ctx context.Context, s logical.Storage, name string, cfg *store.Config) (palette.Token, error) {
	return m.Detach(ctx, s, cfg, func(ctx context.Context) (palette.Token, error) {
		return m.LoginNow(ctx, s, name, cfg)
	})
}

// LateCaller says in the log where a token comes from whose caller has gone.
const LateCaller = "a call whose caller had gone"

// Detach is tasks.Detach for a call that makes a token of a config: a token that comes late is
// revoked.
func (m *Manager) Detach(ctx context.Context, s logical.Storage, cfg *store.Config, call func(context.Context) (palette.Token, error)) (palette.Token, error) {
	return tasks.Detach(ctx, m.Tasks, call, func(token palette.Token) {
		m.Revocations.DiscardNow(s, revocation.AccountOf(cfg), store.TokenOf(token), LateCaller)
	})
}

// LoginNow logs in on the caller's time. Where Palette rejects the password, the change of an
// interrupted rotation may have reached Palette late: LoginNow then recovers the rotation and
// logs in once more.
func (m *Manager) LoginNow(ctx context.Context, s logical.Storage, name string, seen *store.Config) (palette.Token, error) {
	token, err := m.loginOnce(ctx, s, name, seen)
	if upstream.Rejected(err) && m.endGrace(name) {
		return m.loginOnce(ctx, s, name, seen)
	}
	return token, err
}

func (m *Manager) loginOnce(ctx context.Context, s logical.Storage, name string, seen *store.Config) (palette.Token, error) {
	cfg, release, err := m.Use(ctx, s, name, seen)
	if err != nil {
		return palette.Token{}, err
	}
	defer release()
	return m.Send(ctx, s, cfg, cfg.Login())
}

// Send sends a login. A token of an account with a second factor is useless and is revoked.
func (m *Manager) Send(ctx context.Context, s logical.Storage, cfg *store.Config, login palette.Login) (palette.Token, error) {
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return palette.Token{}, err
	}
	token, err := client.Login(ctx, login)
	var mfa *palette.MFAError
	if errors.As(err, &mfa) && mfa.Token != "" {
		useless := store.Token{Token: mfa.Token, ExpiresAt: time.Now().Add(answer.DefaultTokenLife)}
		m.Revocations.DiscardNow(s, revocation.AccountOf(cfg), useless, "a login whose account has a second factor")
	}
	return token, err
}

// tryPassword logs in and revokes the token.
func (m *Manager) tryPassword(ctx context.Context, s logical.Storage, cfg *store.Config, login palette.Login) error {
	token, err := m.Send(ctx, s, cfg, login)
	if err != nil {
		return err
	}
	m.Revocations.Discard(s, revocation.AccountOf(cfg), store.TokenOf(token), rotationLogin)
	return nil
}

// rotationLogin says in the log where a token comes from.
const rotationLogin = "a rotation's login"
