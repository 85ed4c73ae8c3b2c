package tasks_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/tasks"
)

func group(log *enginetest.Log) *tasks.Group {
	logger := hclog.New(&hclog.LoggerOptions{Output: log})
	return &tasks.Group{Logger: func() hclog.Logger { return logger }}
}

// sleep is a task that takes a time.
func sleep(d time.Duration) func() { return func() { time.Sleep(d) } }

func TestGroupWaitsForItsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, began := group(&enginetest.Log{}), time.Now()
		require.NoError(t, g.Wait(t.Context()), "without a task")
		for _, d := range []time.Duration{time.Minute, time.Second, time.Hour} {
			require.True(t, g.Start(sleep(d)))
		}
		assert.Equal(t, 3, g.Running())
		hurried, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		require.ErrorIs(t, g.Wait(hurried), context.DeadlineExceeded)
		assert.Equal(t, 2, g.Running())
		require.NoError(t, g.Wait(t.Context()))
		assert.Equal(t, time.Hour, time.Since(began))
		assert.Zero(t, g.Running())
	})
}

// While a mount ends, nothing new begins but the follow-ups of what runs.
func TestGroupThatDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group(&enginetest.Log{})
		followed := false
		require.True(t, g.Start(func() {
			time.Sleep(time.Minute)
			assert.True(t, g.StartFollowUp(func() { time.Sleep(time.Second); followed = true }))
		}))
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context()) }()
		synctest.Wait()
		assert.False(t, g.Start(sleep(0)))
		_, err := g.Enter()
		require.ErrorIs(t, err, tasks.ErrEnding)
		require.NoError(t, <-drained)
		assert.True(t, followed, "Drain waits for follow-ups too")
		assert.False(t, g.StartFollowUp(sleep(0)), "there is nothing to follow up")
	})
}

func TestGroupCountsACallersOwnTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group(&enginetest.Log{})
		leave, err := g.Enter()
		require.NoError(t, err)
		time.AfterFunc(time.Minute, leave)
		began := time.Now()
		require.NoError(t, g.Drain(t.Context()))
		assert.Equal(t, time.Minute, time.Since(began))
	})
}

func TestGroupThatIssuesUntilItLeaves(t *testing.T) {
	g := group(&enginetest.Log{})
	g.Leave() // nobody waits
	first := g.Issuing()
	assert.Same(t, first, g.Issuing())
	require.NoError(t, first.Err())
	g.Leave()
	require.ErrorIs(t, first.Err(), context.Canceled)
	assert.NoError(t, g.Issuing().Err(), "a moved mount lives on")
}

// A panic ends one task, and its value, which may hold a secret, is not shown.
func TestGroupShieldsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &enginetest.Log{}
		g := group(log)
		require.True(t, g.Start(func() { panic("a secret") }))
		require.NoError(t, g.Wait(t.Context()), "the task is counted out")
		assert.Contains(t, log.String(), tasks.MsgPanic)
		assert.Contains(t, log.String(), "tasks_test.go", "the stack")
		assert.NotContains(t, log.String(), "a secret")
		g.Shield(func() {})
	})
}

func TestGroupCleanIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		says  bool
	}{"tasks that end": {time.Second, false}, "a task that does not": {time.Hour, true}} {
		enginetest.Bubble(t, name, func(t *testing.T) {
			log, began := &enginetest.Log{}, time.Now()
			g := group(log)
			require.True(t, g.Start(sleep(c.takes)))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			g.Clean(ctx, nil, false)
			assert.Equal(t, min(c.takes, time.Minute), time.Since(began))
			assert.Equal(t, c.says, log.String() != "")
			if c.says {
				assert.Contains(t, log.String(), tasks.MsgTasksLeft)
			}
			require.NoError(t, g.Wait(t.Context())) // a bubble ends with its goroutines
		})
	}
}

func TestGroupThatEndsIsA503(t *testing.T) {
	assert.Equal(t, http.StatusServiceUnavailable, tasks.ErrEnding.Code())
}
