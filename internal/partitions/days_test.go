package partitions_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/partitions"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func TestDaysAreUTCAcrossDST(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			f := setup(t, v)
			// New York's clocks go forward on 8 March 2026 and Berlin's on the 29th.
			r := f.maintain(t, time.Date(2026, 3, 6, 23, 30, 0, 0, time.FixedZone("", -5*3600)), keepAll, func(o *partitions.Options) { o.Premake = 25 })
			if len(r.Made) != 26 || r.PremadeDays != 25 || r.DefaultRows != 0 {
				t.Errorf("got %+v, want 26 made, 25 ahead", r)
			}
			if r.Made[0] != "public.outbox_p20260307" {
				t.Errorf("first: got %s, want the UTC day", r.Made[0])
			}
			list, err := partitions.List(t.Context(), f.conn, "public.outbox")
			if err != nil || !list[len(list)-1].Default {
				t.Fatalf("got %+v, %v, want the default partition last", list, err)
			}
			for i, p := range list[:26] {
				if want := day(2026, 3, 7+i); !p.From.Equal(want) || p.To.Sub(p.From) != 24*time.Hour {
					t.Errorf("%s: got %s to %s, want from %s a day", p.Name, p.From, p.To, want)
				}
			}
			f.insert(t, f.root, "edge", day(2026, 3, 9).Add(-time.Microsecond))
			if n := f.count(t, "SELECT count(*) FROM outbox_p20260308"); n != 1 {
				t.Errorf("last moment of the day: got %d rows", n)
			}
			if r = f.maintain(t, day(2026, 3, 7), keepAll); len(r.Made) != 0 || len(r.Waiting) != 0 {
				t.Errorf("again: got %+v", r)
			}
		})
	}
}

// One stream decodes rows before, while and after they move: each is sent once, and rows that come into the new partition
// are sent too (14 passes over them in silence when it has seen the table before it was attached).
func TestMovedRowsAreNotPublishedAgain(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			f := setup(t, v)
			slot := f.pg.SlotName(t)
			f.exec(t, f.root, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot)
			f.exec(t, f.root, "ALTER TABLE outbox ADD COLUMN extra text DEFAULT 'x', DROP COLUMN topic")
			now := time.Now().UTC()
			missed := now.AddDate(0, 0, -2)
			for range 50 {
				f.insert(t, f.root, "a", missed)
				f.insert(t, f.root, "b", missed.AddDate(0, 0, -1))
			}
			f.insert(t, f.root, "today", now)
			r := f.maintain(t, now, keepAll)
			want := []partitions.Move{
				{Partition: "public.outbox_p" + missed.AddDate(0, 0, -1).Format("20060102"), Rows: 50},
				{Partition: "public.outbox_p" + missed.Format("20060102"), Rows: 50},
			}
			if !reflect.DeepEqual(r.Moved, want) || r.DefaultRows != 0 || len(r.Waiting) != 0 {
				t.Errorf("got %+v, want %v moved", r, want)
			}
			f.insert(t, f.root, "late", missed)
			f.insert(t, f.root, "today", now)

			if n := f.count(t, "SELECT count(*) FROM outbox"); n != 103 {
				t.Errorf("rows: got %d, want 103", n)
			}
			if n := f.count(t, "SELECT count(*) FROM pg_class WHERE relname LIKE 'outbox%' AND relpersistence <> 'p'"); n != 0 {
				t.Errorf("%d tables are not logged", n)
			}
			sent := f.count(t, `SELECT count(*) FROM pg_logical_slot_peek_binary_changes('`+slot+`', NULL, NULL,
				'proto_version', '1', 'publication_names', 'cdc_relay') WHERE get_byte(data, 0) = ascii('I')`)
			if sent != 103 {
				t.Errorf("published: got %d inserts, want 103", sent)
			}
		})
	}
}

func TestDayThatIsBeingWrittenIsLeftUntilItIsOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	today := day(2040, 5, 5)
	f.insert(t, f.root, "missed", today.AddDate(0, 0, -2))
	f.insert(t, f.root, "now", today.Add(time.Hour))
	f.insert(t, f.root, "ahead", today.AddDate(0, 0, 3))
	writer := f.connect(t) // a writer of today that stays open does not hold up the days ahead
	f.exec(t, f.root, "GRANT INSERT ON outbox TO PUBLIC")
	r := f.maintain(t, today.Add(2*time.Hour), keepAll)
	if len(r.Moved) != 0 || len(r.Made) != 6 || r.DefaultRows != 3 || r.PremadeDays != 2 {
		t.Errorf("got %+v, want six days made and nothing moved", r)
	}
	for _, what := range []string{"2040-05-05", "2040-05-03", "2040-05-08"} {
		wantWaiting(t, r, what, "when today is over")
	}
	f.insert(t, writer, "now", today.Add(time.Hour))

	wantWaiting(t, f.maintain(t, today.AddDate(0, 0, 1).Add(partitions.Settle-time.Second), keepAll), "2040-05-05", "after its end")
	r = f.maintain(t, today.AddDate(0, 0, 1).Add(partitions.Settle), keepAll)
	if len(r.Moved) != 1 || r.DefaultRows != 0 || len(r.Waiting) != 0 {
		t.Errorf("the day after: got %+v, want the day moved", r)
	}
	if n := f.count(t, "SELECT count(*) FROM outbox_p20400503") + f.count(t, "SELECT count(*) FROM outbox_p20400508"); n != 2 {
		t.Errorf("rows of the other days: got %d, want 2", n)
	}
	if n := f.count(t, "SELECT count(*) FROM outbox_p20400505"); n != 2 {
		t.Errorf("rows of the day: got %d, want 2", n)
	}
}

