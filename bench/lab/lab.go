package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

const (
	// Publication of the outbox.
	Publication = "cdc_relay"
	database    = "postgres"
)

// Lab is one set of servers. Its methods may be used by several goroutines.
type Lab struct {
	Postgres *postgres.Server
	Brokers  *Brokers
	Dir      string // scratch: configurations and logs of relays
	Program  string // the relay

	words io.Writer
	sysID string
}

// Open starts the servers and builds the relay, with words about progress. The caller closes it, also after an error.
func Open(ctx context.Context, version, program string, words io.Writer) (*Lab, error) {
	l := &Lab{Program: program, words: words}
	var err error
	if l.Dir, err = os.MkdirTemp("", "cdc-relay-bench-"); err != nil {
		return l, fmt.Errorf("make a folder: %w", err)
	}
	if program == "" {
		l.Say("building the relay")
		l.Program = filepath.Join(l.Dir, "cdc-relay")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", l.Program, "github.com/cdc-relay/cdc-relay/cmd/cdc-relay")
		if out, err := cmd.CombinedOutput(); err != nil {
			return l, fmt.Errorf("build the relay (run this in the project's folder, or name a program by -relay): %w\n%s", err, out)
		}
	}
	l.Say("starting Postgres %s (fsync on) and Kafka (acks=all)", version)
	// What a production server of this size would have; durability as it comes: fsync, full_page_writes and
	// synchronous_commit are on.
	l.Postgres, err = postgres.Private(ctx, version, map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "8GB", "min_wal_size": "2GB", "wal_buffers": "16MB", "max_connections": "100",
		"max_replication_slots": "50", "max_wal_senders": "50", "autovacuum_naptime": "10min", "log_checkpoints": "on",
	}, words)
	if err != nil {
		return l, fmt.Errorf("start Postgres: %w", err)
	}
	if l.Brokers, err = OpenBrokers(ctx, "", words); err != nil {
		return l, err
	}
	config := l.config("unused", "unused", "unused:1", 1)
	file := filepath.Join(l.Dir, "migrate.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return l, fmt.Errorf("write a configuration: %w", err)
	}
	cmd := exec.CommandContext(ctx, l.Program, "migrate", "up", "--config", file)
	cmd.Env, cmd.Dir = host.Environ(), l.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return l, fmt.Errorf("run cdc-relay migrate up: %w\n%s", err, out)
	}
	if err := l.Query(ctx, "SELECT system_identifier::text FROM pg_control_system()", &l.sysID); err != nil {
		return l, err
	}
	return l, nil
}

// Close ends the servers and removes what they wrote.
func (l *Lab) Close() error {
	var err error
	if l.Brokers != nil {
		err = l.Brokers.Close()
	}
	if l.Postgres != nil {
		err = errors.Join(err, l.Postgres.Remove())
	}
	return errors.Join(err, os.RemoveAll(l.Dir))
}

// Say tells of progress.
func (l *Lab) Say(format string, args ...any) {
	fmt.Fprintf(l.words, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// URL connects to the database as its superuser.
func (l *Lab) URL() string { return l.Postgres.URL(database) }

// Exec runs statements on a connection of their own; without arguments there may be several.
func (l *Lab) Exec(ctx context.Context, sql string, args ...any) error {
	return l.with(ctx, func(conn *pgx.Conn) error {
		if len(args) > 0 {
			_, err := conn.Exec(ctx, sql, args...)
			return err
		}
		return conn.PgConn().Exec(ctx, sql).Close()
	})
}

// Query asks for one value.
func (l *Lab) Query(ctx context.Context, sql string, into any, args ...any) error {
	return l.with(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(into) })
}

func (l *Lab) with(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, l.URL())
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := do(conn); err != nil {
		return fmt.Errorf("ask Postgres: %w", err)
	}
	return nil
}

// Disturbances says what the server wrote into its log about checkpoints since the last call gave that offset: they cost
// I/O and whole-page images.
func (l *Lab) Disturbances(from int64) (checkpoints int, offset int64) {
	b, err := os.ReadFile(l.Postgres.Log())
	if err != nil || from > int64(len(b)) {
		return 0, from
	}
	return strings.Count(string(b[from:]), "checkpoint starting"), int64(len(b))
}

// Wait waits for d or the end of ctx.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Poll asks until done says yes, at most for timeout.
func Poll(ctx context.Context, every, timeout time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s: not within %s", what, timeout))
	defer cancel()
	for {
		yes, err := done()
		if yes || err != nil {
			return err
		}
		if err := Wait(ctx, every); err != nil {
			return err
		}
	}
}
