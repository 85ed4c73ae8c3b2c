package palette

import (
	"testing"
	"testing/synctest"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a version without rate limits has stored is read as if they had been left at their
// defaults: a limit of 0, which is none, would have to be asked for.
func TestEntriesOfOlderVersionsKeepPalettesLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const older = `"address":"https://palette.example.com","request_timeout":30000000000`
		put := func(key, value string) {
			w.plant(key, value)
		}
		put(store.ConfigPrefix+"default", `{`+older+`,"email":"vault@example.com","org":"example","password":"a-Password-14-long"}`)
		w.mount()

		shown := w.read("config").Data
		assert.EqualValues(t, 10, shown["rate_limit"])
		assert.EqualValues(t, 55, shown["queue_timeout"])
		want := store.DefaultConnection("https://palette.example.com")
		require.NoError(t, store.KeepConnection(t.Context(), w.storage, "gone", want))
		key := w.keys(store.ConnectionPrefix)[0]
		w.plant(key, `{`+older+`,"kept_at":"2026-03-01T12:00:00Z"}`)
		kept, err := w.b.configs.ConnectionTo(t.Context(), w.storage, "gone", want.Address)
		require.NoError(t, err)
		assert.Equal(t, want, kept)
	})
}
