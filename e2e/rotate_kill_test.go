package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// frozenFor is how long Vault is stopped, so that the plugin comes to a write to the storage
// that is not answered. Nothing outside shows when it is there.
const frozenFor = 300 * time.Millisecond

// step is where a rotation is when a process is killed.
type step struct {
	name string
	hold func(s *palettetest.Server) *palettetest.Gate
	// frozen: Vault stands still while the held call is answered, so that what follows it, a
	// write to the storage, is under way.
	frozen bool
	// answered: the rotation is over for who asked for it.
	answered bool
	// changed: Palette has the new secret, and late: it gets it where the plugin goes on.
	changed, late bool
	// unnamed: the config names no api_key_uid, which the rotation has to look for.
	unnamed bool
}

func before(e palettetest.Endpoint) func(*palettetest.Server) *palettetest.Gate {
	return func(s *palettetest.Server) *palettetest.Gate { return s.Hold(e) }
}

func after(e palettetest.Endpoint) func(*palettetest.Server) *palettetest.Gate {
	return func(s *palettetest.Server) *palettetest.Gate { return s.HoldAfter(e) }
}

// passwordSteps are all steps of a password's rotation, in their order.
var passwordSteps = []step{
	{name: "the login", hold: after(palettetest.Login)},
	{name: "the write-ahead", hold: after(palettetest.Login), frozen: true},
	{name: "before Palette's change", hold: before(palettetest.PasswordChange), late: true},
	{name: "before Palette's answer", hold: after(palettetest.PasswordChange), changed: true},
	{name: "the config's write", hold: after(palettetest.PasswordChange), frozen: true, changed: true},
	{name: "after the answer", hold: before(palettetest.Revoke), answered: true, changed: true},
}

// keySteps are all steps of an API key's rotation.
var keySteps = []step{
	{name: "the write-ahead", hold: after(palettetest.APIKeyList), frozen: true, unnamed: true},
	{name: "before Palette makes the key", hold: before(palettetest.APIKeyCreate)},
	{name: "before Palette's answer", hold: after(palettetest.APIKeyCreate)},
	{name: "the config's write", hold: after(palettetest.APIKeyCreate), frozen: true},
	{name: "before the old key's end", hold: before(palettetest.APIKeyDelete), changed: true},
	{name: "after the old key's end", hold: after(palettetest.APIKeyDelete), changed: true},
}

// death is who is killed.
type death struct {
	name    string
	storage vaulttest.Storage
	// goesOn: the plugin does.
	goesOn bool
	kill   func(f *fixture, held *palettetest.Gate)
}

var deaths = []death{
	{"the plugin", vaulttest.InMemory, false, func(f *fixture, held *palettetest.Gate) {
		assert.Positive(f.t, f.vault.KillPlugins())
		f.thaw()
		hangsUp(held)
	}},
	{"Vault and its plugin", vaulttest.Raft, false, func(f *fixture, held *palettetest.Gate) {
		f.vault.Kill()
		f.vault.KillPlugins()
		hangsUp(held)
		require.NoError(f.t, f.vault.Restart(f.t.Context()))
	}},
	{"Vault, whose plugin goes on", vaulttest.Raft, true, func(f *fixture, held *palettetest.Gate) {
		f.vault.Kill()
		held.Release()
		require.NoError(f.t, f.vault.Restart(f.t.Context()))
	}},
}

// noticed is how long a process may take to see that another one's death has closed their
// connection: a stand-in that a plugin's, and a plugin that Vault's.
const noticed = 500 * time.Millisecond

// hangsUp opens the gate after the stand-in has seen that nobody waits for the held call any
// more, as Palette would. Nothing shows that it has.
func hangsUp(held *palettetest.Gate) {
	time.Sleep(noticed)
	held.Release()
}

// rows runs a table of steps and deaths. The rows of one server come one after the other:
// each kills it.
func rows(t *testing.T, steps []step, run func(t *testing.T, v *server, s step, d death)) {
	for _, storage := range []vaulttest.Storage{vaulttest.InMemory, vaulttest.Raft} {
		t.Run(map[vaulttest.Storage]string{vaulttest.InMemory: "plugin", vaulttest.Raft: "Vault"}[storage], func(t *testing.T) {
			t.Parallel()
			v := ownServer(t, storage)
			for _, d := range deaths {
				if d.storage != storage {
					continue
				}
				for _, s := range steps {
					t.Run(d.name+", at: "+s.name, func(t *testing.T) { run(t, v, s, d) })
				}
			}
		})
	}
}