// A reader holds the default partition: ATTACH gives up, and inserts go on all the time.
func TestInsertsDoNotWaitForAttach(t *testing.T) {
	t.Parallel()
	f := setup(t)
	now := time.Now().UTC()
	reader := f.pg.Conn(t)
	tx, err := reader.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM ONLY outbox_default"); err != nil {
		t.Fatal(err)
	}
	writer := f.pg.Conn(t)
	long, err := writer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.insert(t, writer, "long", now)

	slowest := f.whileInserting(t, now, func() {
		r := f.maintain(t, now, keepAll, func(o *partitions.Options) { o.Premake = 9 })
		if len(r.Made) != 0 || r.PremadeDays != 7 {
			t.Errorf("got %+v, want nothing made", r)
		}
		wantWaiting(t, r, now.AddDate(0, 0, 8).Format(time.DateOnly), "locked")
	})
	if slowest > time.Second {
		t.Errorf("an insert took %s", slowest)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The writer alone is no hindrance.
	if r := f.maintain(t, now, keepAll, func(o *partitions.Options) { o.Premake = 9 }); len(r.Made) != 2 || r.PremadeDays != 9 {
		t.Errorf("got %+v, want two made", r)
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// whileInserting runs what while another connection inserts without a pause, and returns how long its slowest insert took.
func (f *fixture) whileInserting(t *testing.T, at time.Time, what func()) (slowest time.Duration) {
	t.Helper()
	conn := f.pg.Conn(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	started := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			from := time.Now()
			_, err := conn.Exec(t.Context(), `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload, created_at)
				VALUES ('order', 'x', 'made', '{}', $1)`, at)
			if err != nil {
				t.Errorf("insert: %v", err)
				return
			}
			slowest = max(slowest, time.Since(from))
			if i == 0 {
				close(started)
			}
		}
	}()
	<-started
	what()
	stop()
	<-ended
	return slowest
}

func TestTwoAtOnceDoNoHarm(t *testing.T) {
	t.Parallel()
	f := setup(t)
	now := day(2040, 1, 1).Add(partitions.Settle)
	f.insert(t, f.root, "missed", now.AddDate(0, 0, -1))
	other := f.connect(t)
	o := partitions.NewOptions("public.outbox")
	o.Now, o.Keep = now, 0
	done := make(chan error)
	go func() {
		_, err := partitions.Maintain(t.Context(), other, o)
		done <- err
	}()
	f.maintain(t, now, keepAll)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r := f.maintain(t, now, keepAll); r.PremadeDays != 7 || len(r.Waiting) != 0 || r.DefaultRows != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestOnlyTheOwnerAndOnlyOutboxes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.exec(t, f.root, `CREATE TABLE other (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE listed (at int) PARTITION BY RANGE (at);
		ALTER PUBLICATION cdc_relay ADD TABLE listed`)
	o := partitions.NewOptions("public.outbox")
	o.Now, o.Slot, o.WalsenderPID = day(2040, 1, 1), "cdc_relay", 1
	if _, err := partitions.Maintain(t.Context(), f.conn, o); !errors.Is(err, partitions.ErrFenced) {
		t.Errorf("a stranger: got %v, want ErrFenced", err)
	}
	if _, err := partitions.Maintain(t.Context(), f.conn, partitions.NewOptions("public.other")); !errors.Is(err, partitions.ErrNotOutbox) {
		t.Errorf("another table: got %v, want ErrNotOutbox", err)
	}
	if _, err := partitions.List(t.Context(), f.conn, "public.other"); !errors.Is(err, partitions.ErrNotOutbox) {
		t.Errorf("list of another table: got %v, want ErrNotOutbox", err)
	}
	if _, err := partitions.Maintain(t.Context(), f.conn, partitions.NewOptions("public.listed")); !errors.Is(err, partitions.ErrLayout) {
		t.Errorf("partitioned by a number: got %v, want ErrLayout", err)
	}
	if _, err := partitions.Maintain(t.Context(), f.conn, partitions.Options{}); err == nil {
		t.Error("options without anything were accepted")
	}
}

// Why a day that is being written is left alone: this is what Postgres does to an INSERT that waits for the default
// partition while its day is attached.
func TestInsertThatWaitsForTheDefaultPartitionFailsWhenItsDayIsAttached(t *testing.T) {
	t.Parallel()
	f := setup(t)
	at := day(2040, 5, 5)
	f.exec(t, f.root, "BEGIN; LOCK TABLE outbox_default IN ACCESS EXCLUSIVE MODE")
	writer := f.pg.Conn(t)
	failed := make(chan error, 1)
	go func() {
		_, err := writer.Exec(t.Context(), `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload, created_at)
			VALUES ('order', 'x', 'made', '{}', $1)`, at)
		failed <- err
	}()
	watch := f.pg.Conn(t)
	testenv.Eventually(t, 10*time.Second, func() error {
		var waits bool
		err := watch.QueryRow(t.Context(), "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", writer.PgConn().PID()).Scan(&waits)
		if err == nil && !waits {
			err = errors.New("the insert does not wait")
		}
		return err
	})
	f.exec(t, f.root, "SELECT cdc_relay.partition_make_v1('', NULL, 'public.outbox', '2040-05-05')")
	f.exec(t, f.root, "COMMIT")
	var pg *pgconn.PgError
	if err := <-failed; !errors.As(err, &pg) || pg.Code != "23514" {
		t.Errorf("got %v, want a check violation", err)
	}
}
