package palettesecrets_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// The first rotation of an API key is interrupted, and Palette makes its key late. The second one comes within the same
// second: the first one's key must not be taken for the config's.
func TestTwoRotationsOfAKeyWithinASecondAreToldApart(t *testing.T) {
	inLife(t, nil, func(l *life) {
		u, _ := l.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		l.palette.PlantKey(u.Email, u.Org, strings.Repeat("0", 24), "by hand", "a-key-made-by-hand", time.Now().Add(1000*time.Hour))
		l.must(logical.CreateOperation, "config/keys", map[string]any{
			"address": l.palette.URL(), "org": u.Org, "api_key": "a-key-made-by-hand", "api_key_uid": strings.Repeat("0", 24),
		})
		l.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Drop: true, Times: 1})
		_, err := l.handle(logical.UpdateOperation, "rotate-root/keys", nil)
		require.Error(l.t, err)
		name, expiry := l.keyAhead()
		l.must(logical.UpdateOperation, "rotate-root/keys", nil)
		l.palette.PlantKey(u.Email, u.Org, strings.Repeat("1", 24), name, "a-key-that-nobody-knows", expiry)
		for range 4 {
			time.Sleep(time.Minute)
			l.must(logical.RollbackOperation, "", nil)
			time.Sleep(time.Second)
		}
		keys := l.palette.LiveKeys()
		require.Len(l.t, keys, 1)
		assert.Equal(l.t, l.read("config/keys").Data["api_key_uid"], keys[0].UID)
	}, palettetest.AllowLiveTokens())
}

// An interrupted rotation is recovered for a caller who hangs up while Palette is asked: the token that the question
// brings is revoked all the same.
func TestRecoveryForACallerWhoHangsUpLeavesNoToken(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
		l.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
		l.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
		_, err := l.handle(logical.UpdateOperation, "rotate-root", nil)
		require.Error(l.t, err)
		l.mount()
		gate := l.palette.HoldAfter(palettetest.Login)
		ctx, hangUp := context.WithCancel(l.t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = l.b.HandleRequest(ctx, &logical.Request{Operation: logical.UpdateOperation, Path: "config", Data: map[string]any{"rate_limit": 9}, Storage: l})
		}()
		<-gate.Arrived()
		hangUp()
		<-gone
		gate.Release()
		time.Sleep(time.Minute)
		assert.Empty(l.t, l.palette.LiveTokens())
	})
}

// A rotation may end the config's session. The storage does not take the mark of a suspect session, and the process
// ends. The time of the rotation tells the next process, and other nodes.
func TestASessionOfBeforeARotationIsNotHandedOutByTheNextProcess(t *testing.T) {
	inLife(t, nil, func(l *life) {
		l.must(logical.CreateOperation, "roles/shared", map[string]any{"shared": true, "renewable": false})
		l.read("creds/shared")
		stored, err := l.Get(l.t.Context(), "sessions/default")
		require.NoError(l.t, err)
		time.Sleep(time.Minute)
		l.must(logical.UpdateOperation, "rotate-root", nil)
		require.NoError(l.t, l.Put(l.t.Context(), stored))
		l.mount()
		assert.True(l.t, l.palette.Alive(l.read("creds/shared").Data["token"].(string)))
		l.must(logical.DeleteOperation, "sessions/default", nil)
	}, palettetest.WithPasswordChangeEndsSessions())
}

// A key's making is on its way to Palette, with the time limits of then. A config whose limits get shorter must not end the
// search for the key before it arrives.
func TestAKeyOnItsWayIsWaitedForByTheLimitsOfThen(t *testing.T) {
	inLife(t, map[string]any{"request_timeout": 30, "queue_timeout": 1}, func(l *life) {
		l.must(logical.CreateOperation, "roles/key", map[string]any{"credential_type": "api_key"})
		l.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{Drop: true, Times: 1})
		_, err := l.handle(logical.ReadOperation, "creds/key", nil)
		require.Error(l.t, err)
		name, expiry := l.keyAhead()
		l.must(logical.UpdateOperation, "config", map[string]any{"request_timeout": 1})
		time.Sleep(35 * time.Second)
		l.must(logical.RollbackOperation, "", nil)
		u := palettetest.DefaultUser
		l.palette.PlantKey(u.Email, u.Org, strings.Repeat("1", 24), name, "a-key-that-nobody-knows", expiry)
		for range 4 {
			time.Sleep(time.Minute)
			l.must(logical.RollbackOperation, "", nil)
		}
		assert.Empty(l.t, l.palette.LiveKeys())
		l.must(logical.DeleteOperation, "sessions/default", nil)
	})
}

// A new way to Palette waits for a run over the pending revocations. The run waits for the config's credential lock,
// behind a rotation.
func TestTrustPendingRevocationsAndARotationDoNotWaitForEachOther(t *testing.T) {
	inLife(t, nil, func(l *life) {
		u, _ := l.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		l.palette.PlantKey(u.Email, u.Org, strings.Repeat("0", 24), "by hand", "a-key-made-by-hand", time.Now().Add(1000*time.Hour))
		l.must(logical.CreateOperation, "config/keys", map[string]any{
			"address": l.palette.URL(), "org": u.Org, "api_key": "a-key-made-by-hand", "api_key_uid": strings.Repeat("0", 24),
		})
		l.must(logical.CreateOperation, "roles/key", map[string]any{"config_name": "keys", "credential_type": "api_key"})
		lease := l.read("creds/key")
		l.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500, Times: 1})
		_, err := l.b.HandleRequest(l.t.Context(), &logical.Request{Operation: logical.RevokeOperation, Secret: lease.Secret, Storage: l})
		require.Error(l.t, err)
		gate, done := l.palette.Hold(palettetest.UserInfo), make(chan error, 3)
		begin := func(op logical.Operation, path string, data map[string]any) {
			go func() {
				_, err := l.handle(op, path, data)
				done <- err
			}()
			time.Sleep(time.Second)
		}
		begin(logical.UpdateOperation, "trust/keys", map[string]any{"tls_server_name": "palette.example.com"})
		begin(logical.UpdateOperation, "rotate-root/keys", nil)
		begin(logical.RollbackOperation, "", nil)
		gate.Release()
		for range cap(done) {
			select {
			case err := <-done:
				assert.NoError(l.t, err)
			case <-time.After(10 * time.Minute):
				require.FailNow(l.t, "they wait for each other")
			}
		}
	}, palettetest.AllowLiveTokens())
}

// keyAhead is the name and expiry of the one key that is written ahead.
func (l *life) keyAhead() (name string, expiry time.Time) {
	l.t.Helper()
	ids, err := l.List(l.t.Context(), "wal/")
	require.NoError(l.t, err)
	require.Len(l.t, ids, 1)
	entry, err := l.Get(l.t.Context(), "wal/"+ids[0])
	require.NoError(l.t, err)
	var ahead struct {
		Data struct {
			Name   string    `json:"name"`
			Expiry time.Time `json:"expiry"`
		} `json:"data"`
	}
	require.NoError(l.t, json.Unmarshal(entry.Value, &ahead))
	return ahead.Data.Name, ahead.Data.Expiry
}
