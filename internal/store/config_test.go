package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/store"
)

const (
	here  = "https://palette.example.com"
	there = "https://other.example.com"
)

// config is a config of a test.
func config(address, email string) *store.Config {
	return &store.Config{Connection: store.DefaultConnection(address), Email: email, Org: "example", Password: "a-password"}
}

// Swap stores only over what its caller has read, and keeps the connection of leases that the config leaves.
func TestConfigSwap(t *testing.T) {
	a, b, moved := config(here, "a"), config(here, "b"), config(there, "a")
	for _, c := range []struct {
		name              string
		stored, old, next *store.Config
		swapped           bool
		kept              int
	}{
		{"a new one", nil, nil, a, true, 0},
		{"a new one that another write was quicker with", b, nil, a, false, 0},
		{"a change", a, a, b, true, 0},
		{"a change of what has changed meanwhile", b, a, moved, false, 0},
		{"a change of what has gone meanwhile", nil, a, b, false, 0},
		{"another address", a, a, moved, true, 1},
		{"a deletion", a, a, nil, true, 1},
		{"a deletion of what has changed meanwhile", b, a, nil, false, 0},
		{"a deletion of nothing", nil, nil, nil, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, configs := enginetest.NewStorage(), store.NewConfigs()
			if c.stored != nil {
				require.NoError(t, configs.Put(t.Context(), s, "ci", c.stored))
			}
			swapped, err := configs.Swap(t.Context(), s, "ci", c.old, c.next)
			require.NoError(t, err)
			assert.Equal(t, c.swapped, swapped)
			want := c.stored
			if swapped {
				want = c.next
			}
			got, err := configs.Get(t.Context(), s, "ci")
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Len(t, s.Keys(store.ConnectionPrefix), c.kept)
		})
	}
}

func TestConfigSwapStorageFaults(t *testing.T) {
	a, moved := config(here, "a"), config(there, "a")
	for _, c := range []struct {
		op, prefix string
		next       *store.Config
		swapped    bool // the write may have reached the storage
	}{
		{"get", store.ConfigPrefix, moved, false},
		{"put", store.ConnectionPrefix, moved, false},
		{"put", store.ConfigPrefix, moved, true},
		{"put", store.ConnectionPrefix, nil, false},
		{"delete", store.ConfigPrefix, nil, true},
	} {
		t.Run(fmt.Sprint(c.op, c.prefix, c.next == nil), func(t *testing.T) {
			s, configs := enginetest.NewStorage(), store.NewConfigs()
			require.NoError(t, configs.Put(t.Context(), s, "ci", a))
			s.FailOn(c.op, c.prefix)
			swapped, err := configs.Swap(t.Context(), s, "ci", a, c.next)
			require.ErrorIs(t, err, enginetest.ErrDisk)
			assert.Equal(t, c.swapped, swapped)
			s.Heal()
			got, err := configs.Get(t.Context(), s, "ci")
			require.NoError(t, err)
			assert.Equal(t, a, got)
		})
	}
}

// Leases of one address are ended by the config of today, else as when the config left, else by
// the bare address.
func TestConfigConnectionTo(t *testing.T) {
	s, configs := enginetest.NewStorage(), store.NewConfigs()
	to := func(address string) palette.Connection {
		t.Helper()
		conn, err := configs.ConnectionTo(t.Context(), s, "ci", address)
		require.NoError(t, err)
		return conn
	}
	first := config(here, "a")
	first.CACert = "the CA of yesterday"
	second := config(there, "a")
	_, err := configs.Swap(t.Context(), s, "ci", nil, first)
	require.NoError(t, err)
	assert.Equal(t, first.Connection, to(here))
	assert.Equal(t, store.DefaultConnection(there), to(there))
	_, err = configs.Swap(t.Context(), s, "ci", first, second)
	require.NoError(t, err)
	assert.Equal(t, first.Connection, to(here), "kept")
	assert.Equal(t, second.Connection, to(there))
	for _, prefix := range []string{store.ConfigPrefix, store.ConnectionPrefix} {
		configs.Invalidate(store.ConfigPrefix + "ci")
		s.FailOn("get", prefix)
		_, err = configs.ConnectionTo(t.Context(), s, "ci", here)
		assert.ErrorIs(t, err, enginetest.ErrDisk)
	}
}

