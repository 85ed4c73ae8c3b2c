package palettesecrets

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestRotationPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.mistake(update, "config", fields{"rotation_period": "59s"}, `"rotation_period" is 59s`, "at least 1m0s")
		w.mistake(update, "config", fields{"rotation_period": "1h0.5s"}, `"rotation_period"`)
		w.write("config", fields{"rotation_period": "1h"})
		old := w.password()
		due := time.Now().Add(time.Hour)
		assert.Equal(t, due.Format(time.RFC3339), w.read("config").Data["next_rotation"])
		time.Sleep(59*time.Minute - time.Second)
		w.minute()
		w.wait()
		assert.Equal(t, old, w.password())

		// A failure is tried again after pauses that grow.
		w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 404, Garbage: true})
		var tries []time.Duration
		asked := w.palette.Calls(palettetest.PasswordChange)
		for range 70 {
			w.minute()
			w.wait()
			if now := w.palette.Calls(palettetest.PasswordChange); now > asked {
				asked = now
				tries = append(tries, time.Since(due).Round(time.Minute))
			}
		}
		assert.Equal(t, []time.Duration{1, 2, 4, 8, 16, 32, 64}, minutes(tries))
		assert.Contains(t, w.log.String(), "a rotation failed: config=default")
		w.palette.ClearAll()
		time.Sleep(time.Hour)
		w.minute()
		w.wait()
		assert.NotEqual(t, old, w.password())
		assert.Equal(t, time.Now().UTC().Format(time.RFC3339), w.read("config").Data["last_rotated"])
		assert.Equal(t, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), w.read("config").Data["next_rotation"])
		w.works()

		w.write("config", fields{"rotation_period": 0})
		assert.NotContains(t, w.read("config").Data, "next_rotation")
	})
}

func minutes(ds []time.Duration) []time.Duration {
	out := make([]time.Duration, len(ds))
	for i, d := range ds {
		out[i] = d / time.Minute
	}
	return out
}

func TestRotationPeriodIsThePrimarysBusiness(t *testing.T) {
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceSecondary, consts.ReplicationDRSecondary, consts.ReplicationPerformanceStandby} {
		bubble(t, fmt.Sprint(state), func(t *testing.T) {
			w := configured(t)
			w.write("config", fields{"rotation_period": "1m"})
			old := w.password()
			w.system.ReplicationStateVal = state
			time.Sleep(time.Hour)
			w.minute()
			w.wait()
			assert.Equal(t, old, w.password())
		})
	}
}
