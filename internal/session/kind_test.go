package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/tasks"
)

var errPalette = errors.New("Palette is ill")

// keys is a kind whose credentials are made up: roles of one config, and what is done to their keys.
type keys struct {
	wanted map[string]*session.Want
	fresh  bool
	// fail is the error of what is next asked of Palette.
	fail           error
	rejected, gone bool
	// meanwhile runs while a credential is renewed.
	meanwhile     func()
	made          int
	ended, tidied []string
	left          map[string]*session.Credential
}

func (k *keys) Label() string { return "role" }

func (k *keys) Want(_ context.Context, _ logical.Storage, role string) (*session.Want, error) {
	return k.wanted[role], nil
}

func (k *keys) Fresh(*session.Credential, *session.Want, time.Time) bool { return k.fresh }

func (k *keys) Renew(ctx context.Context, s logical.Storage, m *session.Manager, w *session.Want, have *session.Credential) (*session.Credential, error) {
	if k.meanwhile != nil {
		k.meanwhile()
	}
	if k.fail != nil {
		if have == nil || have.Suspect {
			return nil, k.fail
		}
		return nil, &session.Passing{Warning: "the present one: ", Err: k.fail}
	}
	k.made++
	next := &session.Credential{Identity: w.Config.Identity(), ConfigName: w.Role.ConfigName, UserUID: w.Role.UserUID, Refreshes: k.made, Keys: []store.Key{{UID: "uid", ExpiresAt: time.Now().Add(time.Hour)}}}
	return next, m.Put(ctx, s, w.Name, next)
}

func (k *keys) End(_ context.Context, _ logical.Storage, role string, _ *session.Credential) error {
	k.ended = append(k.ended, role)
	return k.fail
}

func (k *keys) Tidy(_ context.Context, _ logical.Storage, role string, have *session.Credential) (*session.Credential, error) {
	k.tidied = append(k.tidied, role)
	if left, set := k.left[role]; set {
		have = left
	}
	return have, k.fail
}

func (k *keys) Rejected(context.Context, logical.Storage, *session.Credential) bool {
	return k.rejected
}

func (k *keys) Gone(context.Context, logical.Storage, *session.Credential) bool { return k.gone }

// shelf is a manager of such credentials.
type shelf struct {
	*session.Manager
	*keys
	t       *testing.T
	storage *enginetest.Storage
	log     *enginetest.Log
}

func newShelf(t *testing.T, roles ...string) *shelf {
	s := &shelf{Manager: session.New(store.SharedKeyPrefix), keys: &keys{wanted: map[string]*session.Want{}, fresh: true, left: map[string]*session.Credential{}}, t: t, storage: enginetest.NewStorage(), log: &enginetest.Log{}}
	logger := hclog.New(&hclog.LoggerOptions{Output: s.log})
	log := func() hclog.Logger { return logger }
	s.Kind, s.Logger, s.Manager.Tasks = s.keys, log, &tasks.Group{Logger: log}
	for _, role := range roles {
		s.wanted[role] = &session.Want{Name: role, Config: store.NewConfig("https://palette.example.com"), Role: &store.Role{ConfigName: "of " + role}}
		s.current(role)
	}
	return s
}

func (s *shelf) read(role string) (session.Handle, error) {
	return s.CurrentOf(s.t.Context(), s.storage, s.wanted[role])
}

func (s *shelf) current(role string) session.Handle {
	s.t.Helper()
	h, err := s.read(role)
	require.NoError(s.t, err)
	require.NoError(s.t, s.Manager.Tasks.Wait(s.t.Context()))
	return h
}

// A renewal that fails for a passing reason leaves the present credential of use, but for one that may have ended.
func TestCredentialThatCannotBeRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, "a")
		s.fresh, s.fail = false, errPalette
		h := s.current("a")
		assert.Equal(t, []any{session.StateStale, "the present one: Palette is ill", 1}, []any{h.State, h.Warning(), h.Refreshes})
		time.Sleep(time.Hour - time.Second/2)
		_, err := s.read("a")
		require.ErrorIs(t, err, errPalette, "less than a second is of no use")
		assert.Equal(t, "x", (&session.Passing{Err: errors.New("x")}).Error())
		s.fail = nil
		assert.Equal(t, 2, s.current("a").Refreshes)
		s.MarkSuspect(t.Context(), s.storage, "a")
		s.fresh, s.fail = true, errPalette
		_, err = s.read("a")
		require.ErrorIs(t, err, errPalette)
	})
}

