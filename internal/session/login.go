package session

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/upstream"
)

// Logins is the kind of a config's session, which a login begins.
type Logins struct {
	Configs     *store.Configs
	Clients     *upstream.Clients
	Revocations *revocation.Manager
	Credentials *rootcred.Manager
	Logger      func() hclog.Logger
}

// Label implements Kind, as do the others below.
func (l *Logins) Label() string { return "config" }

// Want is the session of a config that is there.
func (l *Logins) Want(ctx context.Context, s logical.Storage, name string) (*Want, error) {
	cfg, err := l.Configs.Get(ctx, s, name)
	if err != nil || cfg == nil {
		return nil, err
	}
	return &Want{Name: name, Config: cfg}, nil
}

// Fresh tells whether the newest token may be handed out. Two thirds of its life must be left, so that
// its reader has time to use it. A token that is older than the config's present password is not fresh,
// since a change of the password may end sessions (an assumption). MarkSuspect says so too, but not to
// another node, nor to the next process where the storage fails.
func (l *Logins) Fresh(c *Credential, w *Want, now time.Time) bool {
	made := c.Newest().ExpiresAt.Add(-c.Life)
	return made.Unix() >= w.Config.SecretSince && c.Left(now) >= c.Life*2/3
}

// The log's messages for sessions that are renewed.
const (
	MsgSessionOver    = "a shared session is over, logging in again"
	MsgNotRefreshed   = "a shared session could not be refreshed"
	MsgTokenNotStored = "a shared session's new token could not be stored"
	refreshFailed     = "the shared session could not be refreshed, so the token is the present one and may not live long: "
	sessionNotStored  = "a shared session that could not be stored"
)

// Renew refreshes a session, or logs in where there is none or Palette has ended it.
func (l *Logins) Renew(ctx context.Context, s logical.Storage, m *Manager, w *Want, have *Credential) (*Credential, error) {
	client, err := l.Clients.For(w.Config.Connection)
	if err != nil {
		return nil, err
	}
	if have == nil || len(store.Alive(have.Tokens, time.Now())) == 0 {
		return l.begin(ctx, s, m, w, have)
	}
	token, err := client.Refresh(ctx, have.Newest().Token)
	switch {
	case answer.VerdictOf(err) == answer.SessionOver:
		l.Logger().Info(MsgSessionOver, "config", w.Name, "error", err)
		return l.begin(ctx, s, m, w, have)
	case err != nil:
		l.Logger().Warn(MsgNotRefreshed, "config", w.Name, "token_expires_at", have.Newest().ExpiresAt, "error", err)
		return nil, &Passing{refreshFailed, err}
	}
	next := *have
	next.Tokens = append(store.Alive(have.Tokens, time.Now()), store.TokenOf(token))
	next.Life, next.Suspect = token.Life, false
	next.Refreshes++
	if err := m.Put(ctx, s, w.Name, &next); err != nil {
		// To revoke the new token could end the session, which others use. So memory keeps the
		// token; a restart goes on with what was stored before.
		l.Logger().Error(MsgTokenNotStored, "config", w.Name, "error", err)
		m.stored.Hold(w.Name, &next)
	}
	return &next, nil
}

// begin logs in. Tokens of the session before that may be alive have been handed out: they stay
// with the new session and end with it.
func (l *Logins) begin(ctx context.Context, s logical.Storage, m *Manager, w *Want, before *Credential) (*Credential, error) {
	token, err := l.Credentials.LoginNow(ctx, s, w.Name, w.Config)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	next := &Credential{Identity: w.Config.Identity(), IssuedAt: now.UTC(), Life: token.Life, Tokens: []store.Token{store.TokenOf(token)}}
	if before != nil {
		next.Tokens = append(store.Alive(before.Tokens, now), next.Tokens...)
	}
	if err := m.Put(ctx, s, w.Name, next); err != nil {
		l.Revocations.DiscardNow(s, revocation.AccountOf(w.Config), store.TokenOf(token), sessionNotStored)
		m.unstored(ctx, s, w.Name, before)
		return nil, err
	}
	return next, nil
}

// MsgEndPending is the log's message for a session that cannot be ended now.
const MsgEndPending = "a shared session could not be ended at Palette; its revocation is pending and retried each minute"

// End revokes a session's tokens, or makes their revocation pending.
func (l *Logins) End(ctx context.Context, s logical.Storage, name string, have *Credential) error {
	tokens := store.Alive(have.Tokens, time.Now())
	if len(tokens) == 0 {
		return nil
	}
	a, err := l.Revocations.AccountFor(ctx, s, name, have.Identity)
	if err != nil {
		return err
	}
	if err := l.Revocations.End(ctx, a, tokens); err != nil {
		l.Logger().Warn(MsgEndPending, "config", name, "dead_by_itself_at", store.LastExpiry(tokens), "error", err)
		// The caller may have gone. The pending revocation is written all the same.
		return l.Revocations.Enqueue(context.WithoutCancel(ctx), s, "", a.Entry(tokens))
	}
	return nil
}

// Tidy leaves a session as it is: a dead token needs no end.
func (l *Logins) Tidy(_ context.Context, _ logical.Storage, _ string, have *Credential) (*Credential, error) {
	return have, nil
}

// Rejected does not ask: whoever uses a session's token finds out, see [Manager.After], and others soon
// get another token.
func (l *Logins) Rejected(context.Context, logical.Storage, *Credential) bool { return false }

// Gone is never asked.
func (l *Logins) Gone(context.Context, logical.Storage, *Credential) bool { return false }
