package palettesecrets

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Palette is down when the outcome is to be found out: it is found out later, by a read or
// by the periodic run.
func TestRecoveryFindsTheOutcomeLater(t *testing.T) {
	for _, by := range []string{"a read", "the periodic run", "a config write"} {
		bubble(t, fmt.Sprint(by), func(t *testing.T) {
			w := configured(t)
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
			w.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
			w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 2})
			w.fault(update, "rotate-root", nil, http.StatusBadGateway, "500")
			assert.Equal(t, 1, w.wals())
			assert.Contains(t, w.read("config").Data["rotation_error"], "500")
			w.fault(read, "creds/app", nil, http.StatusBadGateway, "500")
			switch by {
			case "the periodic run":
				w.minute()
				w.wait()
				assert.Zero(t, w.wals())
			case "a config write":
				w.write("config", fields{"request_timeout": 7})
			}
			w.works()
		})
	}
}

// Neither password works: both are kept, the config's read and the log say so, and Palette
// is not asked more often than login protection allows.
func TestRecoveryWhereNeitherPasswordWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, palettetest.WithLockout())
		w.storage.failOn("put", store.ConfigPrefix)
		_, err := w.rotateRoot()
		require.Error(t, err)
		w.storage.heal()
		w.wait()
		w.palette.SetPassword("vault@example.com", "example", "Set-By-Somebody-14")
		w.mount()
		for range 100 {
			w.mistake(read, "creds/app", nil, "rejects the login")
			time.Sleep(9 * time.Second)
		}
		assert.Equal(t, 1, w.wals(), "the new one is kept")
		assert.Equal(t, palettetest.DefaultUser.Password, w.config().Password.Reveal(), "and the old one")
		assert.Contains(t, w.read("config").Data["rotation_error"], "log in")
		assert.Contains(t, w.log.String(), "neither the config's password nor")
		assert.LessOrEqual(t, w.palette.FailedLogins(), 3)
		assert.False(t, w.palette.Suspended("vault@example.com", "example"))

		w.secrets = append(w.secrets, "Set-By-Somebody-14")
		w.write("config", fields{"password": "Set-By-Somebody-14"})
		w.works()
	})
}

func TestRecoveryOfAConfigThatHasGone(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world)
	}{
		{"deleted", func(w *world) { w.remove("config") }},
		{"another login", func(w *world) {
			w.write("config", w.login(fields{"org": "other", "verify_connection": false}))
			w.storage.heal()
			w.minute()
		}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := configured(t)
			w.storage.failOn("put", store.ConfigPrefix)
			_, err := w.rotateRoot()
			require.Error(t, err)
			w.storage.heal()
			c.change(w)
			w.wait()
			assert.Zero(t, w.wals(), c.name)
		})
	}
}

// interrupted is a world with a rotation whose change Palette has taken. The engine does not know that yet: the
// answer was lost, and so was the answer to the login that would have told.
func interrupted(t *testing.T) *world {
	t.Helper()
	w := configured(t)
	w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
	w.palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
	w.palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
	w.fault(update, "rotate-root", nil, http.StatusBadGateway, "500")
	w.wait()
	return w
}

// Whoever leads a config through a proxy of their own, with a password of their own, must not get the password of an
// interrupted rotation.
func TestRecoverySendsThePasswordNowhereElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := interrupted(t)
		fresh := w.writtenAhead()
		var seen strings.Builder
		proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(&seen, r.Body)
			rw.WriteHeader(http.StatusUnauthorized) // a thief speaks as Palette does
			_, _ = io.WriteString(rw, `{"code":"InvalidCredentials","message":"no"}`)
		}))
		require.NoError(t, proxy.Listener.Close())
		proxy.Listener = palettetest.ListenInMemory()
		proxy.Start()
		defer proxy.Close()
		w.write("config", fields{"proxy_url": proxy.URL, "password": "Password-Of-A-Thief-1", "verify_connection": false})
		w.mistake(read, "creds/app", nil, "rejects the login")
		w.minute()
		w.wait()
		assert.Contains(t, seen.String(), "Password-Of-A-Thief-1")
		assert.False(t, strings.Contains(seen.String(), fresh), "the rotated password went through the proxy")

		assert.Equal(t, 1, w.wals(), "it is kept")
		time.Sleep(15 * time.Minute) // the guard
		w.write("config", fields{"proxy_url": "", "password": palettetest.DefaultUser.Password, "verify_connection": false})
		w.works()
	})
}

