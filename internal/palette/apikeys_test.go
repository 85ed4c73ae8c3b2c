package palette

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

var tenantAdmin = palettetest.User{Email: "admin@example.com", Org: "example", Password: "Correct-Horse-7-Battery", TenantAdmin: true, UID: "admin-uid"}

// keyRig is a rig whose tenant has an administrator, and the tokens of both its users.
func keyRig(t *testing.T, opts ...palettetest.Option) (r *rig, user, admin Auth) {
	t.Helper()
	plain := palettetest.DefaultUser
	plain.UID = "user-uid"
	r = newRig(t, append(opts, palettetest.AllowLiveTokens(), palettetest.WithUser(plain), palettetest.WithUser(tenantAdmin))...)
	token, err := r.Login(t.Context(), loginOf(tenantAdmin))
	require.NoError(t, err)
	return r, r.auth(t), Auth{Token: token.Raw}
}

func (r *rig) key(t *testing.T, auth Auth, name string) (uid string, key Secret) {
	t.Helper()
	uid, key, err := r.CreateAPIKey(t.Context(), auth, NewAPIKey{Name: name, Expiry: epoch.Add(time.Hour)})
	require.NoError(t, err)
	return uid, key
}

func TestKeyExpiryIsRoundedUp(t *testing.T) {
	east := time.FixedZone("", 2*60*60)
	for _, c := range []struct {
		given time.Time
		want  string
	}{
		{epoch, "2026-03-01T12:00:00Z"},
		{epoch.In(east), "2026-03-01T12:00:00Z"},
		{epoch.Add(time.Nanosecond), "2026-03-01T12:00:01Z"},
		{epoch.In(east).Add(999 * time.Millisecond), "2026-03-01T12:00:01Z"},
		{epoch.Add(-time.Nanosecond), "2026-03-01T12:00:00Z"},
	} {
		assert.Equal(t, c.want, wireExpiry(c.given), c.given)
	}
}

func TestCreateAPIKey(t *testing.T) {
	const user, admin = false, true
	expiry := epoch.Add(time.Hour + time.Millisecond)
	for _, c := range []struct {
		name  string
		admin bool
		given NewAPIKey
		owner string // empty for a refusal
		kind  Kind
	}{
		{"its own", user, NewAPIKey{Name: "a", Expiry: expiry}, "user-uid", 0},
		{"with a description", user, NewAPIKey{Name: "b", Description: `by "Vault"`, Expiry: expiry}, "user-uid", 0},
		{"for another", admin, NewAPIKey{Name: "c", UserUID: "user-uid", Expiry: expiry}, "user-uid", 0},
		{"for another, without right", user, NewAPIKey{Name: "d", UserUID: "admin-uid", Expiry: expiry}, "", Rejected},
		{"for nobody", admin, NewAPIKey{Name: "e", UserUID: "nobody", Expiry: expiry}, "", Missing},
		{"expired", user, NewAPIKey{Name: "f", Expiry: epoch}, "", Rejected},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			r, auth, adminAuth := keyRig(t)
			if c.admin {
				auth = adminAuth
			}
			uid, key, err := r.CreateAPIKey(t.Context(), auth, c.given)
			if c.kind != 0 {
				assert.Equal(t, c.kind, KindOf(err), err)
				assert.Empty(t, uid+key.Reveal())
				assert.Empty(t, r.palette.Keys())
				return
			}
			require.NoError(t, err)
			want := palettetest.Key{UID: uid, Name: c.given.Name, UserUID: c.owner, Created: epoch, Expiry: epoch.Add(time.Hour + time.Second), Active: true}
			if c.given.Description != "" {
				want.Annotations = map[string]string{"description": c.given.Description}
			}
			assert.Equal(t, want, r.palette.Keys()[0])
			assert.True(t, r.palette.KeyAlive(key.Reveal()))
		})
	}
}

// Of the form that is described, and of no use.
func TestCreateAPIKeyAnswersThatAreNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		for _, c := range []struct{ body, want string }{
			{`{"apiKey":"Leaky","uid":".."}`, "uid is none"},
			{`{"apiKey":"Leaky","uid":"u","UID":7}`, "JSON of another form"},
			{`{"apiKey":"Leaky","uid":"` + strings.Repeat("u", maxUIDLength+1) + `"}`, "uid is none"},
			{`{"apiKey":"Leaky\nX: y","uid":"u"}`, "characters that no API key has"},
			{`{"apiKey":"Leaky` + strings.Repeat("k", maxTokenLength) + `","uid":"u"}`, "longer than 16 KiB"},
		} {
			r.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Status: 201, Body: c.body})
			uid, key, err := r.CreateAPIKey(t.Context(), user, NewAPIKey{Name: "k", Expiry: epoch.Add(time.Hour)})
			assert.Equal(t, []any{Malformed, Unknown}, []any{KindOf(err), VerdictOf(err)}, c.want)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "Leaky")
			assert.Empty(t, uid+key.Reveal())
		}
	})
}

// Sent again, it could make a second key.
func TestCreateAPIKeyIsNotSentAgainOnceItMayHaveArrived(t *testing.T) {
	bubble(t, func(t *testing.T) {
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
			r.palette.Inject(palettetest.APIKeyCreate, c.fault)
			_, _, err := r.CreateAPIKey(t.Context(), user, NewAPIKey{Name: "k", Expiry: epoch.Add(time.Hour)})
			require.Error(t, err)
			assert.Equal(t, 1, r.palette.Calls(palettetest.APIKeyCreate), "%+v", c.fault)
			assert.Len(t, r.palette.Keys(), c.made, "%+v", c.fault)
		}
	})
}

func TestUpdateAPIKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, user, admin := keyRig(t)
		uid, key := r.key(t, user, "k")
		for _, c := range []struct {
			name   string
			auth   Auth
			uid    string
			expiry time.Duration
			kind   Kind
		}{
			{"longer", user, uid, 2*time.Hour + time.Nanosecond, 0},
			{"shorter", user, uid, time.Minute, 0},
			{"by the administrator", admin, uid, time.Hour, 0},
			{"by the key itself", Auth{APIKey: key}, uid, time.Hour, 0},
			{"into the past", user, uid, 0, Rejected},
			{"unknown", user, "nothing", time.Hour, Missing},
			{"a path", user, "../users/info", time.Hour, Missing},
			{"no uid", user, "", time.Hour, Malformed},
			{"no uid, a dot", user, "..", time.Hour, Malformed},
		} {
			before := r.palette.Keys()
			err := r.UpdateAPIKey(t.Context(), c.auth, c.uid, NewAPIKey{Name: "k", Expiry: epoch.Add(c.expiry)})
			assert.Equal(t, c.kind, KindOf(err), "%s: %v", c.name, err)
			after := r.palette.Keys()
			if c.kind != 0 {
				assert.Equal(t, before, after, c.name)
				continue
			}
			require.NoError(t, err, c.name)
			assert.Equal(t, epoch.Add((c.expiry + time.Second - 1).Truncate(time.Second)), after[0].Expiry, c.name)
			assert.Equal(t, "k", after[0].Name, c.name)
			assert.True(t, r.palette.KeyAlive(key.Reveal()), c.name)
		}
	})
}

func TestDeleteAPIKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, user, admin := keyRig(t)
		mine, key := r.key(t, user, "mine")
		second, _ := r.key(t, user, "second")
		theirs, _ := r.key(t, admin, "theirs")
		for _, c := range []struct {
			name string
			auth Auth
			uid  string
			kind Kind
			left int
		}{
			{"somebody else's", user, theirs, Missing, 3},
			{"not authenticated", Auth{}, mine, Rejected, 3},
			{"no uid", user, "", Malformed, 3},
			{"no uid, a dot", user, ".", Malformed, 3},
			{"by the administrator", admin, second, 0, 2},
			{"its own, by itself", Auth{APIKey: key}, mine, 0, 1},
			{"gone", user, mine, Missing, 1},
		} {
			err := r.DeleteAPIKey(t.Context(), c.auth, c.uid)
			assert.Equal(t, c.kind, KindOf(err), "%s: %v", c.name, err)
			assert.Equal(t, c.kind == 0, err == nil, c.name)
			assert.Equal(t, c.kind == Missing, c.kind != Rejected && Refusal(err) != nil, c.name)
			assert.Len(t, r.palette.Keys(), c.left, c.name)
		}
		assert.False(t, r.palette.KeyAlive(key.Reveal()))
	})
}

// Renewal and deletion do the same however often they arrive.
func TestKeyUpdateAndDeleteAreSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		uid, _ := r.key(t, user, "k")
		for _, c := range []struct {
			endpoint palettetest.Endpoint
			call     func() error
		}{
			{palettetest.APIKeyUpdate, func() error {
				return r.UpdateAPIKey(t.Context(), user, uid, NewAPIKey{Name: "k", Expiry: epoch.Add(2 * time.Hour)})
			}},
			{palettetest.APIKeyList, func() error { _, err := r.ListAPIKeys(t.Context(), user); return err }},
			{palettetest.APIKeyDelete, func() error { return r.DeleteAPIKey(t.Context(), user, uid) }},
		} {
			r.palette.Inject(c.endpoint, palettetest.Fault{Status: 503, Times: 3})
			require.NoError(t, c.call(), c.endpoint)
			assert.Equal(t, 4, r.palette.Calls(c.endpoint), c.endpoint)
		}
		assert.Empty(t, r.palette.Keys())
	})
}

func TestListAPIKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, user, admin := keyRig(t)
		none, err := r.ListAPIKeys(t.Context(), user)
		require.NoError(t, err)
		assert.Empty(t, none)
		mine, key := r.key(t, user, "same")
		theirs, _ := r.key(t, admin, "same")
		my, other := APIKey{mine, "same", "user-uid", epoch.Add(time.Hour), true}, APIKey{theirs, "same", "admin-uid", epoch.Add(time.Hour), true}
		for _, c := range []struct {
			auth Auth
			want []APIKey
		}{{user, []APIKey{my}}, {Auth{APIKey: key}, []APIKey{my}}, {admin, []APIKey{my, other}}} {
			keys, listed := r.ListAPIKeys(t.Context(), c.auth)
			require.NoError(t, listed)
			assert.Equal(t, c.want, keys)
		}
		_, err = r.ListAPIKeys(t.Context(), Auth{})
		assert.Equal(t, Rejected, KindOf(err))
	})
}

func TestListAPIKeysAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		for body, want := range map[string][]APIKey{
			`{"items":[]}`:   {},
			`{"items":null}`: {},
			`{"items":[{"metadata":{"uid":"u","labels":{}}}]}`:                                                {{UID: "u"}},
			`{"items":[{"metadata":{"uid":"u"},"spec":{"expiry":"","key":"Leaky"},"status":null}]}`:           {{UID: "u"}},
			`{"items":[{"metadata":{"uid":"u"},"spec":{"expiry":"2026-03-01T12:00:00.000Z"}}],"listmeta":{}}`: {{UID: "u", Expiry: epoch}},
		} {
			r.palette.Inject(palettetest.APIKeyList, palettetest.Fault{Body: body})
			keys, err := r.ListAPIKeys(t.Context(), user)
			require.NoError(t, err, body)
			assert.Equal(t, want, keys, body)
		}
	})
}
