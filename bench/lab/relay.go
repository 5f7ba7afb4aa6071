package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// Relay is one process of the relay.
type Relay struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	log   string
	admin string
}

// config is the smallest file that sends the outbox to one topic; all else is the default.
func (l *Lab) config(slot, topic, brokers string, admin int) string {
	return fmt.Sprintf(`database: {url: %q}
replication: {slot: %s, publication: %s}
outbox: [{table: public.outbox, topic: %s}]
sink: {kafka: {brokers: [%q]}}
admin: {listen: "127.0.0.1:%d"}
`, l.URL(), slot, Publication, topic, brokers, admin)
}

// Start starts a relay that publishes a slot to a topic. Program is that of the lab unless command names another one, to
// which the configuration file is added as last argument.
func (l *Lab) Start(ctx context.Context, slot, topic string, b *Brokers, command ...string) (*Relay, error) {
	port, err := host.Ports(0)
	if err != nil {
		return nil, fmt.Errorf("find a port for the relay: %w", err)
	}
	file := filepath.Join(l.Dir, "relay-"+host.Random())
	if err := os.WriteFile(file+".yaml", []byte(l.config(slot, topic, b.Bootstrap(), port)), 0o600); err != nil {
		return nil, fmt.Errorf("write the relay's configuration: %w", err)
	}
	log, err := os.Create(file + ".log")
	if err != nil {
		return nil, fmt.Errorf("open the relay's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	if len(command) == 0 {
		command = []string{l.Program, "run", "--config"}
	}
	r := &Relay{log: file + ".log", admin: fmt.Sprintf("http://127.0.0.1:%d", port), done: make(chan struct{})}
	r.cmd = exec.CommandContext(ctx, command[0], append(command[1:], file+".yaml")...)
	r.cmd.Env, r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = host.Environ(), l.Dir, log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the relay: %w", err)
	}
	go func() {
		_ = r.cmd.Wait() // how it ended is asked of ProcessState
		close(r.done)
	}()
	return r, nil
}

// PID of the process.
func (r *Relay) PID() int { return r.cmd.Process.Pid }

// Alive is nil while it runs, and says how it ended otherwise.
func (r *Relay) Alive() error {
	select {
	case <-r.done:
		return fmt.Errorf("the relay ended by itself (%s)\n%s", r.cmd.ProcessState, r.LastWords())
	default:
		return nil
	}
}

// Ready waits until the relay says that it streams, or stands by.
func (r *Relay) Ready(ctx context.Context, state string) error {
	return Poll(ctx, 10*time.Millisecond, 20*time.Second, "relay "+state, func() (bool, error) {
		if err := r.Alive(); err != nil {
			return false, err
		}
		text, err := r.metrics(ctx)
		return err == nil && strings.Contains(text, `state="`+state+`"} 1`), nil
	})
}

func (r *Relay) metrics(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.admin+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the relay: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", fmt.Errorf("ask the relay: %w", err)
	}
	return string(text), nil
}

// Stop drains it by SIGTERM; its exit code must be 0.
func (r *Relay) Stop() error {
	if err := r.Alive(); err != nil {
		return err
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(40 * time.Second):
		r.Kill()
		return errors.New("stop the relay: it still ran 40 s after SIGTERM")
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("stop the relay: %s\n%s", r.cmd.ProcessState, r.LastWords())
	}
	return nil
}

// Kill ends it by SIGKILL.
func (r *Relay) Kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
}

// LastWords returns the end of its log.
func (r *Relay) LastWords() string {
	b, _ := os.ReadFile(r.log)
	return string(b[max(0, len(b)-3000):])
}
