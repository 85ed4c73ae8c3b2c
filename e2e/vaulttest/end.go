package vaulttest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// Kill ends the server's process with SIGKILL, and waits until it is gone. Vault then
// leaves its plugin processes behind; [Server.Stop] finds them.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Running tells whether the server's process is there.
func (s *Server) Running() bool {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended == nil {
		return false
	}
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// Stop ends the server, and the plugin processes that a killed one has left behind, and
// removes its files. It may be called again, and returns when all of that is done.
func (s *Server) Stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.end.Do(s.stop)
}

func (s *Server) stop() {
	s.halt()
	s.KillPlugins()
	if s.opts.AtEnd != nil {
		s.opts.AtEnd(s)
	}
	running.mu.Lock()
	delete(running.servers, s)
	running.mu.Unlock()
	if s.Dir != "" {
		_ = os.RemoveAll(s.Dir)
	}
}

// StopAll stops every server of this process, all at once. None can be started any more.
func StopAll() {
	running.mu.Lock()
	running.ended = true
	var stopping sync.WaitGroup
	for s := range running.servers {
		stopping.Go(s.Stop)
	}
	running.mu.Unlock()
	stopping.Wait()
}

// halt ends the process in the good way, and in the other one where that takes too long.
func (s *Server) halt() {
	if !s.signal(syscall.SIGTERM) {
		s.signal(syscall.SIGKILL)
	}
}

// signal sends a signal and tells whether the process then ended in time.
func (s *Server) signal(signal syscall.Signal) bool {
	s.mu.Lock()
	cmd, ended := s.process, s.ended
	s.mu.Unlock()
	if cmd == nil {
		return true
	}
	_ = cmd.Process.Signal(signal) // fails only where it has ended
	select {
	case <-ended:
		return true
	case <-time.After(endPatience):
		return false
	}
}

// PluginPIDs are the processes of the server's plugins, those of a killed server too. They
// run from the server's own plugin directory, so that no other server's are among them.
func (s *Server) PluginPIDs() []int {
	processes, err := process.Processes()
	if err != nil || s.plugin == "" {
		return nil
	}
	var pids []int
	for _, p := range processes {
		exe, err := p.Exe()
		// Linux marks a program whose file has been removed.
		if err == nil && filepath.Dir(strings.TrimSuffix(exe, " (deleted)")) == filepath.Dir(s.plugin) {
			pids = append(pids, int(p.Pid))
		}
	}
	return pids
}

// KillPlugins ends the plugin's processes with SIGKILL, waits until they are gone and
// returns how many there were.
func (s *Server) KillPlugins() int {
	pids := s.PluginPIDs()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for deadline := time.Now().Add(endPatience); time.Now().Before(deadline); time.Sleep(pollEvery) {
		left := s.PluginPIDs()
		if !slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(left, pid) }) {
			break
		}
	}
	return len(pids)
}

// place copies a program. A link would do for a path of the server's own, but a build
// that writes into the file would change it under the running server.
func place(program, at string) error {
	content, err := os.ReadFile(program) // #nosec G304 -- the environment names it
	if err != nil {
		return fmt.Errorf("reading the plugin: %w", err)
	}
	// #nosec G306 G703 -- it is to be run; the path is in the server's own directory
	if err := os.WriteFile(at, content, 0o700); err != nil {
		return fmt.Errorf("copying the plugin: %w", err)
	}
	return nil
}
