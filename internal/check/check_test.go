package check_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/check"
	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

const name = enginetest.Name

// mount is an engine with a config and a checker.
type mount struct {
	*enginetest.Engine
	checker *check.Checker
}

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{Engine: enginetest.New(t, opts...)}
	m.Configure()
	logger := hclog.New(&hclog.LoggerOptions{Output: m.Log})
	m.checker = &check.Checker{
		Clients: m.Clients, Credentials: m.Credentials, Sessions: m.Sessions, Revocations: m.Revocations, Tasks: m.Tasks,
		Logger: func() hclog.Logger { return logger },
	}
	return m
}

// run is a check of the config as it is.
func (m *mount) run(fresh bool) (map[string]any, error) {
	found, _, err := m.checker.Run(m.T.Context(), m.Storage, name, m.Stored(), fresh)
	return found, err
}

// found is what a check finds, which may not fail itself.
func (m *mount) found() map[string]any {
	m.T.Helper()
	found, err := m.run(false)
	require.NoError(m.T, err)
	return found
}

// fields are some of what was found, nil where it was not.
func fields(found map[string]any, names ...string) []any {
	out := make([]any, len(names))
	for i, name := range names {
		out[i] = found[name]
	}
	return out
}

func TestCheckOfALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, palettetest.WithLatency(1300*time.Microsecond))
		found := m.found()
		u, _ := m.Palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		assert.Equal(t, []any{true, name, m.Palette.URL(), "login", int64(900), "example", u.UID, check.RevocationAvailable},
			fields(found, "ok", "config", "address", "method", "token_life", "org", "user_uid", "revocation"))
		assert.Equal(t, []any{1.3, 1.3, 1.3}, fields(found, "login_ms", "user_info_ms", "revoke_ms"), "in tenths of milliseconds")
		assert.Contains(t, found, "clock_offset")
		assert.Empty(t, m.Palette.LiveTokens())
	})
}

// A session that lives spares the login, which Palette counts, unless a login is asked for.
func TestCheckOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		h, err := m.Sessions.Current(t.Context(), m.Storage, name, m.Stored())
		require.NoError(t, err)
		assert.Equal(t, []any{true, "session", int64(900), check.RevocationNotAsked}, fields(m.found(), "ok", "method", "token_life", "revocation"))
		assert.Equal(t, 1, m.Palette.Calls(palettetest.Login))
		found, err := m.run(true)
		require.NoError(t, err)
		assert.Equal(t, "login", found["method"])
		m.Palette.EndSession(h.Newest().Token.Reveal())
		assert.Equal(t, []any{false, "token", "delete sessions/default, so that the next read logs in"}, fields(m.found(), "ok", "step", "advice"))
		time.Sleep(15 * time.Minute) // its token has died
		assert.Equal(t, "login", m.found()["method"])
	})
}

func TestCheckOfAnAPIKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, palettetest.AllowLiveTokens())
		m.PlantKey("own", "the-own-key", time.Hour)
		m.Configure(func(c *store.Config) { c.APIKey = "the-own-key" })
		assert.Equal(t, []any{true, "api_key", "example"}, fields(m.found(), "ok", "method", "org"))
		m.Palette.DeleteKey("own")
		assert.Equal(t, []any{false, "token", "write config/default with an api_key that is active"}, fields(m.found(), "ok", "step", "advice"))
	})
}

// Whether Palette can revoke is told, and what could not be revoked is pending.
func TestCheckTellsWhetherPaletteRevokes(t *testing.T) {
	for _, c := range []struct {
		want    string
		opts    []palettetest.Option
		fault   palettetest.Fault
		pending int
	}{
		{check.RevocationAvailable, nil, palettetest.Fault{Times: 1}, 0},
		{check.RevocationMissing, []palettetest.Option{palettetest.WithoutRevoke(), palettetest.AllowLiveTokens()}, palettetest.Fault{Times: 1}, 0},
		{check.RevocationFailed, nil, palettetest.Fault{Garbage: true}, 1},
	} {
		enginetest.Bubble(t, c.want, func(t *testing.T) {
			m := newMount(t, c.opts...)
			m.Palette.Inject(palettetest.Revoke, c.fault)
			found := m.found()
			assert.Equal(t, []any{true, c.want}, fields(found, "ok", "revocation"))
			assert.Equal(t, c.want == check.RevocationAvailable, found["revoke_ms"] != nil)
			assert.Equal(t, c.pending, m.Pending())
			m.Palette.ClearAll()
			require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage))
		})
	}
}

