package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func TestPostgresIsFreshAndLogical(t *testing.T) {
	t.Parallel()
	a, b := testenv.Postgres(t), testenv.Postgres(t)
	if a.Name() == b.Name() {
		t.Fatalf("two databases are called %s", a.Name())
	}
	a.Exec(t, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
	var level string
	if err := a.Conn(t).QueryRow(t.Context(), "SHOW wal_level").Scan(&level); err != nil || level != "logical" {
		t.Fatalf("wal_level: got %q, %v, want logical", level, err)
	}
	if _, err := b.Conn(t).Exec(t.Context(), "SELECT * FROM t"); err == nil {
		t.Fatal("a table of one database is seen in the other")
	}
	_, url := a.CreateRole(t, "REPLICATION")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect as the new role: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostgresLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	watch := testenv.Postgres(t).Conn(t)
	var database, slot, role string
	t.Run("a test that streams", func(t *testing.T) {
		pg := testenv.Postgres(t)
		database, slot = pg.Name(), pg.SlotName(t)
		role, _ = pg.CreateRole(t)
		pg.Exec(t, "CREATE TABLE t (id int); CREATE PUBLICATION p FOR TABLE t")
		repl := pg.ReplicationConn(t)
		if _, err := pglogrepl.CreateReplicationSlot(t.Context(), repl, slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{}); err != nil {
			t.Fatal(err)
		}
		err := pglogrepl.StartReplication(t.Context(), repl, slot, 0, pglogrepl.StartReplicationOptions{
			PluginArgs: []string{"proto_version '1'", "publication_names 'p'"},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	var left int
	err := watch.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_database WHERE datname = $1)
		+ (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $2) + (SELECT count(*) FROM pg_roles WHERE rolname = $3)`,
		database, slot, role).Scan(&left)
	if err != nil || left != 0 {
		t.Fatalf("left behind by the test: got %d things, %v, want 0", left, err)
	}
}

func TestServerSurvivesKillFreezeAndRestart(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"max_connections": "33"})
	pg := srv.Database(t)
	pg.Exec(t, "CREATE TABLE t (id int)")
	for i, bad := range []func(){srv.Kill9, srv.Stop, srv.Kill9} {
		pg.Exec(t, "INSERT INTO t VALUES ($1)", i)
		bad()
		if srv.Running() {
			t.Fatal("it still runs")
		}
		srv.Start()
	}
	srv.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(ctx, srv.URL("postgres")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connect to a frozen server: got %v, want a timeout", err)
	}
	srv.Thaw()
	testenv.Eventually(t, 5*time.Second, func() error {
		var rows, connections int
		if err := pg.Conn(t).QueryRow(t.Context(), "SELECT count(*), current_setting('max_connections')::int FROM t").Scan(&rows, &connections); err != nil {
			return err
		}
		if rows != 3 || connections != 33 {
			return fmt.Errorf("got %d rows and %d connections, want 3 and 33", rows, connections)
		}
		return nil
	})
}
