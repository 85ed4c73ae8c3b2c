package palettesecrets

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/rootcred"
)

// byHand plants a key of the admin's that lives for so long, for a config to hold.
func (w *world) byHand(uid string, life time.Duration) fields {
	w.t.Helper()
	secret := "Key-By-Hand-" + uid
	w.secrets = append(w.secrets, secret)
	w.palette.PlantKey(admin.Email, admin.Org, uid, uid, secret, time.Now().Add(life))
	return fields{"address": w.palette.URL(), "org": "example", "api_key": secret, "rate_limit": 0, "queue_timeout": 1}
}

func given(data fields, more fields) fields {
	for k, v := range more {
		data[k] = v
	}
	return data
}

// The expiry of a config's key is learned where Palette tells it, and a warning says so where nothing
// rotates it.
func TestRootKeyExpiryIsLearnedWhenItIsWritten(t *testing.T) {
	for _, c := range []struct {
		name    string
		more    fields
		others  int // active keys of the same user
		prepare func(w *world)
		known   bool
		warns   bool
	}{
		{"the one key of the user", nil, 0, nil, true, true},
		{"by its UID", fields{"api_key_uid": "own"}, 3, nil, true, true},
		{"one of several", nil, 1, nil, false, false},
		{"one of several, the others off", nil, 1, func(w *world) { w.palette.DeleteKey("other-0") }, true, true},
		{"with a rotation_period", fields{"rotation_period": "1h"}, 0, nil, true, false},
		{"not asked", fields{"verify_connection": false}, 0, nil, false, false},
		{"Palette does not list", nil, 0, func(w *world) { w.palette.Inject(palettetest.APIKeyList, palettetest.Fault{Status: 403}) }, false, false},
		{"Palette's clock is ahead", nil, 0, func(w *world) { w.palette.SetClock(3 * time.Minute) }, true, true},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := issuing(t)
			login := w.byHand("own", 10*time.Hour)
			for i := range c.others {
				w.byHand(fmt.Sprintf("other-%d", i), 20*time.Hour)
			}
			expires := time.Now().Add(10 * time.Hour).Format(time.RFC3339)
			if c.prepare != nil {
				c.prepare(w)
				if strings.Contains(c.name, "clock") {
					expires = time.Now().Add(10*time.Hour - 3*time.Minute).Format(time.RFC3339)
				}
			}
			resp := w.write("config/k", given(login, c.more))
			data := w.read("config/k").Data
			if !c.known {
				assert.NotContains(t, data, "api_key_expires_at")
				assert.Nil(t, resp)
				assert.Empty(t, w.read("check/k").Warnings)
				time.Sleep(21 * time.Hour)
				return
			}
			assert.Equal(t, expires, data["api_key_expires_at"])
			var said []string
			if resp != nil {
				said = resp.Warnings
			}
			for _, warnings := range [][]string{said, w.read("check/k").Warnings} {
				// A check warns of a clock too.
				warnings = slices.DeleteFunc(slices.Clone(warnings), func(text string) bool { return strings.Contains(text, "clock is") })
				assert.Equal(t, c.warns, len(warnings) == 1, warnings)
				if c.warns {
					assert.Contains(t, warnings[0], "expires at "+expires)
					assert.Contains(t, warnings[0], "set rotation_period")
				}
			}
			w.remove("config/k") // before it is rotated
			time.Sleep(21 * time.Hour)
		})
	}
}

// Where rotation_period is set, the key is rotated before two thirds of what was left are over.
func TestRotationOfARootKeyThatExpires(t *testing.T) {
	for _, c := range []struct{ life, period time.Duration }{{10 * time.Minute, time.Hour}, {4 * time.Minute, time.Hour}, {3 * time.Hour, 720 * time.Hour}, {3 * time.Hour, 30 * time.Minute}, {90 * 24 * time.Hour, 365 * 24 * time.Hour}} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := issuing(t)
			began := time.Now()
			w.write("config/k", given(w.byHand("own", c.life), fields{"rotation_period": c.period.String()}))
			next, err := time.Parse(time.RFC3339, w.read("config/k").Data["next_rotation"].(string))
			require.NoError(t, err)
			assert.False(t, next.After(began.Add(c.life*2/3)))
			time.Sleep(time.Until(next) - 30*time.Second)
			w.write("config/k", fields{"request_timeout": 7}) // a write does not put it off
			w.minute()
			w.wait()
			require.Less(t, time.Since(began), c.life*2/3)
			keys := w.palette.LiveKeys()
			require.Len(t, keys, 1)
			assert.NotEqual(t, "own", keys[0].UID)
			data := w.read("config/k").Data
			assert.Equal(t, keys[0].Expiry.Format(time.RFC3339), data["api_key_expires_at"])
			next, err = time.Parse(time.RFC3339, data["next_rotation"].(string))
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(c.period), next, 2*time.Minute, "by the period again")
			assert.True(t, next.Before(time.Now().Add(time.Until(keys[0].Expiry)*2/3)))
			w.remove("config/k")
			time.Sleep(800 * 24 * time.Hour)
		})
	}
}

