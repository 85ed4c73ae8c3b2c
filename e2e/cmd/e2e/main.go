// Command e2e runs the end-to-end tests, for `make e2e`: most of them many at a time, and then
// those that judge time. Of a test that fails it prints first what was expected, how to repeat
// the failure by hand and where the server's log is.
//
// Its argument is the test binary. The working directory must be that of the tests.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// phaseVariable tells the test binary which of its tests to run: see TestMain.
const phaseVariable = "E2E_PHASE"

// options are those of the command line.
type options struct {
	binary, phase, run, timeout string
	parallel                    int
	verbose                     bool
}

func main() {
	var o options
	flag.StringVar(&o.phase, "phase", "", "together, or alone for the tests that judge time; all of them where it is empty")
	flag.StringVar(&o.run, "run", "", "the tests to run, as with go test")
	flag.IntVar(&o.parallel, "parallel", 1, "how many tests run at a time")
	flag.StringVar(&o.timeout, "timeout", "20m", "when the tests are given up")
	flag.BoolVar(&o.verbose, "v", false, "show the log of each test, also where it passes")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "e2e: name the test binary")
		os.Exit(2)
	}
	o.binary = flag.Arg(0)
	passed, err := run(o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

// run runs the tests and tells whether all have passed.
func run(o options, out io.Writer) (passed bool, err error) {
	// The tests hear these too, and stop their servers. Their end is this program's.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	tests := exec.Command(o.binary, o.arguments()...)
	tests.Env = append(os.Environ(), phaseVariable+"="+o.phase)
	tests.Stderr = os.Stderr
	events := exec.Command("go", "tool", "test2json", "-t", "-p", "e2e")
	events.Stderr = os.Stderr
	// It reads to the tests' end: without it their next line would kill them.
	events.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if events.Stdin, err = tests.StdoutPipe(); err != nil {
		return false, fmt.Errorf("reading the tests: %w", err)
	}
	read, err := events.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("reading test2json: %w", err)
	}
	if err = events.Start(); err != nil {
		return false, fmt.Errorf("starting test2json: %w", err)
	}
	if err = tests.Start(); err != nil {
		return false, fmt.Errorf("starting %s: %w", o.binary, err)
	}
	go func() {
		for received := range signals {
			_ = tests.Process.Signal(received) // a second time where the terminal has sent it already
		}
	}()

	began := time.Now()
	results := newResults(out, o.verbose)
	err = results.readAll(read)
	failed := tests.Wait()
	err = errors.Join(err, events.Wait())
	results.sum(time.Since(began))
	var exit *exec.ExitError
	if failed != nil && !errors.As(failed, &exit) {
		err = errors.Join(err, failed)
	}
	return failed == nil, err
}

// arguments are those of the test binary.
func (o options) arguments() []string {
	return []string{
		"-test.v=test2json", "-test.paniconexit0",
		"-test.run=" + o.run, fmt.Sprintf("-test.parallel=%d", o.parallel), "-test.timeout=" + o.timeout,
	}
}

// event is what test2json tells.
type event struct {
	Action, Test, Output string
}

// readAll reads events to their end.
func (r *results) readAll(from io.Reader) error {
	lines := bufio.NewReader(from)
	decoder := json.NewDecoder(lines)
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading test2json: %w", err)
		}
		r.take(e)
	}
}
