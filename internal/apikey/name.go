package apikey

import (
	"fmt"
	"strings"
)

const (
	// DefaultNameTemplate makes the names of keys.
	DefaultNameTemplate = `{{ printf "vault-%s-%s-%s" (.RoleName | truncate 24) (.DisplayName | truncate 24) (random 20) }}`
	// maxName bounds a key's name, in bytes. Palette's document names no limit (an assumption).
	maxName = 128
)

// NameData is what a name_template may use.
type NameData struct{ RoleName, DisplayName, EntityID string }

// Name makes a key's name by a template, "" for the default. A template that [CheckNameTemplate]
// refuses makes names too: a role may have been stored with it.
func Name(text string, data NameData) (string, error) {
	if text == "" {
		text = DefaultNameTemplate
	}
	made, err := newNameTemplate(text)
	if err != nil {
		return "", err
	}
	name, err := made.Generate(data)
	// JSON would replace what is no character, and the key would not be found by its name.
	name = strings.ToValidUTF8(name, "")
	switch {
	case err != nil:
		return "", err
	case name == "" || len(name) > maxName:
		return "", fmt.Errorf("it makes a name of %d characters, but it must have 1 to %d", len(name), maxName)
	}
	return name, nil
}

// CheckNameTemplate returns what is wrong with a template; nil for nothing. Two names of one
// template must differ: a key whose making was interrupted is found by its name.
func CheckNameTemplate(text string) error {
	if text == "" {
		return nil
	}
	if _, err := Name(text, NameData{"role", "token-display-name", "entity-id"}); err != nil {
		return err
	}
	root, err := parsed(text)
	if err == nil && !isUnique(root) {
		err = errNotUnique
	}
	return err
}
