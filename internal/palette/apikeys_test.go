package palette_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

var tenantAdmin = palettetest.User{Email: "admin@example.com", Org: "example", Password: "Correct-Horse-7-Battery", TenantAdmin: true, UID: "admin-uid"}

// keyRig is a rig whose tenant has an administrator, and the tokens of both its users.
func keyRig(t *testing.T, opts ...palettetest.Option) (r *wiretest.Rig, user, admin palette.Auth) {
	t.Helper()
	plain := palettetest.DefaultUser
	plain.UID = "user-uid"
	r = wiretest.New(t, append(opts, palettetest.AllowLiveTokens(), palettetest.WithUser(plain), palettetest.WithUser(tenantAdmin))...)
	token, err := r.Login(t.Context(), wiretest.LoginOf(tenantAdmin))
	require.NoError(t, err)
	return r, r.Auth(t), palette.Auth{Token: token.Raw}
}

func TestCreateAPIKey(t *testing.T) {
	const user, admin = false, true
	expiry := wiretest.Epoch.Add(time.Hour + time.Millisecond)
	for _, c := range []struct {
		name  string
		admin bool
		given palette.NewAPIKey
		owner string // empty for a refusal
		kind  answer.Kind
	}{
		{"its own", user, palette.NewAPIKey{Name: "a", Expiry: expiry}, "user-uid", 0},
		{"with a description", user, palette.NewAPIKey{Name: "b", Description: `by "Vault"`, Expiry: expiry}, "user-uid", 0},
		{"for another", admin, palette.NewAPIKey{Name: "c", UserUID: "user-uid", Expiry: expiry}, "user-uid", 0},
		{"for another, without right", user, palette.NewAPIKey{Name: "d", UserUID: "admin-uid", Expiry: expiry}, "", answer.Rejected},
		{"for nobody", admin, palette.NewAPIKey{Name: "e", UserUID: "nobody", Expiry: expiry}, "", answer.Missing},
		{"expired", user, palette.NewAPIKey{Name: "f", Expiry: wiretest.Epoch}, "", answer.Rejected},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r, auth, adminAuth := keyRig(t)
			if c.admin {
				auth = adminAuth
			}
			uid, key, err := r.CreateAPIKey(t.Context(), auth, c.given)
			if c.kind != 0 {
				assert.Equal(t, c.kind, answer.KindOf(err), err)
				assert.Empty(t, uid+key.Reveal())
				assert.Empty(t, r.Palette.Keys())
				return
			}
			require.NoError(t, err)
			want := palettetest.Key{UID: uid, Name: c.given.Name, UserUID: c.owner, Created: wiretest.Epoch, Expiry: wiretest.Epoch.Add(time.Hour + time.Second), Active: true}
			if c.given.Description != "" {
				want.Annotations = map[string]string{"description": c.given.Description}
			}
			assert.Equal(t, want, r.Palette.Keys()[0])
			assert.True(t, r.Palette.KeyAlive(key.Reveal()))
		})
	}
}

// Of the form that is described, and of no use.
func TestCreateAPIKeyAnswersThatAreNone(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		for _, c := range []struct{ body, want string }{
			{`{"apiKey":"Leaky","uid":".."}`, "uid is none"},
			{`{"apiKey":"Leaky","uid":"u","UID":7}`, "JSON of another form"},
			{`{"apiKey":"Leaky","uid":"` + strings.Repeat("u", 257) + `"}`, "uid is none"},
			{`{"apiKey":"Leaky\nX: y","uid":"u"}`, "characters that no API key has"},
			{`{"apiKey":"Leaky` + strings.Repeat("k", 16<<10) + `","uid":"u"}`, "longer than 16 KiB"},
		} {
			r.Palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 201, Body: c.body})
			uid, key, err := r.CreateAPIKey(t.Context(), user, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(time.Hour)})
			assert.Equal(t, []any{answer.Malformed, answer.Unknown}, []any{answer.KindOf(err), answer.VerdictOf(err)}, c.want)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "Leaky")
			assert.Empty(t, uid+key.Reveal())
		}
	})
}

// Sent again, it could make a second key.
func TestCreateAPIKeyIsNotSentAgainOnceItMayHaveArrived(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			fault palettetest.Fault
			made  int
		}{
			{palettetest.Fault{DropAfter: true}, 1},
			{palettetest.Fault{Drop: true}, 0},
			{palettetest.Fault{Status: 502}, 0},
			{palettetest.Fault{Status: 503}, 0},
			{palettetest.Fault{Status: 504}, 0},
		} {
			r, user, _ := keyRig(t)
			r.Palette.Inject(palettetest.APIKeyCreate, c.fault)
			_, _, err := r.CreateAPIKey(t.Context(), user, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(time.Hour)})
			require.Error(t, err)
			assert.Equal(t, 1, r.Palette.Calls(palettetest.APIKeyCreate), "%+v", c.fault)
			assert.Len(t, r.Palette.Keys(), c.made, "%+v", c.fault)
		}
	})
}