// What works, and should be looked at, is a warning.
func TestCheckWarns(t *testing.T) {
	const clock = "Vault's: the engine sets the expiry of API keys by Palette's clock"
	for _, c := range []struct {
		offset  time.Duration
		fault   palettetest.Fault
		warning string
	}{
		{0, palettetest.Fault{Times: 1}, ""},
		{29 * time.Second, palettetest.Fault{Times: 1}, ""},
		{119500 * time.Millisecond, palettetest.Fault{Times: 1}, "Palette's clock is 2m0s ahead of " + clock},
		{-119500 * time.Millisecond, palettetest.Fault{Times: 1}, "Palette's clock is 2m0s behind " + clock},
		{0, palettetest.Fault{Garbage: true}, "the check's token could not be revoked yet; the revocation is pending"},
	} {
		enginetest.Bubble(t, fmt.Sprint(c.offset, c.warning), func(t *testing.T) {
			m := newMount(t)
			m.Palette.SetClock(c.offset)
			m.Palette.Inject(palettetest.Revoke, c.fault)
			found, warnings, err := m.checker.Run(t.Context(), m.Storage, name, m.Stored(), false)
			require.NoError(t, err)
			assert.Equal(t, true, found["ok"])
			if c.warning == "" {
				assert.Empty(t, warnings)
			} else {
				require.Len(t, warnings, 1)
				assert.Contains(t, warnings[0], c.warning)
			}
			m.Palette.ClearAll()
			require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage))
		})
	}
}

// scripted is a Palette that answers logins with an error.
type scripted struct {
	upstream.API
	err error
}

func (s scripted) Login(context.Context, palette.Login) (palette.Token, error) {
	return palette.Token{}, s.err
}

func (scripted) Close() {}

// The step that fails, and advice that accuses the right side.
func TestCheckAdvice(t *testing.T) {
	const noTLS = "TLS: the other side does not speak TLS"
	unreached := func(stage answer.Stage, cause, proxy string) error {
		return &palette.Error{Kind: answer.Unreachable, Op: palette.OpLogin, Stage: stage, Cause: cause, Proxy: proxy}
	}
	says := func(kind answer.Kind, change ...func(*palette.Error)) error {
		e := &palette.Error{Kind: kind, Op: palette.OpLogin, Status: 400}
		for _, f := range change {
			f(e)
		}
		return e
	}
	held := func(e *palette.Error) { e.NextTry = enginetest.Epoch.Add(time.Minute) }
	heldLong := func(e *palette.Error) { held(e); e.NextWrite, e.Failures = enginetest.Epoch.Add(time.Hour), 4 }
	for _, c := range []struct {
		err          error
		step, advice string
		withheld     any
	}{
		{unreached(answer.Lookup, "", ""), "name lookup", "check the host in address", nil},
		{unreached(answer.Connecting, "", ""), "connection", "that a firewall lets Vault's server through", nil},
		{unreached(answer.Handshake, noTLS, ""), "TLS", "what listens there is no HTTPS: check the port in address", nil},
		{unreached(answer.Handshake, "", ""), "TLS", "check ca_cert, tls_server_name", nil},
		{unreached(answer.Sent, "", ""), "login", "Palette was reached, but did not answer", nil},
		{unreached(answer.NotSent, "", ""), "login", "did not answer", nil},
		{unreached(answer.Lookup, "", "proxy:1"), "name lookup", "check host and port in proxy_url", nil},
		{unreached(answer.Connecting, "", "proxy:1"), "connection", "check host and port in proxy_url", nil},
		{unreached(answer.Tunnel, "", "proxy:1"), "connection", "check user and password in proxy_url", nil},
		{unreached(answer.Handshake, noTLS, "proxy:1"), "TLS", "check scheme and port in proxy_url", nil},
		{unreached(answer.Handshake, "", "proxy:1"), "TLS", "check the host in proxy_url", nil},
		{says(answer.Limited), "login", "Palette's limit is reached", nil},
		{says(answer.Unavailable), "login", "Palette is out of order", nil},
		{says(answer.Foreign), "login", "somebody between Vault and Palette answers", nil},
		{says(answer.Foreign, held), "login", "somebody between Vault and Palette answers", "2026-03-01T12:01:00Z"},
		{says(answer.Malformed), "login", "ask its support", nil},
		{says(answer.Rejected), "login", "with the right email, org and password; see whether the account is suspended", nil},
		{says(answer.Rejected, held), "login", "one more login is kept for that", "2026-03-01T12:01:00Z"},
		{says(answer.Rejected, heldLong), "login", "4 logins have failed: even a write is not tried before 2026-03-01T13:00:00Z", "2026-03-01T13:00:00Z"},
		{&palette.MFAError{}, "login", "without a second factor", nil},
	} {
		enginetest.Bubble(t, c.advice, func(t *testing.T) {
			m := newMount(t)
			m.Clients.New = func(palette.Connection) (upstream.API, error) { return scripted{err: c.err}, nil }
			found := m.found()
			assert.Equal(t, []any{false, c.step, c.withheld}, fields(found, "ok", "step", "withheld_until"))
			assert.Contains(t, found["advice"], c.advice)
			assert.NotEmpty(t, found["error"])
		})
	}
}

