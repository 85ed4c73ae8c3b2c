package palettesecrets

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Each answer names its token: of a lease's own session another with each renewal, of a shared session
// the same to all.
func TestTokensAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/shared", fields{"shared": true, "renewable": true})
		w.write("roles/key", fields{"credential_type": "api_key"})
		l := w.creds("app")
		first := l.data["token_id"]
		assert.Regexp(t, "^[0-9a-f]{24}$", first, "the stand-in's jti")
		l.mustRenew()
		assert.Regexp(t, "^[0-9a-f]{24}$", l.data["token_id"])
		assert.NotEqual(t, first, l.data["token_id"])
		l.mustRevoke()
		a, b := w.creds("shared"), w.creds("shared")
		assert.Equal(t, a.data["token_id"], b.data["token_id"])
		a.mustRenew()
		assert.Equal(t, a.data["token_id"], b.data["token_id"])
		key := w.creds("key")
		assert.NotContains(t, key.data, "token_id")
		assert.NotEmpty(t, key.data["api_key_uid"])
		key.mustRevoke()
		w.remove("sessions/default")
	})
}

// What is wrapped for longer than its lease lasts may be dead when it is unwrapped.
func TestAWrapThatOutlivesItsLeaseIsAWarning(t *testing.T) {
	for _, c := range []struct {
		role  string
		ask   fields
		wrap  time.Duration // 0: no wrapping
		warns bool
	}{
		{"app", nil, 0, false},
		{"app", nil, 10 * time.Minute, false},
		{"app", nil, palettetest.DefaultLifetime, false},
		{"app", nil, palettetest.DefaultLifetime + time.Second, true},
		{"app", fields{"ttl": "1m"}, 10 * time.Minute, true},
		{"shared", nil, time.Hour, true},
		{"key", nil, 30 * time.Minute, false},
		{"key", nil, 2 * time.Hour, true},
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := configured(t)
			w.write("roles/shared", fields{"shared": true, "renewable": true})
			w.write("roles/key", fields{"credential_type": "api_key"})
			req := &logical.Request{Operation: read, Path: "creds/" + c.role, Storage: w.storage, Data: c.ask}
			if c.wrap > 0 {
				req.WrapInfo = &logical.RequestWrapInfo{TTL: c.wrap}
			}
			resp, err := w.b.HandleRequest(t.Context(), req)
			require.NoError(t, err)
			said := strings.Join(resp.Warnings, "\n")
			assert.Equal(t, c.warns, strings.Contains(said, "the wrapping token lives for "+c.wrap.String()), said)
			(&heldLease{w: w, secret: resp.Secret, data: resp.Data}).mustRevoke()
			if c.role != "app" {
				w.remove("sessions/default")
			}
		})
	}
}
