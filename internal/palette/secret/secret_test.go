package secret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSecretsPrintAsNothing(t *testing.T) {
	s := struct{ Password Text }{"Leaky"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.NotContains(t, fmt.Sprintf(verb, s), "Leaky")
		assert.NotContains(t, fmt.Sprintf(verb, s.Password), "Leaky")
	}
	assert.Empty(t, Text("").String())
	text, err := json.Marshal(s)
	require.NoError(t, err)
	assert.JSONEq(t, `{"Password":"Leaky"}`, string(text), "that is how it reaches Palette and the storage")
}

func TestTextsOfPaletteAreCleaned(t *testing.T) {
	secrets := []Text{"", "pass word/1", "tok", `a"b&c`, `a"b&c-longer`, "line\tbreak"}
	for given, want := range map[string]string{
		"bad pass word/1!":         "bad [redacted]!",
		"/auth/pass%20word%2F1":    "/auth/[redacted]",
		"?p=pass+word%2F1":         "?p=[redacted]",
		`{"p":"a\"b\u0026c"}`:      `{"p":"[redacted]"}`,
		`p="a\"b&c"`:               `p="[redacted]"`,
		`a"b&c-longer`:             "[redacted]",
		"eyJhbGciOiJI.eyJz.c2ln":   "[redacted]",
		"half eyJhbGci":            "half [redacted]",
		"a\nb\x7fc\x00":            "a b c",
		"a\u0085\u202eb\u2028c":    "a  b c",
		"pass\nword/1":             "[redacted]",
		"line\x1bbreak line break": "[redacted] [redacted]",
		strings.Repeat("é", 200):   strings.Repeat("é", 150) + "…",
		"":                         "",
	} {
		assert.Equal(t, want, Clean(given, secrets))
	}
}
