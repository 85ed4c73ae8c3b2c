package palettesecrets

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/session"
	"vault-plugin-secrets-palette/internal/store"
)

// What makes the key another's ends it, and so does what ends its role, its config or the mount.
func TestSharedKeyEnds(t *testing.T) {
	unmount := func(w *world) { w.system.TaintedVal = true; w.b.clean(w.t.Context()) }
	for name, c := range map[string]struct {
		do    func(w *world)
		alive int
	}{
		"the session is deleted":       {func(w *world) { w.remove("sessions/default") }, 0},
		"the role is deleted":          {func(w *world) { w.remove("roles/one") }, 0},
		"the role shares no key":       {func(w *world) { w.write("roles/one", fields{"shared": false}) }, 0},
		"the role issues tokens":       {func(w *world) { w.write("roles/one", fields{"credential_type": "token"}) }, 0},
		"the role's user is another":   {func(w *world) { w.write("roles/one", fields{"user_uid": "admin-uid"}) }, 0},
		"the role's config is another": {func(w *world) { w.write("config/b", w.login()); w.write("roles/one", fields{"config_name": "b"}) }, 0},
		"the config is another user":   {func(w *world) { w.write("config", w.login()) }, 0},
		"the config is deleted":        {func(w *world) { w.remove("config") }, 0},
		"an unmount":                   {unmount, 0},
		"a reload":                     {func(w *world) { w.b.clean(w.t.Context()); w.mount() }, 1},
		"the role's other fields":      {func(w *world) { w.write("roles/one", fields{"ttl": 60, "description": "x", "project_uid": "p"}) }, 1},
		"the config's other fields":    {func(w *world) { w.write("config", fields{"request_timeout": 20}) }, 1},
		"a rotation":                   {func(w *world) { w.write("rotate-root", nil) }, 1},
		"the config's email, spelled otherwise": {func(w *world) {
			w.write("config", fields{"email": "Admin@example.com", "password": admin.Password})
		}, 1},
	} {
		for _, down := range []bool{false, true} {
			if down && name != "the role is deleted" && name != "the session is deleted" && name != "an unmount" {
				continue
			}
			bubble(t, fmt.Sprint(name, down), func(t *testing.T) {
				w := sharingKeys(t, palettetest.AllowLiveTokens())
				w.creds("one")
				w.palette.Down(down)
				c.do(w)
				if down {
					assert.NotZero(t, w.pending())
					w.palette.Down(false)
					w.mount()
					w.minute()
				}
				w.wait()
				assert.Len(t, w.palette.LiveKeys(), c.alive)
				assert.Len(t, w.keys(store.SharedKeyPrefix), c.alive)
				assert.Zero(t, w.pending())
			})
		}
	}
}

// The process dies before it could end a key, or the primary cluster has changed the role: the next minute ends it.
func TestSharedKeyThatNobodyWantsEndsWithinAMinute(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"the role is gone":   func(w *world) { require.NoError(w.t, w.storage.Delete(w.t.Context(), "roles/one")) },
		"the config is gone": func(w *world) { require.NoError(w.t, w.storage.Delete(w.t.Context(), "config/default")) },
	} {
		bubble(t, name, func(t *testing.T) {
			w := sharingKeys(t, palettetest.AllowLiveTokens())
			w.creds("one")
			change(w)
			w.b.InvalidateKey(t.Context(), "roles/one")
			w.b.InvalidateKey(t.Context(), "config/default")
			w.minute()
			assert.Empty(t, w.palette.LiveKeys())
			assert.Empty(t, w.keys(store.SharedKeyPrefix))
		})
	}
}

// A kill at any operation of the making leaves no key that nobody knows, and none that is handed out dead.
func TestSharedKeyWhoseMakingIsInterrupted(t *testing.T) {
	for _, c := range []struct {
		name, op, prefix string
		fault            palettetest.Fault
		kept             bool
	}{
		{"the answer is lost", "", "", palettetest.Fault{DropAfter: true, Times: 1}, false},
		{"it is not stored", "put", store.SharedKeyPrefix, palettetest.Fault{}, false},
		{"its name stays written ahead", "delete", framework.WALPrefix, palettetest.Fault{}, true},
	} {
		for _, killed := range []bool{false, true} {
			bubble(t, fmt.Sprint(c.name, killed), func(t *testing.T) {
				w := sharingKeys(t)
				w.palette.Inject(palettetest.APIKeyCreate, c.fault)
				if c.op != "" {
					w.storage.failOn(c.op, c.prefix)
				}
				_, err := w.handle(t.Context(), logical.ReadOperation, "creds/one", nil)
				assert.Equal(t, c.kept, err == nil)
				assert.Len(t, w.palette.LiveKeys(), 1)
				w.storage.heal()
				if killed {
					w.mount()
				}
				w.minute()
				assert.Len(t, w.palette.LiveKeys(), map[bool]int{true: 1}[c.kept])
				assert.Zero(t, w.wals())
				w.creds("one").key()
				w.minute()
				assert.Len(t, w.palette.LiveKeys(), 1)
				w.end()
			})
		}
	}
}

// The role is deleted while its key is being made: the write has not seen the key, which ends itself.
func TestSharedKeyWhoseRoleGoesDuringItsMaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		gate, done := w.palette.HoldAfter(palettetest.APIKeyCreate), make(chan struct{})
		go func() {
			defer close(done)
			w.mistake(logical.ReadOperation, "creds/one", nil, `role "one" has changed meanwhile; read again`)
		}()
		<-gate.Arrived()
		w.remove("roles/one")
		gate.Release()
		<-done
		assert.Empty(t, w.keys(store.SharedKeyPrefix))
		w.end()
	})
}

// A deletion that Palette does not take keeps an expired key, for the next minute, until it is surely gone.
func TestSharedKeyThatCannotBeTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		w.creds("one")
		time.Sleep(25 * time.Hour)
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 503})
		w.minute()
		assert.Contains(t, w.log.String(), session.MsgNotTidied)
		assert.Len(t, w.keys(store.SharedKeyPrefix), 1)
		time.Sleep(month)
		w.minute()
		assert.Empty(t, w.keys(store.SharedKeyPrefix))
		w.palette.ClearAll()
		w.remove("sessions/default")
	})
}

// Palette has deleted the key, but neither its answer nor the storage says so: the next read gets another.
func TestSharedKeyWhoseEndIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		w.creds("one")
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{DropAfter: true})
		w.storage.failOn("put", "")
		_, err := w.handle(t.Context(), logical.DeleteOperation, "sessions/default", nil)
		require.ErrorIs(t, err, errDisk)
		w.storage.heal()
		w.palette.ClearAll()
		w.creds("one").key()
		w.end()
	})
}

// A performance secondary has a key of its own, and ends it when the primary has changed the role.
func TestSharedKeyOfASecondary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharingKeys(t)
		second := w.secondary()
		first, its := w.creds("one"), second.creds("one")
		assert.NotEqual(t, first.uid(), its.uid())
		w.remove("roles/one")
		second.b.InvalidateKey(t.Context(), store.RolePrefix+"one")
		assert.Len(t, w.palette.LiveKeys(), 1)
		second.minute()
		assert.Empty(t, w.palette.LiveKeys())
		second.remove("sessions/default")
		w.end()
	})
}
