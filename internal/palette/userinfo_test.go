package palette_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestUserInfo(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t, palettetest.AllowLiveTokens())
		auth := r.Auth(t)
		_, key, err := r.CreateAPIKey(t.Context(), auth, palette.NewAPIKey{Name: "k", Expiry: wiretest.Epoch.Add(time.Hour)})
		require.NoError(t, err)
		me, _ := r.Palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
		for _, c := range []struct {
			name string
			auth palette.Auth
			kind answer.Kind
		}{
			{"token", auth, 0},
			{"key", palette.Auth{APIKey: key}, 0},
			{"token and a dead key", palette.Auth{Token: auth.Token, APIKey: "dead"}, 0},
			{"dead token and a key", palette.Auth{Token: "dead", APIKey: key}, answer.Rejected},
			{"dead key", palette.Auth{APIKey: "dead"}, answer.Rejected},
			{"nothing", palette.Auth{}, answer.Rejected},
		} {
			info, err := r.UserInfo(t.Context(), c.auth)
			assert.Equal(t, c.kind, answer.KindOf(err), c.name)
			if c.kind == 0 {
				require.NoError(t, err, c.name)
				assert.Equal(t, []string{me.Org, me.UID}, []string{info.OrgName, info.UserUID}, c.name)
				assert.NotEmpty(t, info.TenantUID)
			}
		}
	})
}
