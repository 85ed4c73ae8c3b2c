package palette

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestNormalAddress(t *testing.T) {
	for _, same := range [][]string{
		{"https://palette.example.com", "https://palette.example.com:443", "HTTPS://Palette.Example.COM", "https://palette.example.com:0443", "https://palette.example.com:", "https://palette.example.com/"},
		{"http://127.0.0.1", "http://127.0.0.1:80"},
		{"https://palette.example.com:8443", "https://PALETTE.example.com:8443"},
		{"https://[::1]", "https://[0:0:0:0:0:0:0:1]:443", "https://[0::1]"},
		{"https://[2001:db8::a]:8443", "https://[2001:0DB8::A]:8443"},
		{"https://palette.example.com."},
		{"https://palette.example.com:80"},
		{"http://palette.example.com:443"},
		{"https://api.example.com"},
		{"%zz"},
	} {
		for _, a := range same {
			assert.Equal(t, NormalAddress(same[0]), NormalAddress(a))
		}
		assert.Equal(t, same[0], NormalAddress(same[0]), "the first is the normal form")
	}
}

// What Palette counts as one is one: its calls, its clock, the failed logins of an account.
func TestSpellingsOfAnAccountAreCountedTogether(t *testing.T) {
	p := NewProcess()
	first := account{"https://palette.example.com", "org", "vault@example.com", ""}
	for _, other := range []account{
		{"https://palette.example.com:443", "org", "vault@example.com", ""},
		{"https://palette.example.com", "org", "Vault@Example.COM", ""},
		{"https://PALETTE.example.com:443", "org", " VAULT@example.com", ""},
	} {
		assert.Same(t, p.account(first), p.account(other), "%v", other)
		assert.Same(t, p.limitsOf(first.address), p.limitsOf(other.address), "%v", other)
		assert.Same(t, p.clock(first.address), p.clock(other.address), "%v", other)
	}
	admin := account{"https://palette.example.com", "", "", "admin"}
	assert.Same(t, p.account(admin), p.account(account{"https://palette.example.com:443", "", "", "Admin"}))
	for _, another := range []account{admin, {"https://palette.example.com:8443", "org", "vault@example.com", ""}, {"https://palette.example.com", "Org", "vault@example.com", ""}, {"https://palette.example.com", "org", "vaul@example.com", ""}} {
		assert.NotSame(t, p.account(first), p.account(another), "%v", another)
	}
}

// A wrong password that is tried under several spellings does not suspend the account.
func TestSpellingsDoNotGetAnAccountSuspended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, palettetest.WithLockout())
		for _, email := range []string{"vault@example.com", "Vault@example.com", "VAULT@example.com", "vault@Example.com", "vault@EXAMPLE.com", "vAult@example.com"} {
			for _, password := range []Secret{"Wrong-Password-1", "Wrong-Password-2"} {
				_, err := r.Login(t.Context(), Login{Email: email, Org: palettetest.DefaultUser.Org, Password: password, ByOperator: true})
				assert.NotNil(t, Refusal(err), "%v", err)
			}
		}
		assert.False(t, r.palette.Suspended(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org))
		assert.LessOrEqual(t, r.palette.Calls(palettetest.Login), 4)
	})
}
