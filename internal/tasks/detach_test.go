package tasks_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/tasks"
)

var errCall = errors.New("the call failed")

// call is a detached call of a test: what it was given, and what late was told.
type call struct {
	t     *testing.T
	group *tasks.Group
	log   *enginetest.Log
	late  []string
}

func newCall(t *testing.T) *call {
	c := &call{t: t, log: &enginetest.Log{}}
	c.group = group(c.log)
	return c
}

// detach makes "made" after a minute, or what work does.
func (c *call) detach(ctx context.Context, work func(context.Context) (string, error)) (string, error) {
	if work == nil {
		work = func(ctx context.Context) (string, error) {
			time.Sleep(time.Minute)
			return "made", ctx.Err() // the context of a call that was sent does not end
		}
	}
	return tasks.Detach(ctx, c.group, work, func(made string) { c.late = append(c.late, made) })
}

// What a call makes goes to its caller or, where the caller has gone, to late; never to both.
func TestDetachGivesTheOutcomeToOne(t *testing.T) {
	for _, c := range []struct {
		name     string
		work     func(context.Context) (string, error)
		hangUp   time.Duration // after which the caller goes
		made     string
		err      error
		late     []string
		returned time.Duration
	}{
		{"the caller waits", nil, time.Hour, "made", nil, nil, time.Minute},
		{"the caller has gone", nil, time.Second, "", context.DeadlineExceeded, []string{"made"}, time.Second},
		{"it fails", func(context.Context) (string, error) { return "", errCall }, time.Hour, "", errCall, nil, 0},
		{"it fails when the caller has gone", func(context.Context) (string, error) { time.Sleep(time.Minute); return "", errCall }, time.Second, "", context.DeadlineExceeded, nil, time.Second},
		{"it panics", func(context.Context) (string, error) { panic("a secret") }, time.Hour, "", tasks.ErrPanic, nil, 0},
		{"it panics when the caller has gone", func(context.Context) (string, error) { time.Sleep(time.Minute); panic("a secret") }, time.Second, "", context.DeadlineExceeded, nil, time.Second},
	} {
		enginetest.Bubble(t, c.name, func(t *testing.T) {
			d, began := newCall(t), time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), c.hangUp)
			defer cancel()
			made, err := d.detach(ctx, c.work)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.made, made)
			assert.Equal(t, c.returned, time.Since(began), "when Detach returns")
			require.NoError(t, d.group.Wait(t.Context()), "the call is seen to its end")
			assert.Equal(t, c.late, d.late)
			assert.NotContains(t, d.log.String(), "a secret")
		})
	}
}

// tardy is the context of a caller whose end is noticed late: by then the outcome is there, too.
type tardy struct{ context.Context }

func (c tardy) Done() <-chan struct{} {
	time.Sleep(time.Second)
	return c.Context.Done()
}

// The outcome and the end of the caller come at one time: Vault throws away what is returned to a
// caller who has gone, so late gets it.
func TestDetachWhereTheCallerGoesAsTheOutcomeComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t)
		ctx, hangUp := context.WithCancel(t.Context())
		hangUp()
		const often = 50 // a select takes either branch
		for range often {
			_, err := c.detach(tardy{ctx}, func(context.Context) (string, error) { return "made", nil })
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, c.group.Wait(t.Context()))
		}
		assert.Len(t, c.late, often)
	})
}

// An unmount ends the wait for a credential: a lease of a mount whose leases have been ended would
// never end. A moved mount lives on.
func TestDetachEndsWithLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t)
		time.AfterFunc(time.Second, c.group.Leave)
		began := time.Now()
		_, err := c.detach(t.Context(), nil)
		require.ErrorIs(t, err, tasks.ErrEnding)
		assert.Equal(t, time.Second, time.Since(began))
		require.NoError(t, c.group.Wait(t.Context()))
		assert.Equal(t, []string{"made"}, c.late, "what was under way comes back")
		made, err := c.detach(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, "made", made)
	})
}

func TestDetachIsRefusedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t)
		require.NoError(t, c.group.Drain(t.Context()))
		_, err := c.detach(t.Context(), func(context.Context) (string, error) { t.Error("it runs"); return "", nil })
		assert.ErrorIs(t, err, tasks.ErrEnding)
	})
}
