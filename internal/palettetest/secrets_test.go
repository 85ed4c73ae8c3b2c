package palettetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// What tests search logs for has to hold all that there was, or they prove nothing.
func TestSecretsAreRemembered(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		token := f.login(alice)
		first := f.createKey(token, "first", "", time.Hour)
		f.must("DELETE", "/v1/apiKeys/"+first.uid, token, "")
		second := f.createKey(token, "second", "", time.Hour)
		assert.Equal(t, []string{first.secret, second.secret}, f.KeySecrets())

		f.SetPassword(alice.Email, alice.Org, "set")
		f.AddUser(palettetest.User{Email: "new@example.com", Org: "example", Password: "added"})
		assert.Equal(t, []string{alice.Password, admin.Password, other.Password, "set", "added"}, f.Passwords())
	})
}
