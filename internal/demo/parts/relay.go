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

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// Relay is the real program as a process of its own, started again when it dies.
type Relay struct {
	program string
	env     []string
	log     string // file of what it says

	mu       sync.Mutex
	process  *os.Process
	starts   int
	expected bool // the next death is our doing
}

// Build builds ./cmd/cdc-relay of the module that we are run in.
func Build(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "cdc-relay")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/cdc-relay/cdc-relay/cmd/cdc-relay")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the relay (run the demo in the project's folder, or name a program by --relay): %w\n%s", err, out)
	}
	return program, nil
}

// NewRelay prepares a relay from one to the other; its log goes into dir.
func NewRelay(program, dir string, d *Database, b *Broker) (*Relay, error) {
	port, err := host.Ports(0)
	if err != nil {
		return nil, fmt.Errorf("find a port for the relay: %w", err)
	}
	return &Relay{program: program, log: filepath.Join(dir, "relay.log"), env: append(host.Environ(),
		"CDC_RELAY_DATABASE_URL="+d.url,
		"CDC_RELAY_REPLICATION_SLOT="+d.name,
		"CDC_RELAY_REPLICATION_PUBLICATION="+d.name,
		"CDC_RELAY_SINK_KAFKA_BROKERS="+strings.Join(b.addrs, ","),
		"CDC_RELAY_ADMIN_LISTEN=127.0.0.1:"+strconv.Itoa(port),
		"CDC_RELAY_LOG_FORMAT=json",
	)}, nil
}

// Migrate makes tables, functions and the publication.
func (r *Relay) Migrate(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, r.program, "migrate", "up")
	cmd.Env, cmd.Dir = r.env, filepath.Dir(r.log) // a cdc-relay.yaml where we are run is none of its business
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run cdc-relay migrate up: %w\n%s", err, out)
	}
	return nil
}

// Run keeps the relay running until ctx ends; then it drains and its exit code must be 0. A death that is not our doing
// ends the demo.
func (r *Relay) Run(ctx context.Context) error {
	for {
		log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("open the relay's log: %w", err)
		}
		cmd := exec.CommandContext(ctx, r.program, "run")
		cmd.Env, cmd.Dir = r.env, filepath.Dir(r.log)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: we tell it when the application is done
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 30 * time.Second
		if err := cmd.Start(); err != nil {
			return errors.Join(fmt.Errorf("start the relay: %w", err), log.Close())
		}
		r.mu.Lock()
		r.process = cmd.Process
		r.starts++
		r.mu.Unlock()
		err = cmd.Wait()
		_ = log.Close()
		r.mu.Lock()
		r.process = nil
		expected := r.expected
		r.expected = false
		r.mu.Unlock()
		if ctx.Err() != nil {
			if code := cmd.ProcessState.ExitCode(); code != 0 {
				return fmt.Errorf("drain the relay: it ended with %s\n%s", cmd.ProcessState, r.LastWords())
			}
			return nil
		}
		if !expected {
			return fmt.Errorf("run the relay: it ended by itself with %s: %w\n%s", cmd.ProcessState, err, r.LastWords())
		}
	}
}

// Kill9 kills it; run starts it again.
func (r *Relay) Kill9() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		r.expected = true
		_ = r.process.Kill()
	}
}

// Restarts says how often it was started again.
func (r *Relay) Restarts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.starts-1)
}

// RSS returns the relay's resident memory in bytes, 0 where /proc does not say.
func (r *Relay) RSS() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.process.Pid))
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// LastWords returns the end of its log.
func (r *Relay) LastWords() string {
	b, _ := os.ReadFile(r.log)
	return string(b[max(0, len(b)-3000):])
}
