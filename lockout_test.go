package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
)

// Failed logins are counted for the process: a second mount does not try again.
func TestLockoutSpansMounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.SetPassword("vault@example.com", "example", "Changed-Meanwhile-1")
		w.mistake(read, "creds/app", nil, "rejects the login")
		w.storage = &storage{Storage: &logical.InmemStorage{}}
		w.mount()
		w.mistake(update, "config", w.login(), "not asked again before", "nothing is stored")
		w.write("config", w.login(fields{"verify_connection": false}))
		w.write("roles/app", fields{"renewable": true})
		for range 3 {
			w.mistake(read, "creds/app", nil, "not asked again before 2026-03-01T12:00:15Z", "write config/default again")
		}
		assert.Equal(t, 1, w.palette.FailedLogins())
		w.write("config", fields{"password": "Changed-Meanwhile-1"}) // another one is tried at once
		w.creds("app").mustRevoke()
	})
}

// The stored password is not what has failed: who reads is not told to look at it.
func TestLockoutByOtherPasswordsIsNamedAsSuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, wrong := range []string{"One-Wrong-Horse-1", "Two-Wrong-Horses-2", "Three-Wrong-Horses-3", "Four-Wrong-Horses-4"} {
			w.mistake(update, "config", fields{"password": wrong}, "rejects the login", "check email, org and password")
		}
		w.mistake(read, "creds/app", nil, `logins of the account of config "default" have failed with other passwords`, "not asked again before 2026-03-01T12:15:00Z")
		assert.Equal(t, "wait until withheld_until, and find out who else logs in as the account", w.read("check").Data["advice"])
		time.Sleep(15 * time.Minute)
		w.creds("app").mustRevoke()
	})
}
