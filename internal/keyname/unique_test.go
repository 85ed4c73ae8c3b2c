package keyname

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A template must make unique names by its form, whatever a role, a display name or an entity is.
func TestNameTemplateMustMakeUniqueNames(t *testing.T) {
	const ok, refused = "", "two names could be the same"
	for text, problem := range map[string]string{
		Default:                             ok,
		`{{ random 7 }}`:                    ok,
		`{{ uuid }}`:                        ok,
		`{{ .RoleName }}-{{ random 0x14 }}`: ok,
		`{{ printf "%s-%12s" .RoleName (random 8) }}`:                           ok,
		`{{ printf "%v-%%-%q" uuid .RoleName }}`:                                ok,
		`{{ random 20 | lowercase | printf "vault-%s" }}`:                       ok,
		`{{ uuid | replace "-" "" }}`:                                           ok,
		`{{ uuid | sha256 }}`:                                                   ok,
		`{{ (random 9) }}`:                                                      ok,
		`{{ print .DisplayName (uuid | uppercase) }}`:                           ok,
		`{{ printf "%s %s" .DisplayName uuid | replace " " "-" }}`:              ok,
		`{{ if .EntityID }}{{ .EntityID | truncate 8 }}{{ end }}{{ random 7 }}`: ok,
		`{{- /* a comment */ -}} {{- uuid -}}`:                                  ok,

		`{{ random 1 }}`:                                     refused,
		`{{ random 6 }}`:                                     refused,
		`{{ .RoleName }}`:                                    refused,
		`{{ unix_time_millis }}-{{ random 6 }}`:              refused,
		`{{ timestamp "2006-01-02" }}`:                       refused,
		`{{ random 3 }}{{ random 4 }}`:                       refused,
		`{{ random 20 | truncate 3 }}`:                       refused,
		`{{ truncate 3 (random 20) }}`:                       refused,
		`{{ uuid | truncate_sha256 9 }}`:                     refused,
		`{{ printf "vault-%s" (random 20) | truncate 8 }}`:   refused,
		`{{ printf "%.3s" (random 20) }}`:                    refused,
		`{{ printf "%[1]s" .RoleName (random 20) }}`:         refused,
		`{{ printf "%T" uuid }}`:                             refused,
		`{{ printf .RoleName uuid }}`:                        refused,
		`{{ slice uuid 0 8 }}`:                               refused,
		`{{ index uuid 0 }}`:                                 refused,
		`{{ len uuid }}`:                                     refused,
		`{{ uuid | replace "a" "" }}`:                        refused,
		`{{ replace .RoleName "x" uuid }}`:                   refused,
		`{{ or .RoleName uuid }}`:                            refused,
		`{{ and uuid .RoleName }}`:                           refused,
		`{{ eq uuid .RoleName }}`:                            refused,
		`{{ not uuid }}`:                                     refused,
		`{{ if .EntityID }}{{ uuid }}{{ end }}`:              refused,
		`{{ if uuid }}{{ .RoleName }}{{ end }}`:              refused,
		`{{ if .EntityID }}x{{ else }}{{ uuid }}{{ end }}`:   refused,
		`{{ with .EntityID }}{{ uuid }}{{ end }}`:            refused,
		`{{ with uuid }}{{ $.RoleName }}{{ end }}`:           refused,
		`{{ $x := uuid }}{{ .RoleName }}`:                    refused,
		`{{ $x := uuid }}{{ $x | truncate 1 }}`:              refused,
		`{{ define "x" }}{{ uuid }}{{ end }}{{ .RoleName }}`: refused,
		`random 20`:          refused,
		`{{ "{{ uuid }}" }}`: refused,
	} {
		err := Check(text)
		if problem == ok {
			assert.NoError(t, err, text)
			continue
		}
		assert.ErrorContains(t, err, problem, text)
	}
	assert.NoError(t, Check(""), "the default")
}

// Names from outside are cut between characters.
func TestNameIsCutBetweenCharacters(t *testing.T) {
	for _, c := range []struct{ template, displayName, want string }{
		{`{{ .DisplayName | truncate 4 }}`, "zoë-x", "zoë"},
		{`{{ .DisplayName | truncate 3 }}`, "zoë-x", "zo"},
		{`{{ .DisplayName | truncate 3 | lowercase }}`, "ZOË", "zo"},
		{`{{ .DisplayName | truncate 5 }}`, "日本語", "日"},
		{`{{ .DisplayName | truncate 3 }}!`, "🙂🙂", "!"},
		{`{{ slice .DisplayName 1 3 }}`, "zoë", "o"},
		{`{{ slice .DisplayName 3 }}x`, "zoë", "x"},
		{`{{ slice .DisplayName }}`, "zoë", "zoë"},
		{`{{ printf "%.3s" .DisplayName }}`, "zoë-x", "zoë"},
		{`{{ .DisplayName }}`, "a\xffb", "ab"},
		{`{{ .DisplayName | truncate 100 }}`, "zoë", "zoë"},
	} {
		got, err := Make(c.template, Data{DisplayName: c.displayName})
		require.NoError(t, err, c.template)
		assert.Equal(t, c.want, got, c.template)
	}
	for n := 9; n < 60; n++ {
		name, err := truncateSHA256(n, "jörg-日本語-🙂-jörg-日本語-🙂")
		require.NoError(t, err)
		assert.True(t, utf8.ValidString(name) && len(name) <= n, "%d: %q", n, name)
	}
	for _, bad := range []string{`{{ truncate 0 .RoleName }}`, `{{ truncate_sha256 8 .RoleName }}`, `{{ slice .RoleName 9 }}`, `{{ slice .RoleName 2 1 }}`, `{{ slice .RoleName 0 1 2 }}`} {
		_, err := Make(bad, Data{RoleName: "role"})
		assert.Error(t, err, bad)
	}
}