func TestUpdateAPIKey(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, admin := keyRig(t)
		uid, key := r.Key(t, user, "k")
		for _, c := range []struct {
			name   string
			auth   palette.Auth
			uid    string
			expiry time.Duration
			kind   answer.Kind
		}{
			{"longer", user, uid, 2*time.Hour + time.Nanosecond, 0},
			{"shorter", user, uid, time.Minute, 0},
			{"by the administrator", admin, uid, time.Hour, 0},
			{"by the key itself", palette.Auth{APIKey: key}, uid, time.Hour, 0},
			{"into the past", user, uid, 0, answer.Rejected},
			{"unknown", user, "nothing", time.Hour, answer.Missing},
			{"a path", user, "../users/info", time.Hour, answer.Missing},
			{"no uid", user, "", time.Hour, answer.Malformed},
			{"no uid, a dot", user, "..", time.Hour, answer.Malformed},
		} {
			before := r.Palette.Keys()
			err := r.UpdateAPIKey(t.Context(), c.auth, c.uid, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(c.expiry)})
			assert.Equal(t, c.kind, answer.KindOf(err), "%s: %v", c.name, err)
			after := r.Palette.Keys()
			if c.kind != 0 {
				assert.Equal(t, before, after, c.name)
				continue
			}
			require.NoError(t, err, c.name)
			assert.Equal(t, wiretest.Epoch.Add((c.expiry + time.Second - 1).Truncate(time.Second)), after[0].Expiry, c.name)
			assert.Equal(t, "k", after[0].Name, c.name)
			assert.True(t, r.Palette.KeyAlive(key.Reveal()), c.name)
		}
	})
}

func TestDeleteAPIKey(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, admin := keyRig(t)
		mine, key := r.Key(t, user, "mine")
		second, _ := r.Key(t, user, "second")
		theirs, _ := r.Key(t, admin, "theirs")
		for _, c := range []struct {
			name string
			auth palette.Auth
			uid  string
			kind answer.Kind
			left int
		}{
			{"somebody else's", user, theirs, answer.Missing, 3},
			{"not authenticated", palette.Auth{}, mine, answer.Rejected, 3},
			{"no uid", user, "", answer.Malformed, 3},
			{"no uid, a dot", user, ".", answer.Malformed, 3},
			{"by the administrator", admin, second, 0, 2},
			{"its own, by itself", palette.Auth{APIKey: key}, mine, 0, 1},
			{"gone", user, mine, answer.Missing, 1},
		} {
			err := r.DeleteAPIKey(t.Context(), c.auth, c.uid)
			assert.Equal(t, c.kind, answer.KindOf(err), "%s: %v", c.name, err)
			assert.Equal(t, c.kind == 0, err == nil, c.name)
			assert.Equal(t, c.kind == answer.Missing, c.kind != answer.Rejected && answer.Refusal(err) != nil, c.name)
			assert.Len(t, r.Palette.Keys(), c.left, c.name)
		}
		assert.False(t, r.Palette.KeyAlive(key.Reveal()))
	})
}

// Renewal and deletion do the same however often they arrive.
func TestKeyUpdateAndDeleteAreSentAgain(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		uid, _ := r.Key(t, user, "k")
		for _, c := range []struct {
			endpoint palettetest.Endpoint
			call     func() error
		}{
			{palettetest.APIKeyUpdate, func() error {
				return r.UpdateAPIKey(t.Context(), user, uid, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(2 * time.Hour)})
			}},
			{palettetest.APIKeyList, func() error { _, err := r.ListAPIKeys(t.Context(), user); return err }},
			{palettetest.APIKeyDelete, func() error { return r.DeleteAPIKey(t.Context(), user, uid) }},
		} {
			r.Palette.Inject(c.endpoint, palettetest.Fault{Status: 503, Times: 3})
			require.NoError(t, c.call(), c.endpoint)
			assert.Equal(t, 4, r.Palette.Calls(c.endpoint), c.endpoint)
		}
		assert.Empty(t, r.Palette.Keys())
	})
}

func TestListAPIKeys(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, admin := keyRig(t)
		none, err := r.ListAPIKeys(t.Context(), user)
		require.NoError(t, err)
		assert.Empty(t, none)
		mine, key := r.Key(t, user, "same")
		theirs, _ := r.Key(t, admin, "same")
		my := palette.APIKey{UID: mine, Name: "same", UserUID: "user-uid", Expiry: wiretest.Epoch.Add(time.Hour), Active: true}
		other := my
		other.UID, other.UserUID = theirs, "admin-uid"
		for _, c := range []struct {
			auth palette.Auth
			want []palette.APIKey
		}{{user, []palette.APIKey{my}}, {palette.Auth{APIKey: key}, []palette.APIKey{my}}, {admin, []palette.APIKey{my, other}}} {
			keys, listed := r.ListAPIKeys(t.Context(), c.auth)
			require.NoError(t, listed)
			assert.Equal(t, c.want, keys)
		}
		_, err = r.ListAPIKeys(t.Context(), palette.Auth{})
		assert.Equal(t, answer.Rejected, answer.KindOf(err))
	})
}

func TestListAPIKeysAnswers(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		for body, want := range map[string][]palette.APIKey{
			`{"items":[]}`:   {},
			`{"items":null}`: {},
			`{"items":[{"metadata":{"uid":"u","labels":{}}}]}`:                                                {{UID: "u"}},
			`{"items":[{"metadata":{"uid":"u"},"spec":{"expiry":"","key":"Leaky"},"status":null}]}`:           {{UID: "u"}},
			`{"items":[{"metadata":{"uid":"u"},"spec":{"expiry":"2026-03-01T12:00:00.000Z"}}],"listmeta":{}}`: {{UID: "u", Expiry: wiretest.Epoch}},
		} {
			r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Body: body})
			keys, err := r.ListAPIKeys(t.Context(), user)
			require.NoError(t, err, body)
			assert.Equal(t, want, keys, body)
		}
	})
}