func TestCheckAdviceOfAToken(t *testing.T) {
	for status, advice := range map[int]string{401: "Palette has just made this token", 403: "the permission to read its own account"} {
		enginetest.Bubble(t, advice, func(t *testing.T) {
			m := newMount(t)
			m.Palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: status})
			found := m.found()
			assert.Equal(t, []any{false, "token", check.RevocationAvailable}, fields(found, "ok", "step", "revocation"))
			assert.Contains(t, found["advice"], advice)
		})
	}
}

// What is not Palette's is an error of the check's own.
func TestCheckThatFailsItself(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(m *mount)
		fails   error
		text    string
	}{
		"the session cannot be read":    {func(m *mount) { m.Storage.FailOn("get", store.SessionPrefix) }, enginetest.ErrDisk, ""},
		"the mount is ending":           {func(m *mount) { assert.NoError(m.T, m.Tasks.Drain(m.T.Context())) }, tasks.ErrEnding, ""},
		"the connection cannot be used": {func(m *mount) { m.Configure(func(c *store.Config) { c.CACert = "no PEM" }) }, nil, "ca_cert"},
		"nor a key's":                   {func(m *mount) { m.Configure(func(c *store.Config) { c.CACert, c.APIKey = "no PEM", "x" }) }, nil, "ca_cert"},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			m := newMount(t)
			m.Stored()
			c.prepare(m)
			_, err := m.run(false)
			require.ErrorContains(t, err, c.text)
			if c.fails != nil {
				require.ErrorIs(t, err, c.fails)
			}
		})
	}
}

func TestCheckWhoseCallerHangsUp(t *testing.T) {
	for _, at := range []palettetest.Endpoint{palettetest.Login, palettetest.UserInfo, palettetest.Revoke} {
		enginetest.Bubble(t, string(at), func(t *testing.T) {
			m := newMount(t)
			gate := m.Palette.Hold(at)
			ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			_, _, err := m.checker.Run(ctx, m.Storage, name, m.Stored(), false)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			gate.Release()
			m.Wait()
			assert.Empty(t, m.Palette.LiveTokens())
		})
	}
}

// A mount that ends while a check has a token waits for the token's revocation.
func TestCheckAtTheEndOfTheMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		gate, done := m.Palette.Hold(palettetest.UserInfo), make(chan error, 2)
		ctx, sealed := context.WithCancel(t.Context())
		go func() {
			_, _, err := m.checker.Run(ctx, m.Storage, name, m.Stored(), false)
			done <- err
		}()
		<-gate.Arrived()
		sealed()
		require.NoError(t, m.Tasks.Drain(t.Context()))
		gate.Release()
		require.ErrorIs(t, <-done, context.Canceled)
		assert.Empty(t, m.Palette.LiveTokens())
	})
}
