package palette

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func (r *rig) auth(t *testing.T) Auth {
	t.Helper()
	return Auth{Token: r.login(t).Raw}
}

func TestUserInfo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.AllowLiveTokens())
		auth := r.auth(t)
		_, key, err := r.CreateAPIKey(t.Context(), auth, NewAPIKey{Name: "k", Expiry: epoch.Add(time.Hour)})
		require.NoError(t, err)
		me, _ := r.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		for _, c := range []struct {
			name string
			auth Auth
			kind Kind
		}{
			{"token", auth, 0},
			{"key", Auth{APIKey: key}, 0},
			{"token and a dead key", Auth{auth.Token, "dead"}, 0},
			{"dead token and a key", Auth{"dead", key}, Rejected},
			{"dead key", Auth{APIKey: "dead"}, Rejected},
			{"nothing", Auth{}, Rejected},
		} {
			info, err := r.UserInfo(t.Context(), c.auth)
			assert.Equal(t, c.kind, KindOf(err), c.name)
			if c.kind == 0 {
				require.NoError(t, err, c.name)
				assert.Equal(t, []string{me.Org, me.UID}, []string{info.OrgName, info.UserUID}, c.name)
				assert.NotEmpty(t, info.TenantUID)
			}
		}
	})
}
