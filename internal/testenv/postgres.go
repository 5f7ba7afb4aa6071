package testenv

import (
	"cmp"
	"context"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

// PG is one fresh database. Slots, roles and walsenders that belong to it go when its test ends. Its methods may be used
// by several goroutines.
type PG struct {
	name string      // of the database
	root *url.URL    // superuser's, to this database
	up   func() bool // whether the server is there to clean up in
}

// Postgres returns a fresh database in the shared server of a major version ("14" to "18"; default: that of
// CDC_RELAY_TEST_POSTGRES, else 15). That server has wal_level=logical, room for 200 slots and 500 connections, and
// fsync=off. Other tests write to the same WAL meanwhile: a slot here sees a busy server.
func Postgres(t testing.TB, version ...string) *PG {
	t.Helper()
	if given := os.Getenv("CDC_RELAY_TEST_DATABASE_URL"); given != "" && len(version) == 0 {
		return newPG(t, given)
	}
	major := defaultVersion()
	if len(version) > 0 {
		major = version[0]
	}
	server, err := postgres.Shared(context.Background(), major, os.Stderr)
	if err != nil {
		Skip(t, "Postgres "+major, err)
	}
	return newPG(t, server.URL("postgres"))
}

func defaultVersion() string {
	return cmp.Or(os.Getenv("CDC_RELAY_TEST_POSTGRES"), postgres.DefaultVersion)
}

func newPG(t testing.TB, server string) *PG {
	t.Helper()
	return newPGIn(t, server, func() bool { return true })
}

// newPGIn makes a database; up says, when the test ends, whether the server is still there to drop it.
func newPGIn(t testing.TB, server string, up func() bool) *PG {
	t.Helper()
	root, err := url.Parse(server)
	if err != nil {
		t.Fatalf("parse the server's URL: %v", err)
	}
	admin := &PG{name: "postgres", root: root}
	p := &PG{name: "test_" + host.Random(), root: root.JoinPath(), up: up}
	p.root.Path = "/" + p.name
	admin.Exec(t, "CREATE DATABASE "+p.name)
	t.Cleanup(func() {
		if !up() {
			return
		}
		admin.dropSlots(t, "database = $1", p.name)
		admin.Exec(t, "DROP DATABASE IF EXISTS "+p.name+" WITH (FORCE)")
	})
	return p
}

// Name returns the database's name.
func (p *PG) Name() string { return p.name }

// URL connects as the superuser.
func (p *PG) URL() string { return p.root.String() }

// ReplicationURL connects as the superuser for logical replication (replication=database).
func (p *PG) ReplicationURL() string {
	u := *p.root
	q := u.Query()
	q.Set("replication", "database")
	u.RawQuery = q.Encode()
	return u.String()
}

// URLFor connects as another role.
func (p *PG) URLFor(role, password string) string {
	u := *p.root
	u.User = url.UserPassword(role, password)
	return u.String()
}

// Address returns host:port of the server: the target for a Proxy.
func (p *PG) Address() string { return p.root.Host }

// Via returns the URL with the server's address replaced: by that of a Proxy.
func (p *PG) Via(address string) string {
	u := *p.root
	u.Host = address
	return u.String()
}

// Conn returns a superuser's connection, closed when the test ends.
func (p *PG) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		t.Fatalf("connect to %s: %v", p.name, err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// ReplicationConn returns a superuser's replication connection, closed when the test ends.
func (p *PG) ReplicationConn(t testing.TB) *pgconn.PgConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, p.ReplicationURL())
	if err != nil {
		t.Fatalf("connect to %s for replication: %v", p.name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// Exec runs a statement as the superuser on a connection of its own; without arguments it may hold several. An error
// ends the test. Use Conn for many, or for a transaction.
func (p *PG) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if err := p.exec(sql, args...); err != nil {
		t.Fatalf("in %s: %v\n%s", p.name, err, sql)
	}
}

func (p *PG) exec(sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if len(args) > 0 {
		_, err = conn.Exec(ctx, sql, args...)
		return err
	}
	return conn.PgConn().Exec(ctx, sql).Close()
}

// CreateRole makes a role with LOGIN and the options given ("REPLICATION", "NOINHERIT", ...) and returns its name and a
// URL to this database. It and what it owns here go when the test ends.
func (p *PG) CreateRole(t testing.TB, options ...string) (name, url string) {
	t.Helper()
	name = "role_" + host.Random()
	p.Exec(t, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret' "+strings.Join(options, " "))
	t.Cleanup(func() {
		if p.up() {
			p.Exec(t, "DROP OWNED BY "+name+" CASCADE; DROP ROLE "+name)
		}
	})
	return name, p.URLFor(name, "secret")
}

// SlotName returns a name for a slot that nothing else in the server has. A slot of that name is dropped when the test
// ends, after its walsender was ended.
func (p *PG) SlotName(t testing.TB) string {
	t.Helper()
	name := "slot_" + host.Random()
	t.Cleanup(func() {
		if p.up() {
			p.DropSlot(t, name)
		}
	})
	return name
}

// DropSlot drops a slot of this server, ending its walsender first; none is fine.
func (p *PG) DropSlot(t testing.TB, slot string) {
	t.Helper()
	p.dropSlots(t, "slot_name = $1", slot)
}

// dropSlots tries until no slot answers the condition: a walsender takes a moment to let go, and a client that is still
// alive may take the slot again.
func (p *PG) dropSlots(t testing.TB, condition, arg string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := p.exec("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL AND "+condition, arg)
		if err == nil {
			err = p.exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE "+condition, arg)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("drop slots with %s (%s): %v", condition, arg, err)
			return
		}
		<-time.After(30 * time.Millisecond)
	}
}
