package replication_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/replication"
)

// everyVersion runs f against Postgres 14 to 18.
func everyVersion(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	versions(t, f, "14", "15", "16", "17", "18")
}

// versions is everyVersion for what differs little between them and takes long.
func versions(t *testing.T, f func(t *testing.T, b *bed), majors ...string) {
	t.Helper()
	t.Parallel()
	for _, version := range majors {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, newBed(t, version))
		})
	}
}

// bed is a fresh database with an outbox, its publication and a role that may replicate.
type bed struct {
	pg      *testenv.PG
	version string
	name    string // of slot, publication and role
	db      *pgx.Conn
}

func newBed(t testing.TB, version string) *bed {
	t.Helper()
	return newBedIn(t, testenv.Postgres(t, version), version)
}

func newBedIn(t testing.TB, pg *testenv.PG, version string) *bed {
	t.Helper()
	b := &bed{pg: pg, version: version, name: pg.Name(), db: pg.Conn(t)}
	pg.Exec(t, `CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL DEFAULT current_date, key text, payload text) PARTITION BY RANGE (at);
		CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;
		CREATE TABLE other (id int, payload text);`)
	if err := replication.CreatePublication(context.Background(), b.db, b.name, []string{"public.outbox"}, ""); err != nil {
		t.Fatal(err)
	}
	pg.Exec(t, fmt.Sprintf(`CREATE ROLE %s LOGIN REPLICATION PASSWORD 'geheim'`, b.name))
	t.Cleanup(func() { _, _ = b.db.Exec(context.Background(), "DROP ROLE "+b.name) })
	return b
}

func (b *bed) config(change ...func(*pgconn.Config)) replication.Config {
	conn := func(context.Context) (*pgconn.Config, error) {
		cfg, err := pgconn.ParseConfig(b.pg.URLFor(b.name, "geheim"))
		if err != nil {
			return nil, err
		}
		for _, c := range change {
			c(cfg)
		}
		return cfg, nil
	}
	return replication.NewConfig(conn, b.name, b.name)
}

func (b *bed) connect(t testing.TB) *replication.Conn {
	t.Helper()
	conn, err := replication.Connect(context.Background(), b.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (b *bed) createSlot(t testing.TB) pglogrepl.LSN {
	t.Helper()
	conn := b.connect(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	point, err := conn.CreateSlot(ctx, b.name, false)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(ctx)
	return point
}

func (b *bed) stream(t testing.TB, from pglogrepl.LSN) *replication.Stream {
	t.Helper()
	var s *replication.Stream
	conn := b.connect(t)
	testenv.Eventually(t, 5*time.Second, func() (err error) { // the one before may still be going
		s, err = conn.Start(context.Background(), from)
		return err
	})
	return s
}

func (b *bed) insert(t testing.TB, n int) {
	t.Helper()
	b.pg.Exec(t, fmt.Sprintf("INSERT INTO outbox (key, payload) SELECT 'k', repeat('x', 100) FROM generate_series(1, %d)", n))
}

func (b *bed) slot(t testing.TB) *replication.Slot {
	t.Helper()
	slot, err := replication.LookSlot(context.Background(), b.db, b.name)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// commits reads n transactions and returns their end LSNs and how many rows came.
func commits(t testing.TB, s *replication.Stream, n int) (ends []pglogrepl.LSN, rows int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for len(ends) < n {
		m, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d commits and %d rows: %v", len(ends), rows, err)
		}
		if m.Kind != replication.XLog {
			continue
		}
		switch m.Data[0] {
		case 'I':
			rows++
		case 'C':
			parsed, err := pglogrepl.Parse(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			c := parsed.(*pglogrepl.CommitMessage)
			if c.TransactionEndLSN != m.WALStart {
				t.Errorf("Commit lies at %s and ends at %s: want the same (Confirm relies on it)", m.WALStart, c.TransactionEndLSN)
			}
			ends = append(ends, c.TransactionEndLSN)
		}
	}
	return ends, rows
}
