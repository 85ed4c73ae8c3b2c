package simulation

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Seeds of a run without a word of how many.
const (
	seedsShort = 80  // of `go test -short`
	seedsUnit  = 200 // with the race detector
)

// setting reads a number out of the environment.
func setting(name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("%s is %q, but must be a whole number", name, text))
	}
	return n
}

// TestSimulate lives the lives of the seeds START and on, SEEDS of them, or of SEED alone.
func TestSimulate(t *testing.T) {
	document()
	first, n := setting("START", 1), seedsUnit
	if testing.Short() {
		n = seedsShort
	}
	n = setting("SEEDS", n)
	if one := setting("SEED", 0); one != 0 {
		first, n = one, 1
	}
	began := time.Now()
	var failed atomic.Bool
	var next, lived atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < int64(n) && !failed.Load(); i = next.Add(1) - 1 {
					p := newPlan(uint64(first) + uint64(i))
					lived.Add(1)
					out := live(t, p, p.steps)
					if out.breach != nil && !failed.Swap(true) { // the first story is enough
						tellFailure(t, p, out)
					}
				}
			})
		}
	})
	t.Logf("%d seeds from %d on lived in %s", lived.Load(), first, time.Since(began).Round(time.Second/10))
}

// outcome is what a life came to.
type outcome struct {
	breach *breach
	story  string
}

// watch bounds the real time of a life: fake time stands still while a goroutine waits for a lock that another holds for
// ever.
const watch = 90 * time.Second

// live lives a life in a bubble. A bubble in which all goroutines wait for ever panics.
func live(t *testing.T, p *plan, steps []step) (out outcome) {
	var w *world
	timer := time.AfterFunc(watch, func() {
		story := ""
		if w != nil {
			story = w.story.String()
		}
		panic(fmt.Sprintf("seed %d hangs: fake time stands still\n%s", p.seed, story))
	})
	defer timer.Stop()
	defer func() {
		p := recover()
		if w == nil {
			if p != nil {
				panic(p)
			}
			return
		}
		if p != nil && w.breach == nil {
			w.breach = &breach{invariant: invEnded, kind: fmt.Sprint(p), text: fmt.Sprint(p)}
		}
		out = outcome{w.breach, w.story.String()}
	}()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(p)
		w.run(steps)
		w.end(p.end)
		w.finish()
	})
	return out
}