// Entries of a version that did not note the trust digest are tried all the same: the new password
// may be the one that is valid.
func TestRecoveryTriesThePasswordOfAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := interrupted(t)
		key := w.keys(framework.WALPrefix)[0]
		entry, err := w.storage.Get(t.Context(), key)
		require.NoError(t, err)
		older := regexp.MustCompile(`"way":"[0-9a-f]+",?`).ReplaceAll(entry.Value, nil)
		require.NotEqual(t, entry.Value, older)
		w.plant(key, string(older))
		w.mount()
		w.works()
	})
}

// A change of the password that reaches Palette late, when its rotation has been recovered: by
// a plugin that outlived its Vault, or a proxy.
func TestRecoveryOfAChangeThatArrivesLate(t *testing.T) {
	for _, next := range []string{"a read", "a rotation", "nothing"} {
		bubble(t, fmt.Sprint(next), func(t *testing.T) {
			w := configured(t)
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Drop: true, Times: 1})
			w.fault(update, "rotate-root", nil, http.StatusBadGateway)
			w.wait()
			w.creds("app").mustRevoke() // the old one works
			require.Equal(t, 1, w.wals(), "the new one is kept as long as it may arrive")
			if next != "nothing" {
				w.palette.SetPassword("vault@example.com", "example", w.writtenAhead())
				w.secrets = append(w.secrets, w.password())
			}
			if next == "a rotation" {
				_, err := w.rotateRoot()
				require.NoError(t, err)
			}
			w.works()
			assert.LessOrEqual(t, w.palette.FailedLogins(), 3)
		})
	}
}

// writtenAhead is the password in the one write-ahead entry.
func (w *world) writtenAhead() string {
	w.t.Helper()
	entry, err := framework.GetWAL(w.t.Context(), w.storage, strings.TrimPrefix(w.keys(framework.WALPrefix)[0], framework.WALPrefix))
	require.NoError(w.t, err)
	var ahead store.PasswordWAL
	require.NoError(w.t, store.DecodeWAL(entry.Data, &ahead))
	return ahead.Password.Reveal()
}

// An entry that cannot be decoded is named each minute, and stops nothing else.
func TestRecoveryLeavesAnUndecodableEntry(t *testing.T) {
	for _, text := range []string{`{`, `{"type":"password","data":"x"}`} {
		bubble(t, fmt.Sprint(text), func(t *testing.T) {
			w := configured(t)
			w.plant(framework.WALPrefix+"bad", text)
			w.mount()
			w.creds("app").mustRevoke()
			_, err := w.rotateRoot()
			require.NoError(t, err)
			w.write("config", fields{"request_timeout": 7})
			assert.Regexp(t, `\[ERROR\].*cannot be decoded.*entry=wal/bad`, w.log.String())
			for range 2 {
				require.ErrorContains(t, w.periodic(), "wal/bad")
			}
			require.NoError(t, w.storage.Delete(t.Context(), framework.WALPrefix+"bad"))
			w.works()
		})
	}
}

func TestRecoveryOfAnEntryThatIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := interrupted(t)
		fresh, key := w.writtenAhead(), w.keys(framework.WALPrefix)[0]
		entry, err := w.storage.Get(t.Context(), key)
		require.NoError(t, err)
		w.plant(key, "{")
		w.mount()
		w.mistake(read, "creds/app", nil, "rejects the login")
		w.plant(key, string(entry.Value))
		w.minute()
		w.works()
		assert.Equal(t, fresh, w.password())
	})
}

func TestRecoveryWhereTheStorageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := interrupted(t)
		for _, op := range []string{"get", "list"} {
			w.storage.failOn(op, framework.WALPrefix)
			w.mount()
			_, err := w.handle(t.Context(), read, "creds/app", nil)
			require.ErrorIs(t, err, errDisk)
			require.ErrorIs(t, w.periodic(), errDisk)
		}
		w.storage.heal()
		w.works()
	})
}