// What role and config want changes while a credential is made: the write has not seen it, so it ends itself.
func TestCredentialThatBecomesAnothersWhileItIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, "a")
		first := s.wanted["a"]
		other := *first
		other.Role = &store.Role{ConfigName: "another"}
		s.wanted["a"] = &other
		assert.Equal(t, 2, s.current("a").Refreshes)
		assert.Equal(t, []string{"a"}, s.ended, "the one before")
		s.fresh = false
		s.meanwhile = func() { s.wanted["a"] = first }
		_, err := s.read("a")
		require.ErrorContains(t, err, `role "a" has changed meanwhile; read again`)
		assert.Equal(t, []string{"a", "a"}, s.ended)
		_, err = s.CurrentOf(t.Context(), s.storage, &session.Want{Name: "b", Config: first.Config})
		require.ErrorContains(t, err, `role "b" does not exist any more`)
	})
}

// Palette is asked once in five minutes, apart from whoever reads. What it has ended is not handed out again.
func TestCredentialThatPaletteHasEnded(t *testing.T) {
	for what, c := range map[string]struct {
		rejected, gone bool
		before         func(s *shelf)
		another        bool
	}{
		"it is alive":          {false, true, nil, false},
		"it is rejected alone": {true, false, nil, false},
		"it is gone":           {true, true, nil, true},
		"it has ended with its role meanwhile": {true, true, func(s *shelf) {
			assert.NoError(s.t, s.Manager.End(s.t.Context(), s.storage, "a"))
		}, true},
	} {
		enginetest.Bubble(t, what, func(t *testing.T) {
			s := newShelf(t, "a")
			s.rejected, s.gone = c.rejected, c.gone
			assert.Equal(t, 1, s.current("a").Refreshes)
			assert.Equal(t, 1, s.current("a").Refreshes, "it is asked about after five minutes")
			time.Sleep(session.AskEvery)
			h, err := s.read("a")
			require.NoError(t, err)
			assert.Equal(t, 1, h.Refreshes, "nobody waits for the answer")
			if c.before != nil {
				c.before(s)
			}
			require.NoError(t, s.Manager.Tasks.Wait(t.Context()))
			assert.Equal(t, c.another && c.before == nil, len(s.log.String()) > 0)
			assert.Equal(t, c.another, s.current("a").Refreshes == 2)
		})
	}
}

// Each minute: what nobody wants ends, and what is over of the others. A config at which Palette does not take a call waits.
func TestCredentialsEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, "a", "b", "c", "d")
		delete(s.wanted, "a")
		s.left["b"] = nil
		s.left["c"] = &session.Credential{Identity: s.wanted["c"].Config.Identity(), ConfigName: "of c", Refreshes: 99, Keys: []store.Key{{UID: "x"}}}
		s.storage.Plant(store.SharedKeyPrefix+"broken", "{")
		require.ErrorContains(t, s.Manager.EachMinute(t.Context(), s.storage), "cannot be decoded")
		assert.Equal(t, []any{[]string{"a"}, []string{"b", "c", "d"}}, []any{s.ended, s.tidied})
		assert.Equal(t, []string{store.SharedKeyPrefix + "broken", store.SharedKeyPrefix + "c", store.SharedKeyPrefix + "d"}, s.storage.Keys(store.SharedKeyPrefix))
		stored, err := s.Stored(t.Context(), s.storage, "c")
		require.NoError(t, err)
		assert.Equal(t, 99, stored.Refreshes)

		s.fail, s.tidied = errPalette, nil
		require.Error(t, s.Manager.EachMinute(t.Context(), s.storage))
		assert.Contains(t, s.log.String(), session.MsgNotTidied)
		assert.Equal(t, []string{"c", "d"}, s.tidied)
	})
}

