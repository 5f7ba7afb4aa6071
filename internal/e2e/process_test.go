package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// process is a `cdc-relay run`.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  string // file of its standard error
	done chan struct{}
}

// run starts the relay and waits for nothing. It is killed when the test ends.
func (s *stand) run(env ...string) *process {
	s.t.Helper()
	log, err := os.CreateTemp(s.dir, "relay-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p := &process{t: s.t, log: log.Name(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), program, "run")
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = s.environ(env), s.dir, log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		p.kill()
		if s.t.Failed() {
			s.t.Logf("the relay (pid %d) ended with %s and said:\n%s", p.cmd.Process.Pid, p.cmd.ProcessState, last(p.said(), 6000))
		}
	})
	return p
}

// start runs the relay and waits until it streams.
func (s *stand) start(env ...string) *process {
	s.t.Helper()
	p := s.run(env...)
	p.says(`"streaming"`)
	return p
}

func (p *process) said() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// says waits until the relay has said all the words, and fails when it ends before.
func (p *process) says(words ...string) {
	p.t.Helper()
	testenv.Eventually(p.t, 40*time.Second, func() error {
		over, said := p.over(), p.said()
		for _, w := range words {
			if strings.Contains(said, w) {
				continue
			}
			if over {
				p.t.Fatalf("the relay ended (%s) without saying %q:\n%s", p.cmd.ProcessState, w, last(said, 4000))
			}
			return fmt.Errorf("the relay has not said %q yet", w)
		}
		return nil
	})
}

// saysAgain waits until a word was said n times.
func (p *process) saysAgain(word string, n int) {
	p.t.Helper()
	testenv.Eventually(p.t, 40*time.Second, func() error {
		if got := strings.Count(p.said(), word); got < n {
			return fmt.Errorf("the relay has said %q %d times, want %d", word, got, n)
		}
		return nil
	})
}

// exits waits for the end of the process, and holds it to its exit code and its last words: those after "error:". -1 is a
// death by a signal.
func (p *process) exits(code int, words ...string) string {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		p.t.Fatal("the relay does not end")
	}
	said := p.said()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("got exit code %d, want %d:\n%s", got, code, last(said, 4000))
	}
	at := strings.LastIndex(said, "\nerror:")
	if len(words) > 0 && at < 0 {
		p.t.Fatalf("no error is told:\n%s", last(said, 4000))
	}
	text := said[max(at, 0):]
	for _, w := range words {
		if !strings.Contains(text, w) {
			p.t.Errorf("the operator does not read %q in:%s", w, text)
		}
	}
	p.verbsExist(text)
	return text
}

// verbsExist runs --help of each verb that an error names.
func (p *process) verbsExist(text string) {
	p.t.Helper()
	for _, m := range regexp.MustCompile("`cdc-relay ([^`]+)`").FindAllStringSubmatch(text, -1) {
		checkVerb(p.t, m[1])
	}
}

// checkVerb holds that a command line that we advise is one: its verb and its flags are known, and it takes as many arguments.
func checkVerb(t testing.TB, words string) {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), program, append(strings.Fields(words), "--help")...).CombinedOutput()
	if err != nil {
		t.Errorf("`cdc-relay %s` is advised, and there is no such verb or flag: %v", words, err)
		return
	}
	args := 0
	verbs := strings.Fields(words)
	for i, w := range verbs {
		if strings.HasPrefix(w, "-") {
			verbs = verbs[:i]
			break
		}
	}
	usage := regexp.MustCompile(`(?m)^  cdc-relay (.*)$`).FindSubmatch(out)
	if usage == nil {
		return
	}
	known := strings.Fields(string(usage[1]))
	for i, w := range verbs {
		if i < len(known) && known[i] == w {
			continue
		}
		args++
	}
	if args > 0 && !bytes.Contains(usage[1], []byte("[NAME]")) && !bytes.Contains(usage[1], []byte("POSITION")) {
		t.Errorf("`cdc-relay %s` is advised, and that verb takes no argument: %s", words, usage[1])
	}
}

// signal sends one; kill is kill -9 and waits for the end.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// drain sends SIGTERM and expects exit code 0.
func (p *process) drain() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.exits(0)
}

// peak is the most memory that the process ever had resident, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if err != nil || m == nil {
		p.t.Skipf("SKIPPED for want of /proc: %v", err)
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// admin is the address of its HTTP listener, as it says itself.
func (p *process) admin() string {
	p.t.Helper()
	p.says(`"admin":"`)
	m := regexp.MustCompile(`"admin":"([^"]+)"`).FindStringSubmatch(p.said())
	return m[1]
}

// status is /api/v1/status.
func (p *process) status() (relay.Status, error) {
	var st relay.Status
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.admin()+"/api/v1/status", nil)
	if err != nil {
		return st, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer func() { _ = resp.Body.Close() }()
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

// is waits until the status satisfies check.
func (p *process) is(check func(relay.Status) error) {
	p.t.Helper()
	testenv.Eventually(p.t, 40*time.Second, func() error {
		st, err := p.status()
		if err != nil {
			return err
		}
		return check(st)
	})
}

// verb runs another verb and holds it to its exit code and words.
func (s *stand) verb(code int, words []string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), program, args...)
	cmd.Env, cmd.Dir = s.environ(nil), s.dir
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("cdc-relay %v: got exit code %d, want %d:\n%s", args, got, code, out)
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			s.t.Errorf("cdc-relay %v does not say %q:\n%s", args, w, out)
		}
	}
	return string(out)
}
