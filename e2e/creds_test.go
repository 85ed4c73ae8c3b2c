package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.write("roles/app", map[string]any{"project_uid": "5f1a2b3c"})
	sent := time.Now()
	out := f.cli("read", f.mount+"/creds/app")
	f.works(tableRow(t, out, "token"))
	assert.Equal(t, "10s", tableRow(t, out, "lease_duration"))
	assert.Equal(t, "true", tableRow(t, out, "lease_renewable"))
	assert.Equal(t, f.palette.URL(), tableRow(t, out, "address"))
	assert.Equal(t, palettetest.DefaultUser.Org, tableRow(t, out, "org"))
	assert.Equal(t, "5f1a2b3c", tableRow(t, out, "project_uid"))
	assert.Zero(t, f.palette.CookiesSet())
	expires := moment(t, tableRow(t, out, "expires_at"))
	// Whole seconds, and no earlier than the read was sent.
	assert.False(t, expires.Before(sent.Add(tokenLife).Truncate(time.Second)), "expires_at %s, read sent at %s", expires, sent)
	assert.False(t, expires.After(time.Now().Add(tokenLife)), "expires_at %s", expires)
	// A lease that ends by itself finds its token dead, which costs no call.
	calls := f.palette.Calls(palettetest.Revoke)
	f.leaseEnds(tableRow(t, out, "lease_id"), tokenLife+soon)
	assert.Equal(t, http.StatusUnauthorized, f.status(tableRow(t, out, "token")))
	assert.Equal(t, calls, f.palette.Calls(palettetest.Revoke))
}

func TestReadWithArguments(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.write("roles/once", map[string]any{"renewable": false})
	for _, row := range []struct {
		name, command, path string
		args                []string
		duration            string
		renewable           bool
		warning             string
	}{
		{"read", "read", "creds/app", nil, "10s", true, ""},
		{"read with a query", "read", "creds/app", []string{"ttl=5s", "renewable=false"}, "5s", false, ""},
		{"write with the same", "write", "creds/app", []string{"ttl=5s", "renewable=false"}, "5s", false, ""},
		{"longer than the token", "read", "creds/app", []string{"ttl=1h"}, "10s", true, "the token's life allows 10s"},
		{"a role that is not renewable", "read", "creds/once", []string{"renewable=true"}, "10s", false, "does not lift the role's"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out := f.cli(append([]string{row.command, f.mount + "/" + row.path}, row.args...)...)
			assert.Equal(t, row.duration, tableRow(t, out, "lease_duration"))
			assert.Equal(t, row.renewable, tableRow(t, out, "lease_renewable") == "true")
			if row.warning == "" {
				assert.NotContains(t, out, "WARNING")
			} else {
				assert.Contains(t, out, row.warning)
			}
		})
	}
}

// A token as Palette makes it where nobody changed anything is a lease of exactly 15m.
func TestAUsualTokenIsALeaseOf15Minutes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	out := f.cli("read", f.mount+"/creds/app")
	require.Equal(t, "15m", tableRow(t, out, "lease_duration"))
}

// A caller who hangs up while Palette makes the token gets none, so it must not live.
func TestATokenThatNobodyWaitsForIsRevoked(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	made := f.palette.HoldAfter(palettetest.Login)
	ctx, hangUp := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() {
		_, err := f.api.Logical().ReadWithContext(ctx, f.mount+"/creds/app")
		returned <- err
	}()
	<-made.Arrived()
	require.Len(t, f.palette.LiveTokens(), 1)
	hangUp()
	require.Error(t, <-returned)
	f.hasGivenUp("creds/app")
	made.Release()
	require.Eventually(t, func() bool { return len(f.palette.LiveTokens()) == 0 }, soon, often)
}
