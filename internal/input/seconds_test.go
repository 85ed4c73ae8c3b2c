package input_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/input"
)

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		raw   any
		want  time.Duration
		error string
	}{
		{nil, 0, ""},
		{0, 0, ""},
		{"90", 90 * time.Second, ""},
		{"15m", 15 * time.Minute, ""},
		{"87600h", 87600 * time.Hour, ""},
		{"87601h", 0, `field "ttl" is 87601h0m0s, but must be at most 87600h0m0s (10 years)`},
		{"500ms", 0, `field "ttl" is "500ms", but must be a duration of whole seconds, zero or more`},
		{"-1s", 0, `field "ttl" is "-1s", but must be a duration of whole seconds, zero or more`},
		{"soon", 0, `field "ttl" is "soon", but must be a duration of whole seconds, zero or more`},
	} {
		raw := map[string]any{}
		if c.raw != nil {
			raw["ttl"] = c.raw
		}
		value, given, err := input.Seconds(&framework.FieldData{Raw: raw}, "ttl")
		assert.Equal(t, []any{c.want, c.raw != nil}, []any{value, given}, c.raw)
		if c.error == "" {
			assert.NoError(t, err, c.raw)
		} else {
			assert.EqualError(t, err, c.error)
		}
	}
}
