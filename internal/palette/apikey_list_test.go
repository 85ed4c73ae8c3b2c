package palette_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// A list is read to its end, whatever its pages are.
func TestListAPIKeysReadsEachPage(t *testing.T) {
	for _, c := range []struct{ size, keys, calls int }{{0, 50, 1}, {0, 51, 2}, {0, 160, 4}, {1, 3, 3}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			wiretest.Bubble(t, func(t *testing.T) {
				r, user, _ := keyRig(t, palettetest.WithPageSize(c.size))
				for i := range c.keys {
					r.Key(t, user, fmt.Sprintf("k%d", i))
				}
				keys, err := r.ListAPIKeys(t.Context(), user)
				require.NoError(t, err)
				require.Len(t, keys, c.keys)
				assert.Equal(t, fmt.Sprintf("k%d", c.keys-1), keys[c.keys-1].Name)
				assert.Equal(t, c.calls, r.Palette.Calls(palettetest.APIKeyList))
				// A page that cannot be read is no end of the list.
				if c.calls > 1 {
					r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Delay: time.Second, Times: 1})
					r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 500, Times: 1})
					_, err = r.ListAPIKeys(t.Context(), user)
					assert.Equal(t, answer.Unavailable, answer.KindOf(err))
				}
			})
		})
	}
}

// A connection that breaks within a long list is no answer, and nobody in between is accused.
func TestListAPIKeysThatBreaksOff(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r, user, _ := keyRig(t)
		body, _ := listOf(2<<20, "")
		r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Body: body, Header: http.Header{"Content-Length": {"9999999"}}})
		_, err := r.ListAPIKeys(t.Context(), user)
		assert.Equal(t, answer.Unreachable, answer.KindOf(err), "%v", err)
	})
}

// listOf is a list of at least so many bytes, and how many keys are in it.
func listOf(bytes int, more string) (body string, keys int) {
	item := `{"metadata":{"uid":"u","name":"` + strings.Repeat("n", 2000) + `"},"status":{"isActive":true}}`
	keys = bytes/(len(item)+1) + 1
	return `{"other":{"items":[1]},"items":[` + strings.Repeat(item+",", keys-1) + item + `]` + more + `}`, keys
}

// Only a list may be as large, and no list without an end.
func TestListAPIKeysOfManyMiB(t *testing.T) {
	whole, keys := listOf(3<<20, `,"listmeta":{"count":1}`)
	cutOff, _ := listOf(2<<20, "")
	otherwise, _ := listOf(2<<20, `,"items":{}`)
	withoutUID := strings.Replace(cutOff, `"uid":"u"`, `"uid":""`, 1)
	page, _ := listOf(17<<20, `,"listmeta":{"continue":"again"}`)
	var small []string
	for i := range 2100 {
		small = append(small, fmt.Sprintf(`{"items":[],"listmeta":{"continue":"%d"}}`, i))
	}
	for _, c := range []struct {
		name string
		body []string
		keys int
		kind answer.Kind
		text string
	}{
		{"3 MiB", []string{whole}, keys, 0, ""},
		{"cut off", []string{cutOff[:len(cutOff)-1]}, 0, answer.Foreign, "more than 1 MiB"},
		{"more after it", []string{cutOff + "{}"}, 0, answer.Foreign, "more than 1 MiB"},
		{"of another form", []string{otherwise}, 0, answer.Foreign, "more than 1 MiB"},
		{"a key without a uid", []string{withoutUID}, 0, answer.Foreign, "more than 1 MiB"},
		{"the rest of another form", []string{`{"items":[],"listmeta":{"continue":1}}`}, 0, answer.Foreign, "JSON of another form"},
		{"a page again", []string{`{"items":[],"listmeta":{"continue":"a"}}`, `{"items":[],"listmeta":{"continue":"a"}}`}, 0, answer.Malformed, "has just been read"},
		{"more than 32 MiB in pages", []string{page, strings.Replace(page, "again", "and again", 1)}, 0, answer.Malformed, "longer than 32 MiB"},
		{"small pages without an end", small, 0, answer.Malformed, "longer than 32 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wiretest.Bubble(t, func(t *testing.T) {
				r, user, _ := keyRig(t)
				for _, body := range c.body {
					r.Palette.Inject(palettetest.APIKeyList, palettetest.Fault{Body: body, Header: http.Header{"Content-Type": {"application/json"}}, Times: 1})
				}
				got, err := r.ListAPIKeys(t.Context(), user)
				assert.Equal(t, c.kind, answer.KindOf(err), "%v", err)
				if c.kind != 0 {
					assert.ErrorContains(t, err, c.text)
					return
				}
				assert.Len(t, got, c.keys)
			})
		})
	}
}
