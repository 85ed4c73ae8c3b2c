package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/password"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRotationGivesAPasswordThatNobodySees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		seen := map[string]bool{}
		for i := range 5 {
			time.Sleep(time.Minute)
			resp, err := w.rotateRoot()
			require.NoError(t, err)
			assert.Nil(t, resp)
			assert.Len(t, w.password(), password.Length)
			assert.False(t, seen[w.password()])
			seen[w.password()] = true
			w.secrets = append(w.secrets, w.password())
			assert.Equal(t, epoch.Add(time.Duration(2*i+1)*time.Minute).Format(time.RFC3339), w.read("config").Data["last_rotated"])
			w.works()
		}
		assert.NotContains(t, w.read("config").Data, "next_rotation")
		w.mistake(update, "rotate-root/nobody", nil, `no config "nobody"`)
		w.mount()
		w.works()
	})
}

func TestRotationByAPolicyOfVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.system.PasswordPolicies = map[string]logical.PasswordGenerator{
			"good":  func() (string, error) { return "Made-By-The-Policy-1", nil },
			"short": func() (string, error) { return "Short-1", nil },
			"bad":   func() (string, error) { return "", errDisk },
		}
		w.mistake(update, "config", fields{"password_policy": "nosuch"}, `"password_policy" is "nosuch"`, "not found")
		w.mistake(update, "config", fields{"password_policy": "bad"}, `"password_policy" is "bad"`)
		w.write("config", fields{"password_policy": "good"})
		_, err := w.rotateRoot()
		require.NoError(t, err)
		assert.Equal(t, "Made-By-The-Policy-1", w.password())
		w.write("config", fields{"password_policy": "short"})
		w.mistake(update, "rotate-root", nil, "PasswordPolicyViolation") // Palette says so
		w.works()
		delete(w.system.PasswordPolicies, "short")
		_, err = w.rotateRoot()
		require.ErrorContains(t, err, `policy "short"`)
		w.works()
	})
}
