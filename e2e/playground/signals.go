package playground

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// ErrInterrupted is what a program says that [Interruptible] has ended.
var ErrInterrupted = errors.New("interrupted; all that it had started is gone")

// Interruptible runs a program that starts servers, which would outlive it: the signals that
// end a program cancel its context instead, and it then cleans up. The error of one that was
// interrupted is [ErrInterrupted].
func Interruptible(run func(context.Context) error) error {
	// SIGPIPE too: without it `make demo | head` would end the program, and leave Vault running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := run(ctx)
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	return err
}