// killedRotation begins a rotation, kills at the step, and starts again what was killed. It
// tells whether the secret ought to be the new one.
func (f *fixture) killedRotation(path string, s step, d death) (changed bool) {
	f.t.Helper()
	held := s.hold(f.palette)
	defer held.Release()
	answer := make(chan error, 1)
	go func() { answer <- f.rotate(path) }()
	select {
	case <-held.Arrived():
	case <-time.After(soon):
		require.Fail(f.t, "the rotation does not come to the step")
	}
	if s.answered {
		require.NoError(f.t, <-answer)
	}
	if s.frozen {
		f.freeze()
		held.Release()
		time.Sleep(frozenFor)
	}
	d.kill(f, held)
	if s.answered {
		return true
	}
	// Vault may send the request to the next plugin process by itself, where the rotation
	// then works.
	repeated := <-answer == nil
	if repeated {
		f.t.Log("Vault has sent the request again by itself")
		assert.Equal(f.t, vaulttest.InMemory, d.storage, "nobody is told of a success")
	}
	return s.changed || repeated || s.late && d.goesOn
}

// freeze stops Vault's process and waits until it stands, thaw lets it go on.
func (f *fixture) freeze() {
	f.t.Helper()
	p := f.signal(syscall.SIGSTOP)
	require.Eventually(f.t, func() bool {
		status, err := p.Status()
		return err == nil && slices.Contains(status, process.Stop)
	}, soon, time.Millisecond, "the process must stop")
}

func (f *fixture) thaw() { f.signal(syscall.SIGCONT) }

func (f *fixture) signal(signal syscall.Signal) *process.Process {
	f.t.Helper()
	processes, err := process.Processes()
	require.NoError(f.t, err)
	for _, p := range processes {
		args, err := p.CmdlineSlice()
		if err == nil && slices.Contains(args, "-config="+filepath.Join(f.vault.Dir, "vault.hcl")) {
			require.NoError(f.t, p.SendSignal(signal))
			return p
		}
	}
	require.Fail(f.t, "no process of Vault")
	return nil
}

// firstRead is the first read after a process was killed that reaches the engine, and which
// has to work. Until Vault has noticed that a plugin process is dead it answers with 500 by
// itself.
func (f *fixture) firstRead(path string) *api.Secret {
	f.t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(often) {
		secret, err := f.api.Logical().ReadWithContext(f.t.Context(), f.mount+"/"+path)
		if err == nil {
			return secret
		}
		noticing := strings.Contains(err.Error(), "Code: 500") && (strings.Contains(err.Error(), "code = Unavailable") || strings.Contains(err.Error(), "plugin is shut down"))
		require.True(f.t, noticing && time.Now().Before(deadline), "the first read that reaches the engine: %v", err)
		f.t.Logf("Vault's answer about the dead plugin: %v", err)
	}
}

// password is the one that Palette takes.
func (f *fixture) password() string {
	f.t.Helper()
	user, found := f.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
	require.True(f.t, found)
	return user.Password
}

// Whatever dies at whatever step, the first read works, by the one password that Palette
// takes, and the next rotation too.
func TestARotationSurvivesAKill(t *testing.T) {
	t.Parallel()
	rows(t, passwordSteps, func(t *testing.T, v *server, s step, d death) {
		// A login that is broken off leaves a token that nobody knows of.
		f := newFixture(t, v, palettetest.AllowLiveTokens(), palettetest.WithLockout(), palettetest.WithLifetime(killLife))
		lease := f.read()
		changed := f.killedRotation("rotate-root", s, d)
		f.readBack()
		assert.Equal(t, changed, f.password() != palettetest.DefaultUser.Password, "the password at Palette")
		assert.LessOrEqual(t, f.palette.FailedLogins(), 1)

		settled := f.password()
		f.write("rotate-root", nil)
		assert.NotEqual(t, settled, f.password())
		f.read()
		assert.LessOrEqual(t, f.palette.FailedLogins(), 1)
		assert.False(t, f.suspended())
		f.cli("lease", "revoke", "-sync", lease.LeaseID)
		assert.False(t, f.palette.Alive(tokenOf(t, lease)), "leases of before can be revoked")
	})
}

// A killed Vault leaves its plugin behind, and a request can be on its way for as long as
// request_timeout: Palette may do what it asks for after the new plugin has found that it has
// not.
func TestWhatComesLateIsNotLost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		at   palettetest.Endpoint
		set  func(f *fixture)
		// use lets the new plugin look at what the old one has left behind.
		use func(f *fixture)
		// done: Palette has done what the late request asks for, over: nothing is left of it.
		done, over func(f *fixture) bool
	}{
		{
			"a change of the password", palettetest.PasswordChange, func(f *fixture) {
				f.write("config", f.login())
				f.write("roles/app", map[string]any{"renewable": true})
			},
			func(f *fixture) { f.readBack() },
			func(f *fixture) bool { return f.password() != palettetest.DefaultUser.Password },
			func(*fixture) bool { return true },
		},
		{
			"a new API key", palettetest.APIKeyCreate, func(f *fixture) {
				uid, key := f.makeKey("first")
				f.write("config", map[string]any{"address": f.palette.URL(), "api_key": key, "api_key_uid": uid, "rate_limit": 0})
				f.write("roles/app", map[string]any{"credential_type": "api_key"})
			},
			func(f *fixture) { f.write("config", map[string]any{"request_timeout": 20}) }, // a read makes a key, and so is held
			func(f *fixture) bool { return len(f.palette.LiveKeys()) == 2 },
			func(f *fixture) bool { return len(f.palette.LiveKeys()) == 1 },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := ownServer(t, vaulttest.Raft)
			f := newMount(t, v, palettetest.AllowLiveTokens(), palettetest.WithLockout(), palettetest.WithLifetime(killLife))
			row.set(f)
			held := f.palette.Hold(row.at)
			defer held.Release()
			go func() { _ = f.rotate("rotate-root") }()
			<-held.Arrived()
			v.Kill()
			require.NotEmpty(t, v.PluginPIDs(), "kill -9 of Vault leaves the plugin behind")
			require.NoError(t, v.Restart(t.Context()))
			row.use(f)
			require.False(t, row.done(f))
			held.Release()
			require.Eventually(t, func() bool { return row.done(f) }, soon, often, "the plugin that was left behind goes on")
			f.cli("lease", "revoke", "-sync", f.readBack().LeaseID)
			require.Eventually(t, func() bool { return row.over(f) }, 3*periodic, often, "what came late is left at Palette")
			f.write("rotate-root", nil)
			f.readBack()
			assert.False(t, f.suspended())
		})
	}
}

