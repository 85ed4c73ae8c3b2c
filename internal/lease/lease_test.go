package lease_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/lease"
	"vault-plugin-secrets-palette/internal/store"
)

var (
	now = enginetest.Epoch
	cfg = &store.Config{Connection: store.DefaultConnection("https://palette.example.com"), Email: "vault@example.com", Org: "example"}
)

func newLease(t *testing.T, role *store.Role) *lease.Lease {
	t.Helper()
	l, err := lease.New("app", role, cfg, time.Minute)
	require.NoError(t, err)
	return l
}

// viaVault is internal data as Vault hands it back.
func viaVault(t *testing.T, data map[string]any) *logical.Secret {
	t.Helper()
	text, err := json.Marshal(data)
	require.NoError(t, err)
	back := map[string]any{}
	require.NoError(t, json.Unmarshal(text, &back))
	return &logical.Secret{InternalData: back}
}

// What the engine puts into a lease it reads out again, and Vault's framework finds the type of its secret.
func TestLeaseInternalDataIsReadBack(t *testing.T) {
	l := newLease(t, &store.Role{ConfigName: "ci", Shared: true})
	assert.Equal(t, []any{"app", "ci", true, time.Minute, cfg.Identity()}, []any{l.Role, l.ConfigName, l.Shared, l.TTL, l.Identity})
	assert.NotEqual(t, l.ID, newLease(t, &store.Role{}).ID)
	l.Tokens = []store.Token{{Token: "a.b.c", ExpiresAt: now}}
	l.Key = store.Key{UID: "uid", Name: "name", Key: "key", ExpiresAt: now, MadeAt: now}
	data, err := l.InternalData("palette_token")
	require.NoError(t, err)
	assert.Equal(t, "palette_token", data["secret_type"])
	assert.Equal(t, "https://palette.example.com", data["address"], "the identity's fields are the lease's own")
	got, err := lease.From(viaVault(t, data))
	require.NoError(t, err)
	assert.Equal(t, l, got)
}

func TestLeaseThatCannotBeRead(t *testing.T) {
	_, err := lease.From(nil)
	require.ErrorContains(t, err, "no secret")
	for name, data := range map[string]map[string]any{
		"nothing": nil, "no id": {"role": "app"}, "of another form": {"id": "x", "tokens": "a secret"}, "no JSON": {"id": func() {}},
	} {
		_, err := lease.From(&logical.Secret{InternalData: data})
		require.EqualError(t, err, "the lease's internal data cannot be read", name)
	}
}

// A renewal after a failed revocation brings a new token or expiry: its revocation is another one.
func TestLeasePendingIDChangesWithWhatIsToBeEnded(t *testing.T) {
	token := func(d time.Duration) store.Token { return store.Token{ExpiresAt: now.Add(d)} }
	l, seen := newLease(t, &store.Role{}), map[string]bool{}
	for _, c := range []struct {
		tokens []store.Token
		key    time.Duration // from now to its expiry, 0 for none
	}{
		{nil, 0}, {[]store.Token{token(1)}, 0}, {[]store.Token{token(1), token(2)}, 0}, {nil, time.Hour}, {nil, 2 * time.Hour},
	} {
		l.Tokens, l.Key = c.tokens, store.Key{}
		if c.key > 0 {
			l.Key.ExpiresAt = now.Add(c.key)
		}
		id := l.PendingID()
		assert.False(t, seen[id], fmt.Sprint(c))
		assert.True(t, strings.HasPrefix(id, l.ID+"-"))
		assert.Equal(t, id, l.PendingID())
		seen[id] = true
	}
}

func TestLeaseHolds(t *testing.T) {
	for _, c := range []struct {
		role store.Role
		want string
	}{
		{store.Role{}, lease.HoldsToken},
		{store.Role{Shared: true}, lease.HoldsSession},
		{store.Role{CredentialType: store.CredentialAPIKey}, lease.HoldsKey},
		{store.Role{CredentialType: store.CredentialAPIKey, Shared: true}, lease.HoldsSharedKey},
	} {
		assert.Equal(t, c.want, lease.HoldsOf(&c.role))
		l := newLease(t, &c.role)
		if c.role.IsAPIKey() && !c.role.Shared {
			l.Key.UID = "uid"
		}
		assert.Equal(t, c.want, l.Holds(), fmt.Sprint(c.role))
	}
}
