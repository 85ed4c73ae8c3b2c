package main

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOrphanEndsSomeTimeAfterVault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var parent atomic.Int64
		parent.Store(42)
		time.AfterFunc(3*parentEvery+time.Second, func() { parent.Store(1) })
		start := time.Now()
		awaitFarewell(func() int { return int(parent.Load()) })
		assert.Equal(t, 4*parentEvery+farewell, time.Since(start), "what is under way has its time")
	})
}