// A period that is set, or made longer, when the key's end is known already.
func TestRotationPeriodThatIsLongerThanTheKeyLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		w.write("config/k", fields{"rotation_period": "1h"})
		time.Sleep(time.Hour)
		w.minute()
		w.wait() // the new key lives for a day
		first := w.palette.LiveKeys()[0]
		w.write("config/k", fields{"rotation_period": "720h", "verify_connection": false})
		next, err := time.Parse(time.RFC3339, w.read("config/k").Data["next_rotation"].(string))
		require.NoError(t, err)
		assert.True(t, next.Before(time.Now().Add(time.Until(first.Expiry)*2/3)))
		time.Sleep(time.Until(next))
		w.minute()
		w.wait()
		assert.NotEqual(t, first.UID, w.palette.LiveKeys()[0].UID)
		w.keyWorks()
	})
}

// Palette needs a moment until it knows the new key: the old one is deleted later, and the config is of
// use as soon as Palette knows.
func TestRotationWhosePredecessorCannotBeDeletedMakesItPending(t *testing.T) {
	for name, fault := range map[string]func(w *world){
		"401 for a while":                func(w *world) { w.palette.SetLag(palettetest.Lag{For: 5 * time.Second}) },
		"the first list and delete: 401": func(w *world) { w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 401, Times: 1}) },
		"403 for a while":                func(w *world) { w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 403, Times: 3}) },
		"somebody else answers": func(w *world) {
			w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 401, Foreign: true, Body: "<html>", Times: 1})
		},
		"Palette fails": func(w *world) { w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500, Times: 2}) },
		"the answer to it is lost": func(w *world) {
			w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{DropAfter: true, Times: 1})
		},
	} {
		for _, restart := range []bool{false, true} {
			bubble(t, fmt.Sprint(name, restart), func(t *testing.T) {
				w, own := keyed(t)
				w.write("config/k", fields{"api_key_uid": own.UID})
				time.Sleep(time.Minute) // the old key is known everywhere
				fault(w)
				require.NoError(t, w.rotateKey())
				assert.Zero(t, w.wals())
				assert.Equal(t, 1, w.pending())
				assert.Contains(t, w.log.String(), rootcred.MsgOldKeyPending)
				if restart {
					w.mount()
				}
				for range 4 {
					w.minute()
				}
				assert.Zero(t, w.pending())
				w.keyWorks()
			})
		}
	}
}

func TestMetricsTellWhenARootKeyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		const series = `root_key_expiry_timestamp_seconds{config="k",rotated="%s"}`
		w.write("config/k", w.byHand("own", 10*time.Hour))
		assert.InDelta(t, float64(time.Now().Add(10*time.Hour).Unix()), w.metrics()[fmt.Sprintf(series, "false")], 0)
		w.write("config/k", fields{"rotation_period": "1h"})
		assert.InDelta(t, float64(time.Now().Add(10*time.Hour).Unix()), w.metrics()[fmt.Sprintf(series, "true")], 0)
		assert.NotContains(t, w.metrics(), fmt.Sprintf(series, "false"))
		w.write("config/k", w.login())
		assert.NotContains(t, w.metrics(), fmt.Sprintf(series, "true"), "a login has no expiry")
		w.remove("config/k")
		time.Sleep(10 * time.Hour)
	})
}

// A predecessor that is written to the config again is the config's own.
func TestRotationWhosePredecessorIsWrittenAgainDoesNotDeleteIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := issuing(t)
		login := w.byHand("own", 100*time.Hour)
		w.write("config/k", login)
		w.palette.Inject(palettetest.APIKeyDelete, palettetest.Fault{Status: 500, Times: 1})
		require.NoError(t, w.rotateKey())
		w.write("config/k", given(login, fields{"api_key_uid": "own"}))
		w.minute()
		assert.Zero(t, w.pending())
		assert.True(t, w.palette.KeyAlive(login["api_key"].(string)))
		w.remove("config/k")
		time.Sleep(2 * rootcred.RootKeyLife)
	})
}
