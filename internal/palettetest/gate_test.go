package palettetest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestHold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		hold func(*palettetest.Server, palettetest.Endpoint) *palettetest.Gate
		held int // tokens issued while the calls are held
	}{
		{"before the work", (*palettetest.Server).Hold, 0},
		{"after the work", (*palettetest.Server).HoldAfter, 2},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			gate := tt.hold(f.Server, palettetest.Login)
			first, second := f.background(func() { f.login(alice) }), f.background(func() { f.login(other) })
			<-gate.Arrived()
			<-gate.Arrived()
			assert.Len(t, f.Issued(), tt.held)
			assert.Equal(t, 401, f.must("GET", "/v1/users/info", "", "").status, "others pass")
			gate.Release()
			gate.Release()
			<-first
			<-second
			assert.Len(t, f.Issued(), 2)
			f.login(alice)
		})
	}
}

func TestHeldCallWhoseClientGoesAway(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		hold   func(*palettetest.Server, palettetest.Endpoint) *palettetest.Gate
		issued int
	}{
		{"before the work", (*palettetest.Server).Hold, 0},
		{"after the work", (*palettetest.Server).HoldAfter, 1},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			f := newFixture(t)
			gate := tt.hold(f.Server, palettetest.Login)
			ctx, cancel := context.WithCancel(t.Context())
			request := f.request("POST", "/v1/auth/authenticate", loginBody(alice.Email, alice.Org, alice.Password))
			request.Header.Set("Content-Type", "application/json")
			done := f.background(func() {
				_, err := f.roundTrip(request.WithContext(ctx))
				assert.ErrorIs(t, err, context.Canceled)
			})
			<-gate.Arrived()
			cancel()
			<-done
			f.Close() // waits for the call, which nobody releases
			assert.Len(t, f.Issued(), tt.issued)
		})
	}
}

func TestCloseLetsHeldCallsGo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		gate := f.Hold(palettetest.Login)
		done := f.background(func() {
			_, err := f.send("POST", "/v1/auth/authenticate", "", loginBody(alice.Email, alice.Org, alice.Password))
			assert.Error(t, err)
		})
		<-gate.Arrived()
		f.Close()
		<-done
		assert.Empty(t, f.Issued())
		_, err := f.send("GET", "/v1/users/info", "", "")
		require.Error(t, err)
	})
}

func TestSecondGateReplacesTheFirst(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newFixture(t)
		first := f.Hold(palettetest.Login)
		second := f.Hold(palettetest.Login)
		first.Release() // must not take the second away
		done := f.background(func() { f.login(alice) })
		<-second.Arrived()
		assert.Empty(t, f.Issued())
		second.Release()
		<-done
	})
}
