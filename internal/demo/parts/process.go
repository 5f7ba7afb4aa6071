package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that is started again when it is killed.
type Process struct {
	Name    string   // for people: "the relay"
	Program string   // file
	Args    []string // without the program's name
	Env     []string
	Log     string // file of what it says; it runs in that file's folder
	// Suicidal says that it may kill itself by SIGKILL: that is its doing, and no reason to end.
	Suicidal bool
	// Again is called before each start; nil: nothing.
	Again func(p *Process, start int)

	mu       sync.Mutex
	process  *os.Process
	starts   int
	expected bool // the next death is our doing
}

// Run keeps it running until ctx ends; then it is told to end (SIGTERM) and its exit code must be 0. A death that is not
// expected is an error.
func (p *Process) Run(ctx context.Context) error {
	for {
		if err := p.once(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// once starts it and waits for its end.
func (p *Process) once(ctx context.Context) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.Name, err)
	}
	defer func() { _ = log.Close() }()
	if p.Again != nil {
		p.Again(p, p.starts)
	}
	cmd := exec.CommandContext(ctx, p.Program, p.Args...)
	cmd.Env, cmd.Dir = p.Env, filepath.Dir(p.Log) // a cdc-relay.yaml where we are run is none of its business
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: we tell it when the others are done
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.mu.Lock()
	p.process = cmd.Process
	p.starts++
	p.mu.Unlock()
	err = cmd.Wait()
	p.mu.Lock()
	p.process = nil
	expected := p.expected
	p.expected = false
	p.mu.Unlock()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && p.Suicidal {
		expected = expected || status.Signaled() && status.Signal() == syscall.SIGKILL
	}
	switch {
	case ctx.Err() != nil && (cmd.ProcessState.ExitCode() == 0 || expected):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("end %s: it ended with %s\n%s", p.Name, cmd.ProcessState, p.LastWords())
	case !expected:
		return errors.Join(fmt.Errorf("run %s: it ended by itself with %s\n%s", p.Name, cmd.ProcessState, p.LastWords()), err)
	}
	return nil
}

// Kill9 kills it; Run starts it again. False when it does not run.
func (p *Process) Kill9() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return false
	}
	p.expected = true
	_ = p.process.Kill()
	return true
}

// Restarts says how often it was started again.
func (p *Process) Restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.starts-1)
}

// RSS returns its resident memory in bytes, 0 where /proc does not say.
func (p *Process) RSS() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.process.Pid))
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// LastWords returns the end of its log.
func (p *Process) LastWords() string {
	b, _ := os.ReadFile(p.Log)
	return string(b[max(0, len(b)-3000):])
}
