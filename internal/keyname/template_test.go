package keyname

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whoever may write a role must not stop the plugin's process, which serves other mounts.
func TestNameTemplateComesToAnEnd(t *testing.T) {
	nested := func(before, after string) string {
		return `{{ random 8 }}{{ ` + strings.Repeat(before, 60) + `"<aa>"` + strings.Repeat(after, 60) + ` }}`
	}
	doubled := func(function string) string {
		return `{{ $x := "aaaaaaaa" }}` + strings.Repeat(`{{ $x = `+function+` $x $x }}`, 60)
	}
	const tooLong = "would be longer than 1024 bytes"
	for text, problem := range map[string]string{
		`{{ range 9223372036854775807 }}{{ end }}{{ random 8 }}`:                                  "range",
		`{{ if true }}{{ with .RoleName }}{{ range 9999999999 }}x{{ end }}{{ end }}{{ end }}`:     "range",
		`{{ if false }}{{ else }}{{ with "" }}{{ else }}{{ range 9 }}{{ end }}{{ end }}{{ end }}`: "range",
		`{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}`:                           "template",
		`{{ block "x" . }}{{ template "x" }}{{ end }}`:                                            "block",
		`{{ random 1000000000 }}`:               tooLong,
		`{{ printf "%1000000d" 1 }}`:            tooLong,
		`{{ printf "%*d" 1000000 1 }}`:          tooLong,
		nested(`replace "a" "aaaaaaaa" (`, ")"): tooLong,
		nested(`printf "%[1]s%[1]s" (`, ")"):    tooLong,
		doubled("print"):                        tooLong, doubled("println"): tooLong, doubled("html"): tooLong, doubled("urlquery"): tooLong, doubled("js"): tooLong,
		nested("", " | js"):     tooLong,
		nested("", " | base64"): tooLong,
		`{{ timestamp (printf "%900s" "January" | replace " " "January") }}`: tooLong,
	} {
		assert.ErrorContains(t, Check(text), problem, text)
	}
}

// Those functions go on doing what Vault's and Go's do.
func TestNameTemplateFunctions(t *testing.T) {
	for text, want := range map[string]string{
		`{{ printf "%-4s|%03d" "a" 7 }}`:                                            "a   |007",
		`{{ print "a" 1 2 "b" }}{{ println "c" }}`:                                  fmt.Sprint("a", 1, 2, "b") + "c\n",
		`{{ .RoleName | replace "o" "0" }}`:                                         "r0le",
		`{{ base64 "?>" }}`:                                                         "Pz4=",
		`{{ html "<" }}{{ js "'" }}{{ urlquery "a b" }}`:                            `&lt;\'a+b`,
		`{{ timestamp "MST"}}`:                                                      time.Now().Format("MST"),
		`{{ if .DisplayName }}{{ .DisplayName | uppercase | truncate 3 }}{{ end }}`: "TOK",
	} {
		made, err := newNameTemplate(text)
		require.NoError(t, err, text)
		got, err := made.Generate(Data{"role", "token-display-name", "entity-id"})
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
}
