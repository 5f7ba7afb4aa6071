package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a process by its pid and the time it was started, in the kernel's own words. A pid alone may by now be
// somebody else's, or a zombie that nobody has reaped, on which kill -0 still succeeds.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
}

// Self returns the calling process.
func Self() Process {
	p, _ := Find(os.Getpid())
	return p
}

// Find returns the live process with that pid; false when there is none or only a zombie.
func Find(pid int) (Process, bool) {
	if pid <= 0 {
		return Process{}, false
	}
	state, started := look(pid)
	if state == "" || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X") {
		return Process{}, false
	}
	return Process{PID: pid, Started: started}, true
}

// Alive says whether the very process still runs (stopped by SIGSTOP counts as running).
func (p Process) Alive() bool {
	now, ok := Find(p.PID)
	return ok && now == p
}

// Signal sends sig when the process is still the one we mean, and nothing otherwise.
func (p Process) Signal(sig syscall.Signal) error {
	if !p.Alive() {
		return fmt.Errorf("signal pid %d: %w", p.PID, os.ErrProcessDone)
	}
	if err := syscall.Kill(p.PID, sig); err != nil {
		return fmt.Errorf("signal pid %d: %w", p.PID, err)
	}
	return nil
}

// Await waits until the process is gone; false when it is still there after the timeout.
func (p Process) Await(timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.Alive() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// Within returns the live processes whose working folder is dir: all of a Postgres server, also those children that
// outlive a killed postmaster and have lost it as their parent. Empty where there is no /proc.
func Within(dir string) []Process {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var found []Process
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || cwd != dir {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if p, ok := Find(pid); ok {
			found = append(found, p)
		}
	}
	return found
}

// Environ is our environment without variables of ours: a relay that is started takes an unknown CDC_RELAY_ variable, such
// as those that tests read, for a mistake, and a known one for its configuration.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CDC_RELAY_") })
}

// Detach makes cmd a server of its own: in its own session, so that no signal to our process group reaches it, and,
// where asked and we are root, as an unprivileged user. Its output must go to a file, not to a pipe of ours.
func Detach(cmd *exec.Cmd, unprivileged bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	Unprivileged(cmd, unprivileged)
}

// Unprivileged lets cmd run as user and group Nobody when asked and we are root.
func Unprivileged(cmd *exec.Cmd, asked bool) {
	if !asked || os.Geteuid() != 0 {
		return
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: Nobody, Gid: Nobody}
}

// look returns the state letter and start time of a pid, empty when there is none.
func look(pid int) (state, started string) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		// The second field is the program's name in brackets and may hold spaces and brackets itself (proc_pid_stat(5)).
		rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(rest) < 20 {
			return "", ""
		}
		return rest[0], rest[19]
	}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return "", ""
	}
	out, err := exec.CommandContext(context.Background(), "ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", ""
	}
	state, started, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return state, strings.TrimSpace(started)
}