// Two roles of a config at which Palette fails: one call is enough. A renewal under way has its turn first.
func TestCredentialsOfAConfigThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t)
		for _, role := range []string{"a", "b"} {
			s.wanted[role] = &session.Want{Name: role, Config: store.NewConfig("https://palette.example.com"), Role: &store.Role{ConfigName: "ci"}}
			s.current(role)
		}
		s.fail = errPalette
		require.NoError(t, s.Manager.EachMinute(t.Context(), s.storage))
		assert.Equal(t, []string{"a"}, s.tidied)

		release, done := make(chan struct{}), make(chan error)
		s.fresh, s.fail, s.tidied = false, nil, nil
		s.meanwhile = func() { <-release }
		go func() { _, err := s.read("a"); done <- err }()
		synctest.Wait()
		require.NoError(t, s.Manager.EachMinute(t.Context(), s.storage))
		assert.Equal(t, []string{"b"}, s.tidied)
		close(release)
		require.NoError(t, <-done)
	})
}

// What a write has changed ends; a storage that fails decides nothing.
func TestCredentialThatAWriteHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, "a", "b")
		foreign := func(role string) error { return s.EndForeign(t.Context(), s.storage, role) }
		require.NoError(t, foreign("a"))
		require.NoError(t, foreign("there is none"))
		assert.Empty(t, s.ended)
		delete(s.wanted, "a")
		s.storage.FailOn("get", store.SharedKeyPrefix)
		s.Invalidate(store.SharedKeyPrefix + "a")
		s.Invalidate(store.ConfigPrefix + "b")
		require.ErrorIs(t, foreign("a"), enginetest.ErrDisk)
		s.storage.Heal()
		require.NoError(t, foreign("a"))
		assert.Equal(t, []string{"a"}, s.ended)
		assert.Equal(t, session.StateStored, s.current("b").State, "a config is nothing to a role's key")
	})
}

// A session that has begun anew, and that the storage does not take, is revoked; the tokens of before stay stored, as
// suspect ones.
func TestSessionThatBeginsAnewAndIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		first := m.current().Newest()
		m.Palette.EndSession(first.Token.Reveal())
		time.Sleep(6 * time.Minute)
		m.Palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 401, Times: 1})
		m.Storage.FailOn("put", store.SessionPrefix)
		_, err := m.read()
		require.ErrorIs(t, err, enginetest.ErrDisk)
		m.Logged(session.MsgNotMarked)
		assert.Empty(t, m.Palette.LiveTokens())
		m.Storage.Heal()
		assert.Equal(t, session.StateRenewed, m.current().State)
		m.Sessions.Invalidate(store.ConfigPrefix + name)
		assert.Equal(t, session.StateRenewed, m.current().State, "another node may have rotated the config")
		m.Storage.FailOn("get", store.SessionPrefix)
		m.Sessions.Invalidate(store.SessionPrefix + name)
		_, err = m.Sessions.After(t.Context(), m.Storage, name, m.Stored(), first.Token)
		require.ErrorIs(t, err, enginetest.ErrDisk)
	})
}

// A session is tidy by itself, and asked about by whoever uses it.
func TestSessionNeedsNoCare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		h := m.current()
		kept, err := m.Sessions.Kind.Tidy(t.Context(), m.Storage, name, h.Credential)
		require.NoError(t, err)
		assert.Same(t, h.Credential, kept)
		m.Palette.EndSession(h.Newest().Token.Reveal())
		assert.False(t, m.Sessions.Kind.Rejected(t.Context(), m.Storage, h.Credential))
		assert.False(t, m.Sessions.Kind.Gone(t.Context(), m.Storage, h.Credential))
	})
}

// A reader that has read role and config before a change would show the new key beside the address of before.
func TestSharedCredentialOfAReaderFromBeforeAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, "a")
		before := s.wanted["a"]
		s.wanted["a"] = &session.Want{Name: "a", Config: store.NewConfig("https://other.example.com"), Role: before.Role}
		s.current("a")
		_, err := s.CurrentOf(t.Context(), s.storage, before)
		require.ErrorContains(t, err, `role "a" has changed meanwhile; read again`)
		s.current("a")
		assert.Equal(t, 2, s.made)
	})
}
