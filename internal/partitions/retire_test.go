package partitions_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/partitions"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

const beyond = "pg_current_wal_insert_lsn()"

func TestI10_DayIsDroppedOnlyWhenPublished(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			f := setup(t, v)
			old := day(2026, 1, 2)
			f.maintain(t, old, keepAll, func(o *partitions.Options) { o.Premake = 0 })
			f.insert(t, f.root, "old", old.Add(time.Hour))
			due := day(2026, 1, 3).Add(partitions.DefaultKeep)
			has := func(want int) {
				t.Helper()
				if n := f.count(t, "SELECT count(*) FROM pg_class WHERE relname = 'outbox_p20260102'"); n != want {
					t.Errorf("got %d tables of the day, want %d", n, want)
				}
			}
			noPremake := func(o *partitions.Options) { o.Premake = 0 }

			if r := f.maintain(t, due.Add(-time.Second), noPremake); len(r.Waiting) != 0 || len(r.Dropped) != 0 {
				t.Errorf("a second too early: got %+v", r)
			}
			// A snapshot from before, without a transaction id.
			reader := f.pg.Conn(t)
			tx, err := reader.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
			if err != nil {
				t.Fatal(err)
			}
			f.exec(t, reader, "SELECT 1")
			wantWaiting(t, f.maintain(t, due, noPremake), "outbox_p20260102", "a snapshot from before is open")
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.waitFor(t, due, waitsFor("no slot of this database has a mark"))
			f.mark(t, "one", "'0/1'")
			wantWaiting(t, f.maintain(t, due), "outbox_p20260102", "the mark of slot one is at 0/1")
			list, err := partitions.List(t.Context(), f.conn, "public.outbox")
			if err != nil || list[0].WaitsFor == 0 {
				t.Errorf("list: got %+v, %v, want the position it waits for", list[0], err)
			}
			f.mark(t, "one", beyond)
			f.mark(t, "two", "'0/2'")
			wantWaiting(t, f.maintain(t, due), "outbox_p20260102", "the mark of slot two")

			// A row that comes late begins the wait anew.
			f.insert(t, f.root, "late", old)
			f.mark(t, "two", beyond)
			wantWaiting(t, f.maintain(t, due), "outbox_p20260102", "rows were written to it lately")
			f.waitFor(t, due, waitsFor("the mark of slot"))
			has(1)
			f.mark(t, "one", beyond)
			f.mark(t, "two", beyond)
			if r := f.maintain(t, due); len(r.Dropped) != 1 || r.Dropped[0] != "public.outbox_p20260102" {
				t.Errorf("got %+v, want the day dropped", r)
			}
			has(0)
			if n := f.count(t, "SELECT count(*) FROM cdc_relay.partition_candidate"); n != 0 {
				t.Errorf("%d candidates are left", n)
			}
		})
	}
}

func waitsFor(why string) func(partitions.Report) bool {
	return func(r partitions.Report) bool {
		for _, w := range r.Waiting {
			if len(w.Why) >= len(why) && w.Why[:len(why)] == why {
				return true
			}
		}
		return false
	}
}

// A writer that stays open holds the root: DETACH gives up, and inserts go on.
func TestInsertsDoNotWaitForDetach(t *testing.T) {
	t.Parallel()
	f := setup(t)
	old, due := day(2026, 1, 2), day(2026, 1, 3).Add(partitions.DefaultKeep)
	f.maintain(t, old, keepAll, func(o *partitions.Options) { o.Premake = 0 })
	f.mark(t, "one", "'0/1'")
	f.waitFor(t, due, waitsFor("the mark of slot"))
	f.mark(t, "one", beyond)

	writer := f.pg.Conn(t)
	long, err := writer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.insert(t, writer, "long", now)
	slowest := f.whileInserting(t, now, func() {
		r := f.maintain(t, due)
		if len(r.Dropped) != 0 {
			t.Errorf("got %+v, want nothing dropped", r)
		}
		wantWaiting(t, r, "outbox_p20260102", "locked")
	})
	if slowest > time.Second {
		t.Errorf("an insert took %s, want about the lock timeout of %s", slowest, partitions.DefaultLockTimeout)
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := f.maintain(t, due); len(r.Dropped) != 1 {
		t.Errorf("got %+v, want it dropped", r)
	}
}

func TestI10_PlainTableLosesOnlyWhatIsPublished(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.exec(t, f.root, "CREATE TABLE box (id int); ALTER PUBLICATION cdc_relay ADD TABLE box; INSERT INTO box SELECT generate_series(1, 30)")
	now := day(2026, 1, 1)
	run := func(at time.Duration, rows int) partitions.Report {
		t.Helper()
		return f.maintain(t, now.Add(at), func(o *partitions.Options) {
			o.Table, o.Keep, o.DeleteRows = "public.box", time.Hour, rows
		})
	}
	f.mark(t, "one", "'0/1'")
	if r := run(0, 0); r.Deleted != 0 || len(r.Waiting) != 0 {
		t.Errorf("not asked: got %+v", r)
	}
	wantWaiting(t, run(0, 20), "box", "watched since")
	f.exec(t, f.root, "INSERT INTO box VALUES (31)")
	wantWaiting(t, run(time.Hour, 20), "box", "the mark of slot one")
	f.mark(t, "one", beyond)
	// A transaction of others in this server may have held back the first sample; a later one is as good.
	total, step := int64(0), time.Hour
	testenv.Eventually(t, 30*time.Second, func() error {
		r := run(step, 20)
		if r.Deleted > 20 {
			t.Errorf("got %+v, want 20 at most", r)
		}
		total += r.Deleted
		step += 10 * time.Minute
		f.mark(t, "one", beyond)
		if total < 30 {
			return fmt.Errorf("deleted %d", total)
		}
		return nil
	})
	left := f.count(t, "SELECT count(*) FROM box")
	if left != 31-int(total) {
		t.Errorf("deleted %d, %d left", total, left)
	}
}
