package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// Superuser and its password, on every server that Create makes.
const (
	Superuser = "postgres"
	Password  = "postgres"
)

// errEnded stands for a postmaster that ended with code 0 while it should have started.
var errEnded = errors.New("exit status 0")

// startTimeout bounds a start, crash recovery of a few hundred MB of WAL included.
const startTimeout = 60 * time.Second

// Server is one cluster in a folder and, while it runs, its processes. Safe for one goroutine at a time. What is needed
// to find it again stands in server.json in its folder.
type Server struct {
	Dir     string            `json:"-"`       // holds data, log and server.json
	Version string            `json:"version"` // major version
	Bin     string            `json:"bin"`     // folder of its programs
	Port    int               `json:"port"`    // on 127.0.0.1, the same for its whole life
	Params  map[string]string `json:"params"`  // settings given on the command line
	Main    host.Process      `json:"main"`    // the postmaster last started
	Owner   host.Process      `json:"owner"`   // whose death makes it an orphan; zero: nobody's
}

// Create installs a major version where that is needed and runs initdb for a new cluster in dir, which must not hold
// one. Params are settings as in postgresql.conf, without quotes; wal_level=logical is set unless they say otherwise.
func Create(dir, major string, params map[string]string, w io.Writer) (*Server, error) {
	bin, err := Install(major, w)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		"wal_level": "logical", "max_replication_slots": "20", "max_wal_senders": "20", "max_prepared_transactions": "20",
		"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "log_line_prefix": "%m [%p] %q%a@%d ", "log_statement": "none",
		"timezone": "UTC", "log_timezone": "UTC", "shared_buffers": "64MB",
	}
	maps.Copy(all, params)
	port, err := host.Ports(0)
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, Version: major, Bin: bin, Port: port, Params: all}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the server's folder: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, host.Nobody, host.Nobody); err != nil {
			return nil, fmt.Errorf("give the server's folder to user %d: %w", host.Nobody, err)
		}
	}
	if err := s.initdb(); err != nil {
		return nil, err
	}
	return s, s.save()
}

func (s *Server) initdb() error {
	secret := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o644); err != nil {
		return fmt.Errorf("write the superuser's password: %w", err)
	}
	cmd := s.command("initdb", "-D", s.DataDir(), "-U", Superuser, "-A", "scram-sha-256", "--pwfile", secret,
		"--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions")
	host.Unprivileged(cmd, true)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run initdb in %s: %w\n%s", s.Dir, err, out)
	}
	return nil
}

// command is one of the server's programs in an environment of its own: the caller's PGPORT or LC_ALL change nothing.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.Bin, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "LC_ALL=C", "TZ=UTC"}
	cmd.Dir = s.Dir
	return cmd
}

// Open returns the server that was created in dir, running or not.
func Open(dir string) (*Server, error) {
	b, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if err != nil {
		return nil, fmt.Errorf("open server: %w", err)
	}
	s := &Server{Dir: dir}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("open server in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Server) save() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("remember server in %s: %w", s.Dir, err)
	}
	tmp := filepath.Join(s.Dir, "server.json.new")
	if err := errors.Join(os.WriteFile(tmp, b, 0o644), os.Rename(tmp, filepath.Join(s.Dir, "server.json"))); err != nil {
		return fmt.Errorf("remember server in %s: %w", s.Dir, err)
	}
	return nil
}

// Own binds the server's life to the calling process: once that is dead, Reap ends the server.
func (s *Server) Own() error {
	s.Owner = host.Self()
	return s.save()
}

// DataDir is the cluster's data folder.
func (s *Server) DataDir() string { return filepath.Join(s.Dir, "data") }

// Log is the file of the server's log.
func (s *Server) Log() string { return filepath.Join(s.Dir, "log") }

// URL connects as the superuser to a database of the server.
func (s *Server) URL(database string) string { return s.URLFor(Superuser, Password, database) }

