package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Each way to end leases ends all of their tokens, those of renewals too, long before
// they would die by themselves.
func TestRevoke(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  func(f *fixture, lease string)
		opts []palettetest.Option
	}{
		{"lease revoke", func(f *fixture, lease string) { f.cli("lease", "revoke", lease) }, nil},
		{"lease revoke -sync", func(f *fixture, lease string) { f.cli("lease", "revoke", "-sync", lease) }, nil},
		{"lease revoke -prefix", func(f *fixture, _ string) { f.cli("lease", "revoke", "-prefix", f.mount+"/creds/app") }, nil},
		{"secrets disable", func(f *fixture, _ string) { f.cli("secrets", "disable", f.mount) }, nil},
		{"a Palette that ends sessions", func(f *fixture, lease string) { f.cli("lease", "revoke", lease) }, []palettetest.Option{palettetest.WithRevokeScope(palettetest.BySession)}},
		{"a strict Palette", func(f *fixture, lease string) { f.cli("lease", "revoke", lease) }, []palettetest.Option{palettetest.WithStrictRevoke()}},
		{"role and config gone", func(f *fixture, lease string) {
			f.cli("delete", f.mount+"/roles/app")
			f.cli("delete", f.mount+"/config")
			f.cli("lease", "revoke", lease)
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			opts := append([]palettetest.Option{palettetest.WithLifetime(palettetest.DefaultLifetime)}, row.opts...)
			f := newFixture(t, sharedServer(t), opts...)
			read := f.read()
			first := tokenOf(t, read)
			second := tableRow(t, f.cli("lease", "renew", read.LeaseID), "token")
			f.works(first)
			f.works(second)
			row.end(f, read.LeaseID)
			f.dies(soon, first, second)
		})
	}
}

func TestRevokePrefixEndsAllLeases(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	f.write("roles/other", map[string]any{"renewable": false})
	var tokens []string
	for range 5 {
		tokens = append(tokens, tokenOf(t, f.read()))
	}
	other := tableRow(t, f.cli("read", f.mount+"/creds/other"), "token")
	f.cli("lease", "revoke", "-prefix", f.mount+"/creds/app")
	f.dies(soon, tokens...)
	f.works(other)
	f.cli("lease", "revoke", "-prefix", f.mount)
	f.dies(soon, other)
}

// A Palette too old for the endpoint: the lease ends, with a warning in the log, and the
// token by itself.
func TestRevokeWithoutTheEndpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithoutRevoke())
	read := f.read()
	f.cli("lease", "revoke", "-sync", read.LeaseID)
	assert.Contains(t, f.vault.Log(), "this Palette has no endpoint to revoke tokens (404)")
	f.works(tokenOf(t, read))
	f.dies(tokenLife, f.palette.Issued()...)
	require.Equal(t, "0", f.vault.irrevocable(t))
}
