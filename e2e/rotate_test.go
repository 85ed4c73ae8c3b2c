package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	rotations = 50
	readers   = 16
	// onTime is how long a rotation_period of a minute may take: Vault's beat comes once a
	// minute, so it is due at one and seen at the next.
	onTime = 2*time.Minute + soon
)

// The password of 32 characters is made of all four classes.
var ownPassword = regexp.MustCompile(`^[A-Za-z0-9\-_.!*+=]{32}$`)

// config reads the config, in which no password may be.
func (f *fixture) config(path string) map[string]any {
	f.t.Helper()
	secret, err := f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/"+path)
	require.NoError(f.t, err)
	require.NotNil(f.t, secret)
	text, err := json.Marshal(secret.Data)
	require.NoError(f.t, err)
	assert.Empty(f.t, leaksIn("a read of the config", string(text), append(f.palette.Passwords(), f.palette.KeySecrets()...)))
	return secret.Data
}

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t), palettetest.WithLifetime(palettetest.DefaultLifetime))
	f.write("config/ci", f.login())
	f.write("roles/ci", map[string]any{"config_name": "ci"})
	lease := f.read()
	assert.NotContains(t, f.config("config"), "last_rotated")
	began := time.Now()
	out := f.cli("write", "-f", f.mount+"/rotate-root")
	assert.Empty(t, leaksIn("what it printed", out, f.palette.Passwords()))
	first := f.password()
	assert.Regexp(t, ownPassword, first)
	assert.WithinDuration(t, began, moment(t, f.config("config")["last_rotated"]), soon)
	f.read()
	assert.NotEqual(t, tokenOf(t, lease), f.renewed(lease.LeaseID), "leases of before can be renewed")
	f.cli("lease", "revoke", "-sync", lease.LeaseID)
	assert.False(t, f.palette.Alive(tokenOf(t, lease)))

	// A config that is not asked to is not rotated, and one of a name is.
	data := f.login()
	data["password"] = first
	f.write("config/ci", data)
	f.write("rotate-root/ci", nil)
	assert.NotEqual(t, first, f.password())
	f.works(tokenOf(t, f.firstRead("creds/ci")))
	assert.Contains(t, f.config("config/ci"), "last_rotated")
	status, answer := f.request(http.MethodPut, "rotate-root/none", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, `no config \"none\"`)
	assert.Zero(t, f.palette.FailedLogins())
}

// Reads go on while one rotation follows the other, whether a change of the password ends
// the sessions at Palette or not.
func TestNoReadFailsBecauseOfARotation(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.InMemory)
	for name, opts := range map[string][]palettetest.Option{
		"sessions go on": nil, "sessions end": {palettetest.WithPasswordChangeEndsSessions(), palettetest.WithPasswordChangeNeedsAuth()},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, v, append(opts, palettetest.WithLockout(), palettetest.WithLifetime(palettetest.DefaultLifetime))...)
			f.write("roles/shared", map[string]any{"shared": true})
			f.palette.SetLatency(5 * time.Millisecond)
			ctx, stop := context.WithCancel(t.Context())
			var reading sync.WaitGroup
			var reads atomic.Int64
			for n := range readers {
				role := []string{"app", "shared"}[n%2]
				reading.Go(func() {
					for ctx.Err() == nil {
						_, err := f.creds(role)
						assert.NoError(t, err)
						reads.Add(1)
					}
				})
			}
			began := time.Now()
			for range rotations {
				assert.NoError(t, f.rotate("rotate-root"))
			}
			stop()
			reading.Wait()
			t.Logf("%d reads during %d rotations within %.1f s", reads.Load(), rotations, time.Since(began).Seconds())
			assert.Equal(t, rotations, f.palette.Calls(palettetest.PasswordChange))
			assert.Len(t, f.palette.Passwords(), rotations+1)
			assert.Greater(t, reads.Load(), int64(rotations))
			assert.Zero(t, f.palette.FailedLogins())
			f.palette.SetLatency(0)
		})
	}
}

// A second rotation meanwhile is refused; a config write waits and is not lost.
func TestWhatComesDuringARotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	held := f.palette.HoldAfter(palettetest.PasswordChange)
	defer held.Release()
	first, write, read := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	try := func(into chan<- error, do func() error) { go func() { into <- do() }() }
	try(first, func() error { return f.rotate("rotate-root") })
	<-held.Arrived()
	status, answer := f.request(http.MethodPut, "rotate-root", "")
	assert.Equal(t, http.StatusConflict, status)
	assert.Contains(t, answer, "is being rotated already")
	try(write, func() error {
		_, err := f.api.Logical().WriteWithContext(t.Context(), f.mount+"/config", map[string]any{"request_timeout": 20})
		return err
	})
	try(read, func() error {
		_, err := f.creds("app")
		return err
	})
	select {
	case err := <-write:
		assert.Fail(t, "the write must wait", "%v", err)
	case err := <-read:
		assert.Fail(t, "the read must wait", "%v", err)
	case <-time.After(10 * often):
	}
	held.Release()
	require.NoError(t, <-first)
	require.NoError(t, <-write)
	require.NoError(t, <-read)
	shown := f.config("config")
	assert.Equal(t, "20", shown["request_timeout"].(json.Number).String())
	assert.Contains(t, shown, "last_rotated")
	f.read()
	assert.Zero(t, f.palette.FailedLogins())
}

func TestRotationPeriod(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	status, answer := f.request(http.MethodPut, "config", `{"rotation_period":"59s"}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, "rotation_period")
	began := time.Now()
	f.write("config", map[string]any{"rotation_period": "60s"})
	assert.WithinDuration(t, began.Add(time.Minute), moment(t, f.config("config")["next_rotation"]), soon)
	require.Eventually(t, func() bool { return f.config("config")["last_rotated"] != nil }, onTime, 10*often)
	t.Logf("rotated by itself after %.0f s", time.Since(began).Seconds())
	assert.Greater(t, time.Since(began), time.Minute-time.Second)
	shown := f.config("config")
	assert.Equal(t, moment(t, shown["last_rotated"]).Add(time.Minute), moment(t, shown["next_rotation"]))
	assert.NotEqual(t, palettetest.DefaultUser.Password, f.password())
	f.read()
}

func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	policy := "length = 41\n"
	for _, set := range []string{"ABCDEFGH", "abcdefgh", "01234567", "#%&/"} {
		policy += fmt.Sprintf("rule \"charset\" {\n  charset   = %q\n  min-chars = 5\n}\n", set)
	}
	_, err := f.api.Logical().WriteWithContext(t.Context(), "sys/policies/password/"+f.mount, map[string]any{"policy": policy})
	require.NoError(t, err)
	status, answer := f.request(http.MethodPut, "config", `{"password_policy":"no-such-policy"}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, `field \"password_policy\" is \"no-such-policy\"`)
	assert.Empty(t, f.config("config")["password_policy"])

	f.write("config", map[string]any{"password_policy": f.mount})
	f.write("rotate-root", nil)
	assert.Regexp(t, `^[A-Ha-h0-7#%&/]{41}$`, f.password())
	assert.Equal(t, f.mount, f.config("config")["password_policy"])
	f.read()

	// Without its policy nothing is rotated, and nothing is lost.
	_, err = f.api.Logical().DeleteWithContext(t.Context(), "sys/policies/password/"+f.mount)
	require.NoError(t, err)
	kept := f.password()
	status, answer = f.request(http.MethodPut, "rotate-root", "")
	assert.GreaterOrEqual(t, status, http.StatusBadRequest, answer)
	assert.Equal(t, kept, f.password())
	f.read()
}
