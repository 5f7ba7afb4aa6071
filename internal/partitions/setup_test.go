package partitions_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/partitions"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
)

var versions = []string{"14", "15", "16", "17", "18"}

// fixture is a migrated database; conn speaks as the relay's role, in a zone and a style of dates that are not UTC's.
type fixture struct {
	pg   *testenv.PG
	conn *pgx.Conn
	root *pgx.Conn // the superuser
	url  string
}

func setup(t *testing.T, version ...string) *fixture {
	t.Helper()
	pg := testenv.Postgres(t, version...)
	role, url := pg.CreateRole(t, "REPLICATION")
	o := migrations.NewOptions()
	o.RelayRole = role
	root := pg.Conn(t)
	if _, err := migrations.Up(t.Context(), root, o); err != nil {
		t.Fatal(err)
	}
	f := &fixture{pg: pg, root: root, url: url}
	f.conn = f.connect(t)
	f.exec(t, f.conn, "SET TimeZone = 'America/New_York'; SET DateStyle = 'German'")
	return f
}

func (f *fixture) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (f *fixture) exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

func (f *fixture) insert(t *testing.T, conn *pgx.Conn, id string, at time.Time) {
	t.Helper()
	f.exec(t, conn, `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload, created_at)
		VALUES ('order', $1, 'made', '{}', $2)`, id, at)
}

func (f *fixture) count(t *testing.T, sql string) (n int) {
	t.Helper()
	if err := f.root.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return n
}

// mark writes a mark for a slot; lsn is SQL.
func (f *fixture) mark(t *testing.T, slot, lsn string) {
	t.Helper()
	f.exec(t, f.root, `INSERT INTO cdc_relay.checkpoint (slot, publication, state, nonce, system_id, incarnation, fingerprint,
		timeline, lsn, horizon_xid, horizon_lsn) VALUES ('`+slot+`', 'cdc_relay', 'ready', '', '1', 'inc', '', 1, `+lsn+`, '3', '0/0')
		ON CONFLICT (slot) DO UPDATE SET lsn = excluded.lsn`)
}

func (f *fixture) maintain(t *testing.T, now time.Time, change ...func(*partitions.Options)) partitions.Report {
	t.Helper()
	o := partitions.NewOptions("public.outbox")
	o.Now = now
	for _, c := range change {
		c(&o)
	}
	r, err := partitions.Maintain(t.Context(), f.conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func keepAll(o *partitions.Options) { o.Keep = 0 }

func day(year int, month time.Month, d int) time.Time {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
}

func wantWaiting(t *testing.T, r partitions.Report, what, why string) {
	t.Helper()
	for _, w := range r.Waiting {
		if strings.Contains(w.What, what) && strings.Contains(w.Why, why) {
			return
		}
	}
	t.Errorf("got %+v, want %q waiting for %q", r, what, why)
}

// waitFor maintains until done says yes: a shared server has transactions of others in it.
func (f *fixture) waitFor(t *testing.T, now time.Time, done func(partitions.Report) bool) partitions.Report {
	t.Helper()
	var r partitions.Report
	testenv.Eventually(t, 30*time.Second, func() error {
		if r = f.maintain(t, now); !done(r) {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	return r
}
