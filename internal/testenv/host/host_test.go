package host_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

func TestProcessThatIsAZombieOrAnotherIsNotAlive(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, ok := host.Find(cmd.Process.Pid)
	if !ok || !p.Alive() {
		t.Fatalf("a process just started: got %v, %v, want it alive", p, ok)
	}
	recycled := host.Process{PID: p.PID, Started: "long ago"}
	if recycled.Alive() {
		t.Error("a stranger with the same pid counts as ours")
	}
	if err := recycled.Signal(syscall.SIGKILL); err == nil {
		t.Error("a stranger with the same pid was sent a signal")
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !p.Await(5 * time.Second) { // nobody has reaped it yet
		t.Error("a zombie counts as alive")
	}
	_ = cmd.Wait()
}

func TestDetachedProcessIsOutOfOurSession(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	host.Detach(cmd, true)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	group, err := syscall.Getpgid(cmd.Process.Pid)
	if err != nil || group != cmd.Process.Pid {
		t.Errorf("process group: got %d, %v, want its own, %d", group, err, cmd.Process.Pid)
	}
}

// TestLockHoldsBetweenProcesses runs this very test again in a second process, as one that wants the lock.
func TestLockHoldsBetweenProcesses(t *testing.T) {
	file := os.Getenv("LOCK_FILE")
	if file != "" {
		unlock, err := host.Lock(file, 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		unlock()
		return
	}
	file = filepath.Join(t.TempDir(), "lock")
	second := func() (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLockHoldsBetweenProcesses$")
		cmd.Env = append(os.Environ(), "LOCK_FILE="+file)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	unlock, err := host.Lock(file, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := second(); err == nil || !strings.Contains(out, "another process has held it") {
		t.Errorf("second process while the lock is held: got %v\n%s", err, out)
	}
	unlock()
	if out, err := second(); err != nil {
		t.Errorf("second process after it was given back: %v\n%s", err, out)
	}
}

func TestPortsAreBelowTheClientsRange(t *testing.T) {
	t.Parallel()
	base, err := host.Ports(0, 1, 101)
	if err != nil || base+101 >= 32768 {
		t.Errorf("got %d, %v, want a port below 32768", base, err)
	}
}
