package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// holder is where a consumer finds its credential: a secret, or a file.
type holder struct {
	name string
	read func() string // "" while there is nothing

	looks, dead int
	values      []string // those that were there, in their order
}

// secret is a holder in a secret of the cluster.
func (w *world) secret(t *testing.T, name, key string) *holder {
	t.Helper()
	return &holder{name: name, read: func() string {
		if found := w.get(t, secretNamed(name)); found != nil {
			return found.datum(t, key)
		}
		return ""
	}}
}

// alive tells whether a token or a key opens Palette.
func (w *world) alive(credential string) bool {
	return w.palette.Alive(credential) || w.palette.KeyAlive(credential)
}

// look tries at the stand-in what is there, and returns whether that is alive.
func (w *world) look(h *holder) bool {
	value := h.read()
	if value == "" {
		return false
	}
	alive := w.alive(value)
	h.looks++
	if !alive {
		h.dead++
	}
	if h.present() != value {
		h.values = append(h.values, value)
	}
	return alive
}

// present is the newest value that was seen.
func (h *holder) present() string {
	if len(h.values) == 0 {
		return ""
	}
	return h.values[len(h.values)-1]
}

// left is how long the present token has still to live, by its own word.
func (h *holder) left(t *testing.T) time.Duration {
	t.Helper()
	parts := strings.Split(h.read(), ".")
	require.Len(t, parts, 3, "a token has three parts")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct {
		Expires int64 `json:"exp"`
	}
	require.NoError(t, json.Unmarshal(payload, &claims))
	return time.Until(time.Unix(claims.Expires, 0))
}

// awayFor30s takes Vault away at the time when the holder's next token is due, and watches.
func (w *world) awayFor30s(t *testing.T, own *holder, others ...*holder) {
	t.Helper()
	holders := append(others, own)
	until(t, "the next token lives long", func() bool { return own.left(t) > longLife-20*time.Second })
	w.filled(t, holders...)
	w.watch(own.left(t)-65*time.Second, holders...)
	w.vault.Kill()
	w.vault.KillPlugins()
	w.watch(30*time.Second, holders...)
}

// back brings Vault back, and watches until its readers have read anew.
func (w *world) back(t *testing.T, holders ...*holder) {
	t.Helper()
	require.NoError(t, w.vault.Restart(t.Context()))
	w.watch(35*time.Second, holders...)
	for _, h := range holders {
		h.held(t, 100, 2)
	}
}

// filled waits until each holder has a live credential, and begins to count there.
func (w *world) filled(t *testing.T, holders ...*holder) {
	t.Helper()
	for _, h := range holders {
		until(t, h.name+" must hold a live credential", func() bool { return w.look(h) })
		h.looks, h.dead, h.values = 0, 0, nil
	}
}

// watch looks at the holders for so long, and returns the most API keys that there were.
func (w *world) watch(d time.Duration, holders ...*holder) (keys int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(often) {
		for _, h := range holders {
			w.look(h)
		}
		keys = max(keys, len(w.palette.Keys()))
	}
	return keys
}

// held asserts that the holder was never without a live credential, of which there were so many.
func (h *holder) held(t *testing.T, looks, values int) {
	t.Helper()
	t.Logf("%s: alive in %d of %d looks, %d different", h.name, h.looks-h.dead, h.looks, len(h.values))
	assert.Zero(t, h.dead, "%s never holds a dead credential", h.name)
	assert.Greater(t, h.looks, looks, h.name)
	assert.GreaterOrEqual(t, len(h.values), values, "%s gets the next one in time", h.name)
}
