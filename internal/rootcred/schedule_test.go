package rootcred_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/rootcred"
	"vault-plugin-secrets-palette/internal/store"
)

// periodic is a mount whose config is to be rotated each hour.
func periodic(t *testing.T) *mount {
	t.Helper()
	m := newMount(t)
	m.Configure(func(c *store.Config) { c.RotationPeriod, c.RotateFrom = time.Hour, time.Now().Unix() })
	return m
}

func TestRotationPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := periodic(t)
		for range 3 {
			before := m.Password()
			require.Equal(t, time.Hour, m.DueIn())
			time.Sleep(time.Hour - time.Second)
			m.Minute()
			require.Equal(t, before, m.Password(), "a second too early")
			time.Sleep(time.Second)
			m.Minute()
			require.NotEqual(t, before, m.Password())
		}
		m.Logged(rootcred.MsgRotated)
		m.Configure(func(c *store.Config) { c.Password = m.Stored().Password })
		assert.Greater(t, m.DueIn(), 100*365*24*time.Hour, "without a period")
		m.Works()
	})
}

// A rotation that fails is tried again after pauses that double, up to an hour.
func TestRotationPeriodAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := periodic(t)
		m.Palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 404})
		time.Sleep(m.DueIn())
		for _, minutes := range []float64{1, 2, 4, 8, 16, 32, 60, 60} {
			m.Minute()
			assert.InDelta(t, minutes, m.DueIn().Minutes(), 0)
			asked := m.Palette.Calls(palettetest.PasswordChange)
			time.Sleep(m.DueIn() - time.Second)
			m.Minute()
			assert.Equal(t, asked, m.Palette.Calls(palettetest.PasswordChange))
			time.Sleep(time.Second)
		}
		m.Logged(rootcred.MsgRotationFailed)
		m.Palette.ClearAll()
		m.Minute()
		assert.Equal(t, time.Hour, m.DueIn())
		m.Works()
	})
}

// A rotation that an operator has begun is no failure of the schedule.
func TestRotationPeriodDuringARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := periodic(t)
		time.Sleep(m.DueIn())
		gate, done := m.Palette.Hold(palettetest.PasswordChange), make(chan error)
		go func() { done <- m.Credentials.Rotate(t.Context(), m.Storage, name) }()
		<-gate.Arrived()
		require.NoError(t, m.Credentials.EachMinute(t.Context(), m.Storage))
		synctest.Wait()
		assert.LessOrEqual(t, m.DueIn(), time.Duration(0))
		gate.Release()
		require.NoError(t, <-done)
		m.Wait()
		assert.False(t, strings.Contains(m.Log.String(), rootcred.MsgRotationFailed))
		m.Works()
	})
}

// Configs are replicated: the primary rotates, and recovers what it has left.
func TestRotationPeriodIsThePrimarysBusiness(t *testing.T) {
	const (
		primary   = consts.ReplicationPerformancePrimary
		secondary = consts.ReplicationPerformanceSecondary
	)
	for _, c := range []struct {
		state  consts.ReplicationState
		local  bool
		writes bool
	}{
		{0, false, true},
		{primary, false, true},
		{consts.ReplicationDRPrimary, false, true},
		{secondary, false, false},
		{secondary, true, true},
		{consts.ReplicationDRSecondary, false, false},
		{consts.ReplicationDRSecondary, true, false},
		{consts.ReplicationPerformanceStandby, true, false},
	} {
		enginetest.Bubble(t, fmt.Sprint(c), func(t *testing.T) {
			m := periodic(t)
			m.System.ReplicationStateVal, m.System.LocalMountVal = c.state, c.local
			assert.Equal(t, c.writes, m.Credentials.WritesConfigs())
			before := m.Password()
			time.Sleep(m.DueIn())
			m.Minute()
			assert.Equal(t, c.writes, m.Password() != before)
		})
	}
}

// A config that cannot be read does not keep the others from their rotation.
func TestRotationPeriodGoesOnPastWhatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := periodic(t)
		m.Storage.Plant(store.ConfigPrefix+"a", "{")
		before := m.Password()
		time.Sleep(m.DueIn())
		require.ErrorContains(t, m.Credentials.EachMinute(t.Context(), m.Storage), "config/a cannot be decoded")
		m.Wait()
		assert.NotEqual(t, before, m.Password())
	})
}
