package palettesecrets

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// Each row is a write and what a read shows then: rate_burst stays unset until somebody sets it.
func TestConfigBurst(t *testing.T) {
	for name, writes := range map[string][]struct {
		data  fields
		burst int
	}{
		"unset":                            {{fields{"rate_limit": 10}, 50}, {fields{"rate_limit": 3}, 15}, {fields{"rate_limit": 3000}, 10000}, {fields{"rate_limit": 0}, 0}, {fields{"rate_limit": 10}, 50}},
		"set":                              {{fields{"rate_limit": 10, "rate_burst": 7}, 7}, {fields{"rate_limit": 20}, 7}, {fields{"org": "example"}, 7}, {fields{"rate_burst": 9}, 9}},
		"a write of no limit drops it":     {{fields{"rate_limit": 10, "rate_burst": 7}, 7}, {fields{"rate_limit": 0}, 0}, {fields{"rate_limit": 10}, 50}},
		"zero unsets it":                   {{fields{"rate_limit": 10, "rate_burst": 7}, 7}, {fields{"rate_burst": 0}, 50}, {fields{"rate_limit": 4}, 20}},
		"what a read shows can be written": {{fields{"rate_limit": 0, "rate_burst": 0}, 0}, {fields{"rate_limit": 2, "rate_burst": 10}, 10}},
	} {
		bubble(t, name, func(t *testing.T) {
			w := newWorld(t)
			w.write("config", w.login(fields{"verify_connection": false}))
			for _, row := range writes {
				data := w.login(fields{"verify_connection": false})
				delete(data, "rate_limit")
				maps.Copy(data, row.data)
				w.write("config", data)
				assert.Equal(t, row.burst, w.read("config").Data["rate_burst"], "%v", row)
			}
		})
	}
}

func TestConfigBurstWithoutALimitIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t) // rate_limit=0
		w.mistake(update, "config", fields{"rate_burst": 5}, `"rate_burst" is 5`, "rate_limit=0")
		assert.Equal(t, 0, w.read("config").Data["rate_burst"])
	})
}

func TestConfigWarnsOfTimesThatVaultDoesNotGive(t *testing.T) {
	for _, c := range []struct {
		data fields
		warn bool
	}{
		{fields{"queue_timeout": "55s", "request_timeout": "30s"}, false},
		{fields{"queue_timeout": "60s", "request_timeout": "30s"}, false},
		{fields{"queue_timeout": "61s", "request_timeout": "30s"}, true},
		{fields{"queue_timeout": "11s", "request_timeout": "80s"}, true},
		{fields{"queue_timeout": "5m"}, true},
	} {
		bubble(t, fmt.Sprint(c.data), func(t *testing.T) {
			w := newWorld(t)
			resp := w.write("config", w.login(c.data))
			if !c.warn {
				assert.Nil(t, resp)
				return
			}
			require.Len(t, resp.Warnings, 1)
			assert.Contains(t, resp.Warnings[0], "together exceed the 1m30s that Vault gives a request by default")
			assert.NotNil(t, w.read("config"), "it is stored")
			assert.Len(t, w.write("config", fields{"org": "example", "password": palettetest.DefaultUser.Password}).Warnings, 1, "each write tells")
		})
	}
}
