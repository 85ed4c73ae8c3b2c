package revocation

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/store"
)

// A version without rate limits has stored no rate_limit. 0 would lift Palette's limit.
func TestPendingEntryOfAnOlderVersionHasTheDefaultLimits(t *testing.T) {
	s := &logical.InmemStorage{}
	require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: store.PendingPrefix + "an-id", Value: []byte(
		`{"connection":{"address":"https://palette.example.com","request_timeout":30000000000},"tokens":[],"first_failed":"2026-03-01T12:00:00Z"}`,
	)}))
	e, err := load(t.Context(), s, "an-id")
	require.NoError(t, err)
	assert.Equal(t, store.DefaultConnection("https://palette.example.com"), e.Connection)
}
