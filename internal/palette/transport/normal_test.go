package transport

import (
	"testing"

	"github.com/stretchr/testify/assert"
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

func TestNormalEmail(t *testing.T) {
	assert.Equal(t, "vault@example.com", NormalEmail(" Vault@Example.COM"))
}
