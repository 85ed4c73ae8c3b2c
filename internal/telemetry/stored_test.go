package telemetry_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/store"
	"vault-plugin-secrets-palette/internal/telemetry"
)

// stored are the gauges of a storage. Palette's clock at an address "https://<n>s" is n seconds before ours,
// and the user of a config "c<n>" has n keys.
func stored() *telemetry.Stored {
	return &telemetry.Stored{
		Configs: store.NewConfigs(),
		ClockOffset: func(address string) (time.Duration, bool) {
			offset, err := time.ParseDuration(address[len("https://"):])
			return offset, err == nil
		},
		KeysOf: func(name string, _ *store.Config) (int, time.Time, bool) {
			n, err := strconv.Atoi(strings.TrimPrefix(name, "c"))
			return n, time.Now().Add(-time.Minute), err == nil
		},
	}
}

func TestStoredAsText(t *testing.T) {
	s, g, m := enginetest.NewStorage(), stored(), telemetry.NewMetrics("v1.2.3")
	text, err := g.Text(t.Context(), s, m)
	require.NoError(t, err)
	for _, line := range []string{"vault_palette_configs 0", `vault_palette_build_info{version="v1.2.3"} 1`} {
		assert.Contains(t, string(text), "\n"+line+"\n")
	}
	s.FailOn("list", store.RolePrefix)
	_, err = g.Text(t.Context(), s, m)
	require.ErrorIs(t, err, enginetest.ErrDisk)
	s.Heal()
	m.Registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "vault_palette_configs", Help: "of another meaning"}))
	_, err = g.Text(t.Context(), s, m)
	require.ErrorContains(t, err, "gathering the metrics")
}

func gathered(t *testing.T, g *telemetry.Stored, s *enginetest.Storage) map[string]float64 {
	t.Helper()
	gatherer, err := g.Gather(t.Context(), s)
	require.NoError(t, err)
	return values(t, gatherer)
}

// What is stored is counted, and each config tells what is known of it.
func TestStoredTellsOfEachConfig(t *testing.T) {
	now := enginetest.Epoch
	for name, c := range map[string]struct {
		change func(*store.Config)
		series map[string]float64
	}{
		"older":   {func(*store.Config) {}, map[string]float64{}},
		"written": {func(c *store.Config) { c.SecretSince = now.Add(-time.Hour).Unix() }, map[string]float64{"root_secret_age_seconds config=written": 3600}},
		"rotated": {func(c *store.Config) { c.LastRotated = now.Add(-time.Minute).Unix() }, map[string]float64{"root_secret_age_seconds config=rotated": 60}},
		"behind":  {func(c *store.Config) { c.Address = "https://-30s" }, map[string]float64{"clock_offset_seconds config=behind": -30}},
		"c7": {func(c *store.Config) { c.KeyLimit = 9 }, map[string]float64{
			"user_api_keys config=c7": 7, "user_api_keys_limit config=c7": 9, "user_api_keys_listed_timestamp_seconds config=c7": float64(now.Add(-time.Minute).Unix()),
		}},
		"c0": {func(c *store.Config) { c.KeyLimit = 0 }, map[string]float64{
			"user_api_keys config=c0": 0, "user_api_keys_listed_timestamp_seconds config=c0": float64(now.Add(-time.Minute).Unix()),
		}},
		"expiring": {func(c *store.Config) { c.APIKey, c.APIKeyExpiry = "k", now.Unix() }, map[string]float64{
			"root_key_expiry_timestamp_seconds config=expiring rotated=false": float64(now.Unix()),
		}},
		"kept": {func(c *store.Config) { c.APIKey, c.APIKeyExpiry, c.RotationPeriod = "k", now.Unix(), time.Hour }, map[string]float64{
			"root_key_expiry_timestamp_seconds config=kept rotated=true": float64(now.Unix()),
		}},
	} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			time.Sleep(time.Until(now))
			s, g := enginetest.NewStorage(), stored()
			cfg := store.NewConfig("https://palette.example.com")
			c.change(cfg)
			require.NoError(t, g.Configs.Put(t.Context(), s, name, cfg))
			for key, n := range map[string]int{store.RolePrefix: 3, store.SessionPrefix: 2, store.SharedKeyPrefix: 4, store.PendingPrefix: 1} {
				for i := range n {
					s.Plant(fmt.Sprint(key, i), "{}")
				}
			}
			maps.Copy(c.series, map[string]float64{"roles": 3, "shared_sessions": 2, "shared_keys": 4, "pending_revocations": 1, "configs": 1, "configs_unreadable": 0})
			assert.Equal(t, c.series, gathered(t, g, s))
		})
	}
}

// Of very many configs these are shown: the oldest secrets, the clocks that are furthest off, before or behind, the
// users with the most keys, the root keys that expire first.
func TestStoredShowsTheLargestOfManyConfigs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(enginetest.Epoch))
		s, g := enginetest.NewStorage(), stored()
		for i := range telemetry.MaxSeries + 2 {
			offset := i * (1 - i%2*2)
			cfg := store.NewConfig(fmt.Sprintf("https://%ds", offset))
			cfg.SecretSince = enginetest.Epoch.Add(-time.Duration(i) * time.Hour).Unix()
			cfg.APIKey, cfg.APIKeyExpiry = "k", enginetest.Epoch.Add(-time.Duration(i)*time.Hour).Unix()
			require.NoError(t, g.Configs.Put(t.Context(), s, fmt.Sprintf("c%d", i), cfg))
		}
		got := gathered(t, g, s)
		assert.Len(t, got, 6+6*telemetry.MaxSeries)
		for _, series := range []string{
			"root_secret_age_seconds config=c%d", "clock_offset_seconds config=c%d", "user_api_keys config=c%d", "user_api_keys_limit config=c%d",
			"user_api_keys_listed_timestamp_seconds config=c%d", "root_key_expiry_timestamp_seconds config=c%d rotated=false",
		} {
			for i := range telemetry.MaxSeries + 2 {
				_, shown := got[fmt.Sprintf(series, i)]
				assert.Equal(t, i >= 2, shown, "%s of c%d", series, i)
			}
		}
	})
}

// A config that cannot be read must not take the metrics of all; a storage that cannot be listed is an error.
func TestStoredDespiteFaults(t *testing.T) {
	s, g := enginetest.NewStorage(), stored()
	s.Plant(store.ConfigPrefix+"broken", "{a secret")
	require.NoError(t, g.Configs.Put(t.Context(), s, "whole", store.NewConfig("https://1s")))
	got := gathered(t, g, s)
	assert.Equal(t, []float64{2, 1, 1}, []float64{got["configs"], got["configs_unreadable"], got["clock_offset_seconds config=whole"]})
	for _, prefix := range []string{store.RolePrefix, store.SessionPrefix, store.PendingPrefix, store.ConfigPrefix} {
		s.FailOn("list", prefix)
		_, err := g.Gather(t.Context(), s)
		require.ErrorIs(t, err, enginetest.ErrDisk, prefix)
	}
}
