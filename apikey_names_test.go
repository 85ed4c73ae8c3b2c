package palettesecrets

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// A role that was stored when its template was taken keeps working, and says what to change.
func TestRoleWithATemplateThatIsRefusedNowGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		w.plant(store.RolePrefix+"old", `{"config_name":"default","credential_type":"api_key","renewable":true,"name_template":"x-{{ random 1 }}"}`)
		l := w.creds("old")
		assert.Regexp(t, "^x-.$", l.key().Name)
		l.mustRenew()
		l.mustRevoke()
		says := []string{`role "old"`, `"x-{{ random 1 }}"`, "random 20", "uuid"}
		for _, resp := range []*logical.Response{w.read("check"), w.write("roles/old", fields{"ttl": "5m"})} {
			require.Len(t, resp.Warnings, 1)
			for _, text := range says {
				assert.Contains(t, resp.Warnings[0], text)
			}
		}
		w.creds("old").mustRevoke()
		w.mistake(update, "roles/old", fields{"name_template": "x-{{ random 1 }}"}, `"name_template" is "x-{{ random 1 }}"`, "could be the same")
		assert.Nil(t, w.write("roles/old", fields{"name_template": "x-{{ random 7 }}"}))
		assert.Empty(t, w.read("check").Warnings)
		w.end()
	})
}

// What has a key's name and was not made by the engine is left alone.
func TestKeyInterruptedLeavesItsNamesakesAlone(t *testing.T) {
	for name, off := range map[string]time.Duration{"a day later": 24 * time.Hour, "a minute later": time.Minute, "a second earlier": -time.Second} {
		bubble(t, name, func(t *testing.T) {
			w := issuing(t)
			w.plant(store.RolePrefix+"key", `{"config_name":"default","credential_type":"api_key","name_template":"all-alike"}`)
			w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
			w.fault(read, "creds/key", nil, http.StatusBadGateway, "create an API key")
			lost := w.palette.LiveKeys()[0]
			w.palette.PlantKey(admin.Email, admin.Org, "somebodys", "all-alike", "Somebodys-Key-1", lost.Expiry.Add(off))
			w.minute()
			left := w.palette.LiveKeys()
			require.Len(t, left, 1)
			assert.Equal(t, "somebodys", left[0].UID)
			assert.Contains(t, w.log.String(), "left alone")
			assert.Zero(t, w.wals())
			w.palette.DeleteKey("somebodys")
			w.end()
		})
	}
}

// The expiry that a key is found by is a time on Palette's clock, and stays what it was where one of
// the clocks is set.
func TestKeyInterruptedIsFoundWhateverTheClocksShow(t *testing.T) {
	for _, c := range []struct{ making, search time.Duration }{{0, 0}, {3 * time.Minute, 3 * time.Minute}, {-5*time.Minute + 300*time.Millisecond, -5 * time.Minute}, {10 * time.Minute, 0}, {0, -10 * time.Minute}} {
		for _, restart := range []bool{false, true} {
			bubble(t, fmt.Sprint(c, restart), func(t *testing.T) {
				w := issuing(t)
				w.palette.SetClock(c.making)
				w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
				w.fault(read, "creds/key", nil, http.StatusBadGateway, "create an API key")
				require.Len(t, w.palette.Keys(), 1)
				w.palette.SetClock(c.search)
				if restart {
					w.mount()
				}
				w.minute()
				assert.Empty(t, w.palette.Keys())
				assert.Zero(t, w.wals())
				w.palette.SetClock(0)
				w.end()
			})
		}
	}
}

// A tenant administrator sees the keys of the whole tenant, and Palette lists 50 at a time.
func TestKeyInterruptedIsFoundOnALaterPage(t *testing.T) {
	for _, others := range []int{49, 50, 60, 149, 150, 260} {
		bubble(t, fmt.Sprint(others), func(t *testing.T) {
			w := issuing(t)
			for i := range others {
				w.palette.PlantKey(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, fmt.Sprintf("u%d", i), "somebodys", fmt.Sprintf("Somebodys-Key-%d", i), epoch.Add(time.Hour))
			}
			w.palette.Inject(palettetest.APIKeyCreate, palettetest.Fault{DropAfter: true, Times: 1})
			w.fault(read, "creds/key", nil, http.StatusBadGateway, "create an API key")
			require.Len(t, w.palette.LiveKeys(), others+1)
			w.palette.Inject(palettetest.APIKeyList, palettetest.Fault{Delay: time.Millisecond, Times: 1})
			w.palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 500, Times: 1})
			w.minute() // where there is a second page, it fails
			w.minute()
			assert.Len(t, w.palette.LiveKeys(), others, "the lost key is gone, and nobody else's")
			assert.Zero(t, w.wals())
			time.Sleep(time.Hour)
			w.end()
		})
	}
}

// Of a user with one active key among many pages of others' keys, a rotation knows which it is.
func TestRotationReadsTheWholeListToFindItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		w.forgetUID()
		for i := range 120 {
			w.palette.PlantKey(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, fmt.Sprintf("u%d", i), "somebodys", fmt.Sprintf("Somebodys-Key-%d", i), epoch.Add(time.Hour))
		}
		w.palette.PlantKey(admin.Email, admin.Org, "another", "another", "Another-Key-1", epoch.Add(time.Hour))
		require.ErrorContains(t, w.rotateKey(), "has 2 API keys", "the second is on the last page")
		w.palette.DeleteKey("another")
		require.NoError(t, w.rotateKey())
		time.Sleep(time.Hour)
		w.keyWorks()
	})
}

func TestKeyNamesHoldWholeCharacters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		for _, displayName := range []string{"oidc-jane.müller-schmidt-äöü-äöü", "oidc-日本語日本語日本語日本語", "saml-" + strings.Repeat("é", 30), "x" + strings.Repeat("🙂", 12)} {
			resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: read, Path: "creds/key", Storage: w.storage, DisplayName: displayName})
			require.NoError(t, err)
			require.False(t, resp.IsError(), "%v", resp)
			l := &heldLease{w: w, secret: resp.Secret, data: resp.Data}
			part := strings.TrimSuffix(strings.TrimPrefix(l.key().Name, "vault-key-"), l.key().Name[len(l.key().Name)-21:])
			assert.True(t, strings.HasPrefix(displayName, part) && len(part) > 20, "%q of %q", part, displayName)
			assert.Equal(t, l.key().Name, l.data["api_key_name"])
			l.mustRevoke()
		}
		w.end()
	})
}
