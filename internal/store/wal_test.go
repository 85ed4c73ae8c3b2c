package store_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/store"
)

const wal = framework.WALPrefix

func TestWALEntryIsLoadedAsItWasPut(t *testing.T) {
	s := enginetest.NewStorage()
	put := store.KeyWAL{ConfigName: "ci", Address: here, Name: "vault-x", Expiry: enginetest.Epoch, At: enginetest.Epoch, OldUID: "uid"}
	id, err := framework.PutWAL(t.Context(), s, store.WALRootKey, put)
	require.NoError(t, err)
	entry, name, err := store.LoadWAL(t.Context(), s, id)
	require.NoError(t, err)
	assert.Equal(t, []string{store.WALRootKey, "ci"}, []string{entry.Kind, name})
	var got store.KeyWAL
	require.NoError(t, store.DecodeWAL(entry.Data, &got))
	assert.Equal(t, put, got)
	entry, name, err = store.LoadWAL(t.Context(), s, "nothing")
	require.NoError(t, err)
	assert.Nil(t, entry)
	assert.Empty(t, name)
}

// An entry that no version has written is told apart from a storage that fails: reading it again is useless.
func TestWALUndecodable(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": `{"a secret`, "no entry": `[]`, "data of another form": `{"type":"password","data":"a secret"}`,
		"a config that is no name": `{"type":"password","data":{"config_name":7}}`,
	} {
		s := enginetest.NewStorage()
		s.Plant(wal+"x", text)
		_, _, err := store.LoadWAL(t.Context(), s, "x")
		require.ErrorIs(t, err, store.ErrUndecodable, name)
		assert.NotContains(t, err.Error(), "a secret")
	}
	require.ErrorIs(t, store.DecodeWAL(func() {}, &struct{}{}), store.ErrUndecodable)
	s := enginetest.NewStorage()
	s.FailOn("get", wal)
	_, _, err := store.LoadWAL(t.Context(), s, "x")
	require.ErrorIs(t, err, enginetest.ErrDisk)
	assert.NotErrorIs(t, err, store.ErrUndecodable)
}

// A key is found by the expiry that its request names, which entries of older versions tell by Vault's clock.
func TestWALKeyTellsTheExpiryThatItHasSent(t *testing.T) {
	w := store.KeyWAL{Expiry: enginetest.Epoch}
	assert.Equal(t, enginetest.Epoch, w.Sent())
	w.SentExpiry = enginetest.Epoch.Add(time.Minute)
	assert.Equal(t, w.SentExpiry, w.Sent())
}

// Other data leave an entry its id, kind and age.
func TestWALEntryIsRewritten(t *testing.T) {
	s := enginetest.NewStorage()
	s.Plant(wal+"x", `{"type":"password","created_at":7,"data":{"config_name":"ci","way":"old"}}`)
	rewrite := func(id string, data any) error { return store.RewriteWAL(t.Context(), s, id, data) }
	require.NoError(t, rewrite("x", store.PasswordWAL{ConfigName: "ci", TrustDigest: "new"}))
	entry, name, err := store.LoadWAL(t.Context(), s, "x")
	require.NoError(t, err)
	assert.Equal(t, []any{store.WALPassword, "ci", int64(7), "new"}, []any{entry.Kind, name, entry.CreatedAt, entry.Data.(map[string]any)["way"]})
	before := s.Text(wal + "x")

	require.NoError(t, rewrite("gone", store.PasswordWAL{ConfigName: "ci"}), "an entry that was resolved meanwhile")
	assert.Empty(t, s.Text(wal+"gone"), "and that must not come back")
	require.ErrorContains(t, rewrite("x", func() {}), "encoding")
	for _, op := range []string{"get", "put"} {
		s.FailOn(op, wal)
		require.ErrorIs(t, rewrite("x", store.PasswordWAL{ConfigName: "cd"}), enginetest.ErrDisk, op)
	}
	s.Heal()
	assert.Equal(t, before, s.Text(wal+"x"))
	s.Plant(wal+"x", `{`)
	require.ErrorIs(t, rewrite("x", store.PasswordWAL{}), store.ErrUndecodable)
}

func TestWALEntriesAreSortedByWhatTheyAreAbout(t *testing.T) {
	s := enginetest.NewStorage()
	for id, text := range map[string]string{
		"password": `{"type":"password","created_at":2,"data":{"config_name":"ci"}}`,
		"root":     `{"type":"root_key","created_at":1,"data":{"config_name":"ci"}}`,
		"other":    `{"type":"password","created_at":1,"data":{"config_name":"cd"}}`,
		"key":      `{"type":"api_key","data":{"config_name":"ci"}}`,
		"foreign":  `{"type":"of another engine","data":{}}`,
		"broken":   `{`,
	} {
		s.Plant(wal+id, text)
	}
	found, err := store.ReadWALs(t.Context(), s, []string{"broken", "foreign", "gone", "key", "other", "password", "root"})
	require.NoError(t, err)
	assert.Equal(t, store.Interrupted{
		Rotations: map[string][]string{"ci": {"root", "password"}, "cd": {"other"}}, // the oldest first
		Keys:      []string{"key"}, Undecodable: []string{"broken"},
	}, found)
	s.FailOn("get", wal+"root")
	_, err = store.ReadWALs(t.Context(), s, []string{"password", "root"})
	assert.ErrorIs(t, err, enginetest.ErrDisk)
}
