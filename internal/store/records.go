package store

import (
	"slices"
	"time"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// Prefixes of storage keys. Each ends in a slash: Vault's seal wrapping matches an exact key or
// a prefix with a slash at its end, so "config" would leave config/ci unwrapped.
const (
	ConfigPrefix     = "config/"
	RolePrefix       = "roles/"
	ConnectionPrefix = "connections/"
	SessionPrefix    = "sessions/"
	SharedKeyPrefix  = "shared-keys/"
	// PendingPrefix is that of pending revocations. Mounts have stored them under "owed/".
	PendingPrefix = "owed/"
)

// Identity is the user at a Palette that a credential comes from. Records embed it, so its
// fields are theirs in the stored JSON.
type Identity struct {
	Address string `json:"address"`
	Org     string `json:"org"`
	Email   string `json:"email"`
	// Username names a system administrator, who has no Org and no Email; "" for a user.
	Username string `json:"username,omitempty"`
}

// Normal is the form of an identity by which two spellings of one are the same. It is for comparing
// alone: what is stored and sent is the identity as it was written.
func (i Identity) Normal() Identity {
	i.Address, i.Email = transport.NormalAddress(i.Address), transport.NormalEmail(i.Email)
	return i
}

// Same tells whether two identities are one user at one Palette, however they are spelled.
func (i Identity) Same(other Identity) bool { return i == other || i.Normal() == other.Normal() }

// SameAddress tells whether two addresses are one, however they are spelled.
func SameAddress(a, b string) bool {
	return a == b || transport.NormalAddress(a) == transport.NormalAddress(b)
}

// Token is an authorization token that the engine answers for until the token is dead.
type Token struct {
	Token palette.Secret `json:"token"`
	// ExpiresAt is when Palette counts the token as dead, by Vault's clock.
	ExpiresAt time.Time `json:"expires_at"`
}

// TokenOf is the stored form of a token that Palette has just issued.
func TokenOf(t palette.Token) Token {
	return Token{Token: t.Raw, ExpiresAt: t.ExpiresAt.UTC()}
}

// Left is how much of the token's life is left. Palette cuts a token's iat, and so its end, to
// the second.
func (t Token) Left(now time.Time) time.Duration {
	return t.ExpiresAt.Truncate(time.Second).Sub(now)
}

// Alive returns the tokens that are not dead yet.
func Alive(tokens []Token, now time.Time) []Token {
	return slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool { return !t.ExpiresAt.After(now) })
}

// LastExpiry is when the last one of tokens dies by itself.
func LastExpiry(tokens []Token) time.Time {
	var last time.Time
	for _, t := range tokens {
		if t.ExpiresAt.After(last) {
			last = t.ExpiresAt
		}
	}
	return last
}

// Secrets are the tokens as the wire client takes them.
func Secrets(tokens []Token) []palette.Secret {
	out := make([]palette.Secret, len(tokens))
	for i, t := range tokens {
		out[i] = t.Token
	}
	return out
}

// Key is an API key that the engine answers for until the key is dead.
type Key struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
	// Key is the key itself. The key can delete itself where its config has gone.
	Key palette.Secret `json:"key"`
	// ExpiresAt is the key's end at Palette, by Vault's clock.
	ExpiresAt time.Time `json:"expires_at"`
	// MadeAt is when the engine made the key; zero in records of older versions.
	MadeAt time.Time `json:"made_at,omitzero"`
}
