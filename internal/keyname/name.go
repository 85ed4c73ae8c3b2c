// Package keyname makes the names of API keys from templates.
//
// Promise: no two names of a template that [Check] takes are the same, and no template fills the memory
// or stops the process. A key whose making was interrupted is found by its name.
//
// State: none.
package keyname

import (
	"fmt"
	"strings"
)

const (
	// Default makes the names of keys.
	Default = `{{ printf "vault-%s-%s-%s" (.RoleName | truncate 24) (.DisplayName | truncate 24) (random 20) }}`
	// maxName bounds a key's name, in bytes. Palette's document names no limit (an assumption).
	maxName = 128
)

// Data is what a name_template may use.
type Data struct{ RoleName, DisplayName, EntityID string }

// Make makes a key's name by a template, "" for the default. A template that [Check]
// refuses makes names too: a role may have been stored with it.
func Make(text string, data Data) (string, error) {
	if text == "" {
		text = Default
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

// Check returns what is wrong with a template; nil for nothing. Two names of one
// template must differ: a key whose making was interrupted is found by its name.
func Check(text string) error {
	if text == "" {
		return nil
	}
	if _, err := Make(text, Data{"role", "token-display-name", "entity-id"}); err != nil {
		return err
	}
	root, err := parsed(text)
	if err == nil && !isUnique(root) {
		err = errNotUnique
	}
	return err
}
