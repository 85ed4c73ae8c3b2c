package main

import (
	"sync/atomic"
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestThePluginEndsSomeTimeAfterVault(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	var parent atomic.Int64
	parent.Store(42)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		awaitFarewell(clock, func() int { return int(parent.Load()) })
	}()
	sleeps := func() { require.NoError(t, clock.BlockUntilContext(t.Context(), 1)) }
	for range 3 {
		sleeps()
		clock.Advance(parentEvery)
	}
	sleeps()
	parent.Store(1)
	clock.Advance(parentEvery)
	sleeps()
	clock.Advance(farewell - 1)
	select {
	case <-ended:
		assert.Fail(t, "what is under way has its time")
	default:
	}
	clock.Advance(1)
	<-ended
}
