package revocation_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/revocation"
	"vault-plugin-secrets-palette/internal/store"
)

// A 401 says that the token which authenticated the call is dead, and nothing of the others: the
// next one authenticates the next try.
func TestRevocationGoesOnPastDeadTokens(t *testing.T) {
	for name, dead := range map[string]int{"none": 0, "the newest": 1, "two": 2, "all": 3} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t)
			var tokens []store.Token
			for range 3 {
				tokens = append(tokens, m.Login())
				time.Sleep(time.Second)
			}
			for _, token := range tokens[3-dead:] {
				m.Palette.EndSession(token.Token.Reveal())
			}
			require.NoError(t, m.Revocations.End(t.Context(), m.account, tokens))
			assert.Empty(t, m.Palette.LiveTokens())
			assert.Equal(t, min(dead+1, 3), m.Palette.Calls(palettetest.Revoke))
		})
	}
}

func TestRevocationOfNothingNeedsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		require.NoError(t, m.Revocations.End(t.Context(), m.account, nil))
		assert.Zero(t, m.Palette.TotalCalls())
	})
}

// A Palette without the endpoint lets tokens die by themselves. The log says when.
func TestRevocationWithoutTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, palettetest.WithoutRevoke(), palettetest.AllowLiveTokens())
		require.NoError(t, m.Revocations.End(t.Context(), m.account, m.Logins(2)))
		m.Logged(revocation.MsgNoRevocation, "tokens=2", "2026-03-01 12:15:00")
	})
}

func TestRevocationThroughAConnectionThatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.account.Connection.CACert = "no PEM"
		assert.ErrorContains(t, m.Revocations.End(t.Context(), m.account, make([]store.Token, 2)), "ca_cert")
	})
}

func TestRevocationFindsTheAccountOfAnIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		found, err := m.Revocations.AccountFor(t.Context(), m.Storage, enginetest.Name, m.Stored().Identity())
		require.NoError(t, err)
		assert.Equal(t, m.account, found)
		e := found.Entry(nil)
		assert.Equal(t, m.Stored().Identity(), e.Identity())
		assert.Equal(t, m.account, found.KeyEntry("ci", store.Key{}).Account())
	})
}

// A token that no lease will hold is revoked or, where that fails, pending; the log tells of it.
func TestRevocationOfATokenThatNoLeaseHolds(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(m *mount)
		pending int
		lives   bool
		said    string
	}{
		"it works":              {func(*mount) {}, 0, false, ""},
		"Palette is down":       {func(m *mount) { m.Palette.Down(true) }, 1, true, revocation.MsgLoosePending},
		"the storage fails too": {func(m *mount) { m.Palette.Down(true); m.Storage.FailOn("put", "") }, 0, true, revocation.MsgLooseLost},
		"the mount is ending":   {func(m *mount) { assert.NoError(m.T, m.Tasks.Drain(m.T.Context())) }, 0, true, revocation.MsgDiscardLost},
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t, palettetest.AllowLiveTokens())
			token := m.Login()
			c.prepare(m)
			<-m.Revocations.Discard(m.Storage, m.account, token, "a test")
			assert.Equal(t, c.lives, m.Alive(token))
			assert.Equal(t, c.pending, m.Pending())
			m.Logged(c.said)
			assert.Equal(t, c.said == "", m.Log.String() == "", m.Log.String())
		})
	}
}

// What the storage does not take is kept in memory, until the storage works again or the credential is dead by itself.
func TestPendingRevocationIsStoredLater(t *testing.T) {
	for name, c := range map[string]struct {
		fails time.Duration // how long the storage does
		lives bool          // the token, when the storage works again
	}{"a moment": {time.Minute, true}, "longer than the token lives": {16 * time.Minute, false}} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			m := newMount(t)
			token := m.Login()
			m.Storage.FailOn("put", store.PendingPrefix)
			m.Revocations.EnqueueLoose(m.Storage, m.account, token, "a test", enginetest.ErrDisk)
			for range int(c.fails / time.Minute) {
				if err := m.retry(); c.lives {
					require.ErrorIs(t, err, enginetest.ErrDisk)
				}
				time.Sleep(time.Minute)
			}
			require.Equal(t, c.lives, m.Alive(token))
			m.Storage.Heal()
			require.NoError(t, m.retry())
			assert.False(t, m.Alive(token))
			assert.Zero(t, m.Pending())
			assert.Equal(t, c.lives, m.Counts.Enqueued.Load() == 1)
		})
	}
}

// An entry of a version without rate limits has none stored. 0 would lift Palette's limit.
func TestPendingRevocationOfAnOlderVersionHasTheDefaultLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		m.Storage.Plant(store.PendingPrefix+"x", `{"connection":{"address":"https://palette.example.com","request_timeout":30000000000},`+
			`"tokens":[{"token":"a.b.c","expires_at":"2026-03-01T13:00:00Z"}],"first_failed":"2026-03-01T12:00:00Z"}`)
		require.NoError(t, m.Revocations.Retry(t.Context(), m.Storage)) // nobody listens there
		assert.Equal(t, []palette.Connection{store.DefaultConnection("https://palette.example.com")}, m.Clients.Connections())
		assert.Equal(t, 1, m.Pending())
	})
}

// A system administrator's token that Palette does not let revoke itself dies by itself. One that Palette
// refuses for another reason, and a tenant user's, are not given up.
func TestRevocationOfASystemAdministratorsTokens(t *testing.T) {
	for _, c := range []struct {
		username string
		status   int
		ends     bool
		logged   string
	}{
		{"admin", 401, true, revocation.MsgNotRevocable},
		{"admin", 403, true, revocation.MsgNotRevocable},
		{"admin", 404, true, revocation.MsgNoRevocation},
		{"admin", 400, false, ""},
		{"admin", 500, false, ""},
		{"", 403, false, ""},
	} {
		enginetest.Bubble(t, fmt.Sprint(c.username, c.status), func(t *testing.T) {
			m := newMount(t, palettetest.AllowLiveTokens())
			m.account.Username = c.username
			m.Palette.Inject(palettetest.Revoke, palettetest.Fault{Status: c.status})
			err := m.Revocations.End(t.Context(), m.account, m.Logins(2))
			assert.Equal(t, c.ends, err == nil, "%v", err)
			m.Logged(c.logged)
			assert.Equal(t, c.logged == revocation.MsgNotRevocable, strings.Count(m.Log.String(), revocation.MsgNotRevocable) == 2, "each token is named")
		})
	}
}
