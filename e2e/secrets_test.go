package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// watch names secrets that the server's logs must never hold. They are asked for when
// the logs are searched.
func (v *server) watch(secrets func() []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets = append(v.secrets, secrets)
}

// watchPalette watches all that a stand-in gives out.
func watchPalette(v interface{ watch(secrets func() []string) }, palette *palettetest.Server) {
	v.watch(palette.Issued)
	v.watch(palette.Passwords)
	v.watch(palette.KeySecrets)
}

// watchText is watch for secrets that are known already.
func (v *server) watchText(secrets ...string) { v.watch(func() []string { return secrets }) }

// leaks searches the server's log and its audit log.
func (v *server) leaks() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var secrets []string
	for _, source := range v.secrets {
		secrets = append(secrets, source()...)
	}
	return append(leaksIn("the server's log", v.Log(), secrets), leaksIn("the audit log", v.Audit(), secrets)...)
}

// leaksIn returns a line for each part of a secret that a text holds.
func leaksIn(name, text string, secrets []string) []string {
	parts := make(map[string]bool)
	for _, secret := range secrets {
		for _, part := range telling(secret) {
			parts[part] = true
		}
	}
	var found []string
	for part := range parts {
		if at := strings.Index(text, part); at >= 0 {
			begin := strings.LastIndexByte(text[:at], '\n') + 1
			found = append(found, fmt.Sprintf("%s holds part of a secret, after %q", name, text[begin:at]))
		}
	}
	return found
}

// quickLength is up to where a search in a long log is quick: for what is longer Go takes
// many times as long, and there are hundreds of tokens.
const quickLength = 31

// telling cuts a secret into the parts that must not be shown either: the payload and the
// signature of a JWT, of which the beginning tells enough and whose header is no secret,
// and the lines of a PEM block.
func telling(secret string) []string {
	var parts []string
	switch {
	case strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2: // a password may have dots too
		for _, part := range strings.Split(secret, ".")[1:] {
			parts = append(parts, part[:min(len(part), quickLength)])
		}
	case strings.Contains(secret, "-----BEGIN"):
		for _, line := range strings.Split(secret, "\n") {
			if len(line) > 40 && !strings.HasPrefix(line, "-----") {
				parts = append(parts, line)
			}
		}
	case secret != "":
		parts = []string{secret[:min(len(secret), quickLength)]}
	}
	return parts
}

// The search for secrets has to find what is there, or it proves nothing.
func TestTheSearchForSecretsFinds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	id := f.read().LeaseID
	f.cli("lease", "revoke", "-sync", id)

	log, audit := f.vault.Log(), f.vault.Audit()
	assert.Contains(t, log, "[TRACE]", "the server logs at trace level")
	assert.Contains(t, log, "secrets.vault-plugin-secrets-palette", "the plugin's part is in the server's log")
	assert.Contains(t, audit, f.mount+"/creds/app")
	assert.Contains(t, audit, `"token":"hmac-sha256:`, "the audit log has the token, hashed")

	const jwt, pem = "eyJa.bbbb.cccc", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n"
	for text, secret := range map[string]string{
		"x bbbb x": jwt, "x cccc x": jwt, "x eyJa.bbbb.cccc x": jwt,
		"x MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg": pem,
		"x pass x": "pass", "x pa.s.s x": "pa.s.s",
	} {
		assert.NotEmpty(t, leaksIn("it", text, []string{"", secret}), text)
	}
	assert.Empty(t, leaksIn("it", "x eyJa x", []string{"", jwt, pem, "pass"}))
	require.NotEmpty(t, f.palette.Issued())
}