// readBack is a first read whose credential must work.
func (f *fixture) readBack() *api.Secret {
	f.t.Helper()
	read := f.firstRead("creds/app")
	if key, isKey := read.Data["api_key"].(string); isKey {
		assert.True(f.t, f.palette.KeyAlive(key), "the key must work at Palette")
	} else {
		f.works(tokenOf(f.t, read))
	}
	return read
}

// The same of a config with an API key: one key is alive in the end, the config's.
func TestAKeysRotationSurvivesAKill(t *testing.T) {
	t.Parallel()
	rows(t, keySteps, func(t *testing.T, v *server, s step, d death) {
		f := newMount(t, v, palettetest.AllowLiveTokens())
		uid, key := f.makeKey("first")
		data := map[string]any{"address": f.palette.URL(), "api_key": key, "rate_limit": 0}
		if s.unnamed {
			data["verify_connection"] = false // a check would learn the UID
		} else {
			data["api_key_uid"] = uid
		}
		f.write("config", data)
		f.write("roles/app", map[string]any{"credential_type": "api_key", "ttl": "10m"})
		changed := f.killedRotation("rotate-root", s, d)
		read := f.readBack()
		f.cli("lease", "revoke", "-sync", read.LeaseID)
		left := f.palette.LiveKeys()
		require.Len(t, left, 1, "the config's key alone is left")
		assert.Equal(t, changed, left[0].UID != uid)
		f.write("rotate-root", nil)
		next := f.palette.LiveKeys()
		require.Len(t, next, 1)
		assert.NotEqual(t, left[0].UID, next[0].UID)
		f.readBack()
	})
}

// A seal and a reload wait for a rotation that is under way, which ends as it always does,
// with Palette's answer or without. A server whose seal cuts requests off waits too, but its caller
// gets an error.
func TestARotationSurvivesASeal(t *testing.T) {
	t.Parallel()
	v := ownServer(t, vaulttest.Raft)
	seal := func(f *fixture) { f.cli("operator", "seal") }
	reload := func(f *fixture) { f.cli("plugin", "reload", "-plugin="+vaulttest.PluginName) }
	unseal := func(f *fixture) { require.NoError(f.t, v.Unseal(f.t.Context())) }
	const timeout = 5 // seconds
	for _, row := range []struct {
		name       string
		end, begin func(*fixture)
		answered   bool
		seals      bool
	}{
		{"a seal, with the answer", seal, unseal, true, true},
		{"a seal, without", seal, unseal, false, true},
		{"a reload, with the answer", reload, func(*fixture) {}, true, false},
		{"a reload, without", reload, func(*fixture) {}, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFixture(t, v, palettetest.WithLockout(), palettetest.WithLifetime(palettetest.DefaultLifetime))
			f.write("config", map[string]any{"request_timeout": timeout})
			lease := f.read()
			held := f.palette.HoldAfter(palettetest.PasswordChange)
			defer held.Release()
			answer := make(chan error, 1)
			go func() { answer <- f.rotate("rotate-root") }()
			<-held.Arrived()
			if row.answered {
				time.AfterFunc(10*often, held.Release)
			}
			began := time.Now()
			row.end(f)
			t.Logf("it took %.1f s", time.Since(began).Seconds())
			switch err := <-answer; {
			case !row.seals || !v.Product().SealCutsOff():
				require.NoError(t, err)
			case !row.answered: // else the answer may come before the seal
				require.Error(t, err)
			}
			held.Release()
			row.begin(f)
			f.readBack()
			assert.NotEqual(t, palettetest.DefaultUser.Password, f.password())
			assert.Contains(t, f.config("config"), "last_rotated")
			assert.Zero(t, f.palette.FailedLogins())
			renewAndRevoke(f, lease)
		})
	}
}
