package e2e

import (
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// features are what a version of the engine has, each with those before it.
type features int

const (
	tokenLeases features = iota
	sharedSessions
	apiKeys // and rotation
)

// opened is a mount with all that a version may have open: leases and a session. At a second Palette, which is away,
// it has pending revocations and a rotation whose end it does not know.
type opened struct {
	*fixture
	has     features
	away    *palettetest.Server
	lease   *api.Secret // renewed once
	first   string      // its first token
	key     *api.Secret
	pending []string
	// token is the shared session's, shown what a read of that shows.
	token string
	shown map[string]any
	// stored are the configs and roles, as they can be read.
	stored map[string]map[string]any
}

// open opens all of it.
func open(f *fixture, has features) *opened {
	f.t.Helper()
	o := &opened{fixture: f, has: has, away: palettetest.New(f.t, palettetest.WithLifetime(palettetest.DefaultLifetime))}
	watchPalette(f.vault, o.away)
	here, away := f.login(), (&fixture{palette: o.away}).login()
	if has < sharedSessions {
		delete(here, "rate_limit")
		delete(away, "rate_limit")
	}
	if has >= apiKeys {
		here["rotation_period"] = "24h"
	}
	away["request_timeout"] = 1
	f.write("config", here)
	f.write("config/away", away)
	f.write("roles/app", map[string]any{"renewable": true, "max_ttl": "8h", "project_uid": "5f1a2b3c"})
	f.write("roles/away", map[string]any{"config_name": "away"})

	o.lease = f.read()
	o.first = tokenOf(f.t, o.lease)
	f.renewed(o.lease.LeaseID)
	if has >= sharedSessions {
		f.write("roles/fleet", map[string]any{"shared": true})
		o.token = tokenOf(f.t, f.firstRead("creds/fleet"))
		o.shown = f.session("default")
	}
	if has >= apiKeys {
		f.write("roles/keys", map[string]any{"credential_type": "api_key"})
		o.key = f.firstRead("creds/keys")
	}
	o.goAway()
	o.stored = f.stores()
	delete(o.stored["config/away"], "rotation_error") // what the last try said, which a new process has not made
	return o
}

// goAway lets the second Palette go away, with two leases open and a rotation under way.
func (o *opened) goAway() {
	o.t.Helper()
	for range 2 {
		o.pending = append(o.pending, tokenOf(o.t, o.firstRead("creds/away")))
	}
	if o.has >= apiKeys {
		held := o.away.HoldAfter(palettetest.PasswordChange)
		defer held.Release()
		answer := make(chan error, 1)
		go func() { answer <- o.rotate("rotate-root/away") }()
		<-held.Arrived()
		o.away.Down(true)
		require.Error(o.t, <-answer, "the answer to the change does not come, and no login can tell whether it was made")
	}
	o.away.Down(true)
	o.cli("lease", "revoke", "-force", "-prefix", o.mount+"/creds/away")
	o.isPending("before")
}

// isPending checks that what was pending still is.
func (o *opened) isPending(when string) {
	o.t.Helper()
	for _, token := range o.pending {
		require.True(o.t, o.away.Alive(token), when)
	}
}

// stores reads all configs and roles.
func (f *fixture) stores() map[string]map[string]any {
	f.t.Helper()
	found := make(map[string]map[string]any)
	for _, kind := range []string{"config", "roles"} {
		for _, name := range names(f.cli("list", f.mount+"/"+kind)) {
			found[kind+"/"+name] = f.config(kind + "/" + name)
		}
	}
	require.NotEmpty(f.t, found)
	return found
}

// goesOn checks, after something has happened to the server or its plugin, that leases and
// the session go on, and that configs and roles are as they were.
func (o *opened) goesOn(after string) {
	t := o.t
	t.Helper()
	o.works(tokenOf(t, o.firstRead("creds/app")))
	if o.has >= sharedSessions {
		assert.Equal(t, o.token, tokenOf(t, o.firstRead("creds/fleet")), after)
		assert.True(t, o.palette.Alive(o.token), after)
		assert.Subset(t, o.session("default"), o.shown, after) // a newer version may show more
	}
	second := o.renewed(o.lease.LeaseID)
	assert.NotEqual(t, o.first, second, after)
	o.works(second)
	o.works(o.first)
	if o.has >= apiKeys {
		renewed, err := o.api.Sys().RenewWithContext(t.Context(), o.key.LeaseID, 1800)
		require.NoError(t, err, after)
		assert.Equal(t, o.key.Data["api_key"], renewed.Data["api_key"], after)
		assert.WithinDuration(t, o.endOf(o.key.LeaseID).Add(grace), o.keyOf(o.key).Expiry, about, after)
	}
	now := o.stores()
	for path, fields := range o.stored {
		for field, value := range fields {
			assert.Equal(t, value, now[path][field], "%s of %s, %s", field, path, after)
		}
	}
}

// settles checks, once the second Palette is back, that the rotation is settled: engine and
// Palette have the new password.
func (o *opened) settles() {
	o.t.Helper()
	o.away.Down(false)
	if o.has < apiKeys {
		return
	}
	user := palettetest.DefaultUser
	now, _ := o.away.User(user.Email, user.Org)
	assert.NotEqual(o.t, user.Password, now.Password)
	assert.True(o.t, o.away.Alive(tokenOf(o.t, o.firstRead("creds/away"))))
	assert.Contains(o.t, o.config("config/away"), "last_rotated")
	assert.Zero(o.t, o.away.FailedLogins())
}

// ends checks that what was pending is revoked, and that the leases can be revoked. All that is
// alive then is the session.
func (o *opened) ends() {
	t := o.t
	t.Helper()
	o.isPending("until Palette is back")
	o.settles()
	for _, token := range o.pending {
		require.Eventually(t, func() bool { return !o.away.Alive(token) }, nextRun, often, "what is pending must be revoked")
	}
	o.cli("lease", "revoke", "-sync", o.lease.LeaseID)
	assert.False(t, o.palette.Alive(o.first))
	o.cli("lease", "revoke", "-sync", "-prefix", o.mount+"/creds")
	o.nothingBut(o.token)
	assert.Equal(t, "0", o.vault.irrevocable(t))
}

// nothingBut waits until no token and no key is alive but the ones named.
func (o *opened) nothingBut(tokens ...string) {
	o.t.Helper()
	want := make([]string, 0, len(tokens))
	for _, token := range tokens {
		if token != "" {
			want = append(want, token)
		}
	}
	require.Eventually(o.t, func() bool { return len(o.alive()) == len(want) && len(o.palette.LiveKeys()) == 0 }, soon, often,
		"what is left alive")
	assert.ElementsMatch(o.t, want, o.alive())
}

// alive are the tokens that are alive, at both Palettes.
func (o *opened) alive() []string { return append(o.palette.LiveTokens(), o.away.LiveTokens()...) }
