package rootcred

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/password"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Rotate gives a config a new password or API key. The rotation goes on where its caller hangs
// up. A second rotation at the same time is refused (409).
func (m *Manager) Rotate(ctx context.Context, s logical.Storage, name string) error {
	busy := false
	m.with(name, func(st *state) { busy, st.rotating = st.rotating, true })
	if busy {
		return logical.CodedError(http.StatusConflict, fmt.Sprintf("config %q is being rotated already", name))
	}
	ended := func() { m.with(name, func(st *state) { st.rotating = false }) }
	done := make(chan error, 1)
	started := m.Tasks.StartFollowUp(func() {
		err := tasks.ErrPanic // until the outcome is known
		// Whoever hears of the outcome may rotate again, so the rotation ends first.
		defer func() { ended(); done <- err }()
		apart := exchange.Alone(ctx)
		err = m.rotateAlone(apart, s, name)
		m.Hooks.Rotated(apart, s, name, err)
	})
	if !started {
		ended()
		return tasks.ErrEnding
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rotateAlone rotates a config under its credential lock.
func (m *Manager) rotateAlone(ctx context.Context, s logical.Storage, name string) error {
	if err := m.LookUp(ctx, s); err != nil {
		return err
	}
	release, err := m.acquireAlone(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	if err = m.recover(ctx, s, name); err != nil {
		return err
	}
	if len(m.unresolved(name)) > 0 {
		return errors.New("the storage does not delete the write-ahead entry of an earlier rotation; no other rotation starts before")
	}
	cfg, err := m.Configs.Get(ctx, s, name)
	if err != nil {
		return err
	}
	if cfg == nil {
		return upstream.Mistakef("there is no config %q", name)
	}
	if cfg.APIKey != "" {
		return m.rotateKey(ctx, s, name, cfg)
	}
	if cfg.IsSystem() {
		return upstream.Mistakef("field %q of config %q is %q: Palette documents no call that changes a system administrator's password; change it in the system console and write config/%s", "login_type", name, cfg.LoginType, name)
	}
	return m.rotatePassword(ctx, s, name, cfg)
}

// rotatePassword changes the password: into the write-ahead log, at Palette, into the config, out
// of the log.
func (m *Manager) rotatePassword(ctx context.Context, s logical.Storage, name string, cfg *store.Config) error {
	client, err := m.Clients.For(cfg.Connection)
	if err != nil {
		return err
	}
	cfg, token, err := m.loginToRotate(ctx, s, name, cfg)
	if err != nil {
		return err
	}
	defer m.Revocations.Discard(s, revocation.AccountOf(cfg), store.TokenOf(token), rotationLogin)
	fresh, err := password.New(ctx, m.System(), cfg.PasswordPolicy)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	w := &store.PasswordWAL{ConfigName: name, Identity: cfg.Identity(), Password: fresh, TrustDigest: cfg.TrustDigest(), At: now, ArrivesBy: cfg.ArrivesBy(now)}
	id, err := framework.PutWAL(ctx, s, store.WALPassword, w)
	if err != nil {
		return fmt.Errorf("writing the new password ahead: %w", err)
	}
	m.add(name, id)
	err = client.ChangePassword(ctx, palette.Auth{Token: token.Raw}, palette.PasswordChange{Email: cfg.Email, Current: cfg.Password, New: fresh})
	switch answer.VerdictOf(err) {
	case answer.Done:
	case answer.NotDone, answer.AuthDead, answer.HeldBack: // Palette has not taken it
		m.resolve(name, id)
		m.deleteWAL(ctx, s, name, id)
		return err
	default:
		return m.findOutPassword(ctx, s, name, fresh, err)
	}
	if err := m.storePassword(ctx, s, name, cfg, w); err != nil {
		return err
	}
	m.resolve(name, id)
	m.deleteWAL(ctx, s, name, id)
	return nil
}

// loginToRotate logs in before a rotation. The login shows that the password is the right one,
// and authenticates the change: whether Palette asks for that is not known (an assumption). An
// earlier change that is still on its way names this password too, and Palette refuses it once
// this rotation is through.
func (m *Manager) loginToRotate(ctx context.Context, s logical.Storage, name string, cfg *store.Config) (*store.Config, palette.Token, error) {
	token, err := m.Send(ctx, s, cfg, cfg.Login())
	if !upstream.Rejected(err) || !m.endGrace(name) {
		return cfg, token, err
	}
	// The change of an interrupted rotation has reached Palette late.
	if err = m.recover(ctx, s, name); err != nil {
		return nil, palette.Token{}, err
	}
	if cfg, err = m.Configs.Get(ctx, s, name); err != nil {
		return nil, palette.Token{}, err
	}
	token, err = m.Send(ctx, s, cfg, cfg.Login())
	return cfg, token, err
}

// findOutPassword recovers a rotation whose answer is missing. nil: the new password is stored.
func (m *Manager) findOutPassword(ctx context.Context, s logical.Storage, name string, fresh palette.Secret, failed error) error {
	m.Logger().Warn(MsgChangeUnknown, "config", name, "error", failed)
	if err := m.recover(ctx, s, name); err != nil {
		return err
	}
	if present, err := m.Configs.Get(ctx, s, name); err != nil || present == nil || present.Password != fresh {
		return failed
	}
	return nil
}

// storePassword makes a rotated password the config's. Where the storage fails, the write-ahead
// entry stays, and the config's next use recovers the rotation.
func (m *Manager) storePassword(ctx context.Context, s logical.Storage, name string, cfg *store.Config, w *store.PasswordWAL) error {
	next := *cfg
	next.Password = w.Password
	next.SetRotated(w.At)
	m.Hooks.Changed(ctx, s, name)
	if err := m.Configs.Put(ctx, s, name, &next); err != nil {
		m.Logger().Error(MsgPasswordNotStored, "config", name, "error", err)
		return fmt.Errorf("the password is changed at Palette, but the storage did not take the config; the write-ahead log keeps the new one: %w", err)
	}
	return nil
}