// URLFor connects as another role.
func (s *Server) URLFor(role, password, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", role, password, s.Port, database)
}

// Start starts the server and returns when it takes connections, crash recovery included. A running one is left alone.
// It outlives the caller.
func (s *Server) Start(ctx context.Context) error {
	if s.Main.Alive() {
		return nil
	}
	s.awaitGone(20 * time.Second)
	// Postgres takes the pid in a left-over lock file for a live server when a zombie or a stranger has that pid now.
	if err := os.Remove(filepath.Join(s.DataDir(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a stale lock file: %w", err)
	}
	args := []string{"-D", s.DataDir(), "-p", fmt.Sprint(s.Port)}
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		args = append(args, "-c", name+"="+s.Params[name])
	}
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := s.command("postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	host.Detach(cmd, true)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start Postgres %s: %w", s.Version, err)
	}
	s.Main, _ = host.Find(cmd.Process.Pid)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // reaps it while we live; whoever inherits it does afterwards
	if err := s.save(); err != nil {
		return err
	}
	return s.awaitReady(ctx, done)
}

func (s *Server) awaitReady(ctx context.Context, done <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.Ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case end := <-done:
			return fmt.Errorf("start Postgres %s on port %d: it ended (%w)\n%s", s.Version, s.Port, cmp.Or(end, errEnded), tail(s.Log()))
		case <-ctx.Done():
			return fmt.Errorf("start Postgres %s on port %d: %w\n%s", s.Version, s.Port, err, tail(s.Log()))
		case <-tick.C:
		}
	}
}

// Ping makes one connection and asks a question, within two seconds.
func (s *Server) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return fmt.Errorf("ping server: %w", err)
	}
	_, err = conn.Exec(ctx, "SELECT 1")
	return errors.Join(err, conn.Close(ctx))
}

// Running says whether the postmaster that we started is still there (it may be frozen).
func (s *Server) Running() bool { return s.Main.Alive() }

// Stop ends the server in an orderly way (fast shutdown: sessions are ended, a checkpoint is written). It waits for
// walsenders, which wait for their receivers: after 30 s it kills.
func (s *Server) Stop() error { return s.end(syscall.SIGINT, 30*time.Second) }

// Kill9 kills the postmaster as a crash of the machine's Postgres would, and waits until its children have gone too.
func (s *Server) Kill9() error { return s.end(syscall.SIGKILL, 0) }

func (s *Server) end(sig syscall.Signal, patience time.Duration) error {
	if s.Main.Alive() {
		s.Thaw()
		if err := s.Main.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if sig != syscall.SIGKILL && !s.Main.Await(patience) {
			if err := s.Main.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		}
		s.Main.Await(10 * time.Second)
	}
	s.awaitGone(10 * time.Second)
	return nil
}

// awaitGone waits until no process works in the data folder, and kills those that are left after the timeout.
func (s *Server) awaitGone(timeout time.Duration) {
	deadline := time.Now().Add(timeout)
	for _, p := range host.Within(s.DataDir()) {
		_ = p.Signal(syscall.SIGCONT)
		if !p.Await(time.Until(deadline)) {
			_ = p.Signal(syscall.SIGKILL)
			p.Await(time.Second)
		}
	}
}

// Restart stops and starts.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Freeze stops every process of the server with SIGSTOP: connections stay open and nobody answers.
func (s *Server) Freeze() { s.signalAll(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signalAll(syscall.SIGCONT) }

func (s *Server) signalAll(sig syscall.Signal) {
	_ = s.Main.Signal(sig) // the postmaster first, so that it starts no child meanwhile
	for _, p := range host.Within(s.DataDir()) {
		_ = p.Signal(sig)
	}
}

// Remove ends the server without ceremony and deletes its folder.
func (s *Server) Remove() error {
	if err := s.Kill9(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("remove server: %w", err)
	}
	return nil
}

func tail(file string) string {
	b, _ := os.ReadFile(file)
	return string(b[max(0, len(b)-2000):])
}
