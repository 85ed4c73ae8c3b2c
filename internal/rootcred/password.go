package rootcred

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/sethvargo/go-password/password"

	"vault-plugin-secrets-palette/internal/palette"
)

// The passwords that no policy makes. Palette's own policy asks for 14 characters of four classes
// (source: Palette's administrators' documentation).
const (
	PasswordLength  = 32
	passwordDigits  = 6
	passwordSymbols = 4
	// symbols need no escape in JSON, a shell and a URL.
	symbols = "-_.!*+="
)

// NewPassword makes a password by the named policy of Vault or, without a policy, of all four
// classes.
func (m *Manager) NewPassword(ctx context.Context, policy string) (palette.Secret, error) {
	if policy != "" {
		text, err := m.System().GeneratePasswordFromPolicy(ctx, policy)
		if err != nil {
			return "", fmt.Errorf("making a password by the policy %q: %w", policy, err)
		}
		return palette.Secret(text), nil
	}
	generator, err := password.NewGenerator(&password.GeneratorInput{Symbols: symbols})
	if err != nil {
		return "", fmt.Errorf("making a password: %w", err)
	}
	for {
		text, err := generator.Generate(PasswordLength, passwordDigits, passwordSymbols, false, true)
		if err != nil {
			return "", fmt.Errorf("making a password: %w", err)
		}
		// The generator draws letters from both cases, and once in four million times from one alone.
		if strings.ContainsFunc(text, unicode.IsUpper) && strings.ContainsFunc(text, unicode.IsLower) {
			return palette.Secret(text), nil
		}
	}
}