// What a version without rate limits has stored is read as if the limits were at their defaults: a
// limit of 0, which is none, has to be asked for.
func TestConfigOfAnOlderVersionKeepsPalettesLimit(t *testing.T) {
	const older = `{"address":"` + here + `","request_timeout":30000000000,"kept_at":"2026-03-01T12:00:00Z"}`
	s, configs := enginetest.NewStorage(), store.NewConfigs()
	s.Plant(store.ConfigPrefix+"ci", older)
	require.NoError(t, store.KeepConnection(t.Context(), s, "gone", store.DefaultConnection(here)))
	s.Plant(s.Keys(store.ConnectionPrefix)[0], older)
	for _, name := range []string{"ci", "gone"} {
		conn, err := configs.ConnectionTo(t.Context(), s, name, here)
		require.NoError(t, err)
		assert.Equal(t, store.DefaultConnection(here), conn, name)
	}
}

// The digest tells of each change by which another than Palette could get a password.
func TestConfigTrustDigest(t *testing.T) {
	before := config(here, "a").TrustDigest()
	for name, c := range map[string]struct {
		change func(*store.Config)
		same   bool
	}{
		"another proxy":        {func(c *store.Config) { c.ProxyURL = "https://proxy.example.com" }, false},
		"another authority":    {func(c *store.Config) { c.CACert = "PEM" }, false},
		"another server name":  {func(c *store.Config) { c.TLSServerName = "x.example.com" }, false},
		"no verification":      {func(c *store.Config) { c.TLSSkipVerify = true }, false},
		"another password":     {func(c *store.Config) { c.Password = "another" }, true},
		"another time-out":     {func(c *store.Config) { c.RequestTimeout = time.Hour }, true},
		"another certificate":  {func(c *store.Config) { c.ClientCert = "PEM" }, true},
		"quotes that join two": {func(c *store.Config) { c.CACert, c.TLSServerName = `" "x`, "" }, false},
	} {
		cfg := config(here, "a")
		c.change(cfg)
		assert.Equal(t, c.same, before == cfg.TrustDigest(), name)
	}
}

func TestConfigIdentity(t *testing.T) {
	a := config(here, "a")
	assert.Equal(t, store.Identity{Address: here, Org: "example", Email: "a"}, a.Identity())
	assert.Equal(t, palette.Login{Email: "a", Org: "example", Password: "a-password"}, a.Login())
	other := *a
	other.Password, other.CACert = "another", "PEM"
	assert.True(t, a.SameIdentity(&other))
	for _, change := range []func(*store.Config){
		func(c *store.Config) { c.Email = "b" }, func(c *store.Config) { c.Org = "b" }, func(c *store.Config) { c.Address = there },
		func(c *store.Config) { c.LoginType, c.Username = store.LoginSystem, "admin" },
	} {
		other = *a
		change(&other)
		assert.False(t, a.SameIdentity(&other))
	}
}

func TestConfigOfASystemAdministrator(t *testing.T) {
	system := store.NewConfig(here)
	assert.False(t, system.IsSystem())
	system.LoginType, system.Username, system.Password = store.LoginSystem, "admin", "p"
	assert.True(t, system.IsSystem())
	assert.Equal(t, palette.Login{Username: "admin", Password: "p"}, system.Login())
	assert.Equal(t, store.Identity{Address: here, Username: "admin"}, system.Identity())
	assert.Equal(t, `system administrator "admin"`, system.Who())
	assert.Contains(t, system.LoginFields(), "username and password")
	user := config(here, "a")
	assert.Equal(t, []string{`"a" in organization "example"`, "email, org and password"}, []string{user.Who(), user.LoginFields()})
	other := *system
	other.Username = "Admin"
	assert.False(t, system.SameIdentity(&other), "names are taken with their case")
}

func TestConfigTimes(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 999, time.UTC)
	cfg := config(here, "a")
	cfg.QueueTimeout, cfg.RequestTimeout = time.Minute, time.Second
	assert.Equal(t, at.Add(time.Minute+time.Second+10*time.Second), cfg.ArrivesBy(at))
	assert.True(t, cfg.SetByRotation().IsZero(), "never rotated")
	cfg.SetRotated(at)
	assert.Equal(t, at.Truncate(time.Second), cfg.SetByRotation().UTC())
	assert.Equal(t, cfg.SetByRotation(), cfg.Login().SetAt)
	written := *cfg
	written.SecretSince++
	assert.True(t, written.SetByRotation().IsZero(), "an operator has written another since")
	assert.Equal(t, []int64{at.Unix(), at.Unix(), at.Unix()}, []int64{cfg.LastRotated, cfg.RotateFrom, cfg.SecretSince})
}
