package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

// Database is a fresh database of ours, in an embedded server that goes with it or in a real one. Its name is that of the
// slot and publication too.
type Database struct {
	name   string
	server string           // URL to make and drop databases by
	url    string           // of the database
	own    *postgres.Server // nil: a real one
}

// OpenDatabase makes the database in the server at that URL, or, where it is empty, in a new embedded server of a major
// version. Words about progress go to words.
func OpenDatabase(ctx context.Context, server, version, name string, words io.Writer) (*Database, error) {
	d := &Database{name: name, server: server}
	if server == "" {
		s, err := postgres.Private(ctx, version, map[string]string{"max_connections": "50", "shared_buffers": "128MB"}, words)
		if err != nil {
			return nil, fmt.Errorf("start the embedded Postgres: %w", err)
		}
		d.own, d.server = s, s.URL("postgres")
	}
	u, err := url.Parse(d.server)
	if err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("read --database: not a URL like postgres://user:password@host/database")
	}
	u.Path = "/" + name
	d.url = u.String()
	if err := execute(ctx, d.server, "CREATE DATABASE "+name); err != nil {
		return nil, errors.Join(fmt.Errorf("make a database for the demo: %w", err), d.Close(ctx))
	}
	return d, nil
}

// URL connects to the database as whoever made it.
func (d *Database) URL() string { return d.url }

// Close drops slot and database, or all of an embedded server.
func (d *Database) Close(ctx context.Context) error {
	if d.own != nil {
		if err := d.own.Remove(); err != nil {
			return fmt.Errorf("end the embedded Postgres: %w", err)
		}
		return nil
	}
	const ours = " FROM pg_replication_slots WHERE database = $1"
	_, _ = d.Terminate(ctx)
	var err error
	for range 50 { // its walsender takes a moment to let go
		if err = execute(ctx, d.server, "SELECT pg_drop_replication_slot(slot_name)"+ours, d.name); err == nil {
			break
		}
		Wait(ctx, 100*time.Millisecond)
	}
	if err := errors.Join(err, execute(ctx, d.server, "DROP DATABASE IF EXISTS "+d.name+" WITH (FORCE)")); err != nil {
		return fmt.Errorf("drop the demo's slot and database %s: %w", d.name, err)
	}
	return nil
}

// Streaming says whether a relay reads the slot. That it is active is not enough: it is so while it is being made too,
// which takes as long as the transactions that were open, and what commits until then lies before the slot.
func (d *Database) Streaming(ctx context.Context) bool {
	var n int
	err := d.query(ctx, `SELECT count(*) FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
		WHERE s.database = $1 AND s.confirmed_flush_lsn IS NOT NULL AND r.state IN ('catchup', 'streaming')`, &n)
	return err == nil && n > 0
}

// Lag returns the WAL bytes that the relay has not confirmed.
func (d *Database) Lag(ctx context.Context) (bytes int64, err error) {
	err = d.query(ctx, `SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)), 0)::bigint
		FROM pg_replication_slots WHERE database = $1`, &bytes)
	return bytes, err
}

// DeadLetters returns how many events the relay has parked.
func (d *Database) DeadLetters(ctx context.Context) (n int, err error) {
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return 0, fmt.Errorf("connect to Postgres: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM cdc_relay.dead_letter").Scan(&n); err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// Terminate ends the walsender and says how many there were.
func (d *Database) Terminate(ctx context.Context) (n int, err error) {
	err = d.query(ctx, `SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE database = $1 AND active`, &n)
	return n, err
}

// query asks for one value about the slots of our database.
func (d *Database) query(ctx context.Context, sql string, into any) error {
	conn, err := pgx.Connect(ctx, d.server)
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, sql, d.name).Scan(into); err != nil {
		return fmt.Errorf("look at the slot: %w", err)
	}
	return nil
}

func execute(ctx context.Context, url, sql string, args ...any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("run %.40q: %w", sql, err)
	}
	return nil
}

// Wait waits for d or for the end of ctx.
func Wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
