// Package password makes the passwords of rotations.
//
// Promise: a password keeps Palette's own policy, or Vault's policy that the config names.
//
// State: none.
package password

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/sethvargo/go-password/password"

	"vault-plugin-secrets-palette/internal/palette"
)

// The passwords that no policy makes. Palette's own policy asks for 14 characters of four classes
// (source: Palette's administrators' documentation).
const (
	Length  = 32
	digits  = 6
	symbols = 4
	// symbolSet needs no escape in JSON, a shell and a URL.
	symbolSet = "-_.!*+="
)

// New makes a password by the named policy of Vault or, without a policy, of all four classes.
func New(ctx context.Context, system logical.SystemView, policy string) (palette.Secret, error) {
	if policy != "" {
		text, err := system.GeneratePasswordFromPolicy(ctx, policy)
		if err != nil {
			return "", fmt.Errorf("making a password by the policy %q: %w", policy, err)
		}
		return palette.Secret(text), nil
	}
	generator, _ := password.NewGenerator(&password.GeneratorInput{Symbols: symbolSet}) // the library has no error to return
	for {
		text, err := generator.Generate(Length, digits, symbols, false, true)
		if err != nil {
			return "", fmt.Errorf("making a password: %w", err)
		}
		// The generator draws letters from both cases, and once in four million times from one alone.
		if strings.ContainsFunc(text, unicode.IsUpper) && strings.ContainsFunc(text, unicode.IsLower) {
			return palette.Secret(text), nil
		}
	}
}
