package deadletter_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// blocked waits until a statement of conn waits for a lock.
func (f *fixture) blocked(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	watch := f.pg.Conn(t)
	testenv.Eventually(t, 10*time.Second, func() error {
		var event *string
		err := watch.QueryRow(t.Context(), "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1", conn.PgConn().PID()).Scan(&event)
		if err == nil && (event == nil || *event != "Lock") {
			err = fmt.Errorf("backend %d does not wait for a lock", conn.PgConn().PID())
		}
		return err
	})
}

// begin opens a transaction on conn, so that a store over it commits when the test says so.
func begin(t *testing.T, conn *pgx.Conn) (commit func()) {
	t.Helper()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("BEGIN")
	return func() { t.Helper(); exec("COMMIT") }
}

// A row is parked and not yet committed while the owner reports the key's last row: the release waits, sees it, and does
// not happen.
func TestI2_ReleaseWaitsForParking(t *testing.T) {
	t.Parallel()
	f := setup(t)
	parkConn, doneConn := f.conn(t), f.conn(t)
	parker, publisher := deadletter.NewStore(parkConn, f.slot), deadletter.NewStore(doneConn, f.slot)
	filed := f.park(t, parker, letter("k1", pos(0x2000, 0)))
	if _, err := publisher.Requeue(t.Context(), deadletter.Selection{IDs: []int64{filed[0].ID}}, by); err != nil {
		t.Fatal(err)
	}
	letters := pending(t, publisher)

	commit := begin(t, parkConn)
	f.park(t, parker, letter("k1", pos(0x2000, 1)))
	released := make(chan []deadletter.Key, 1)
	go func() {
		keys, err := publisher.Done(t.Context(), f.pid, []deadletter.Result{{ID: letters[0].ID, Outcome: deadletter.Published}})
		if err != nil {
			t.Error(err)
		}
		released <- keys
	}()
	f.blocked(t, doneConn)
	commit()
	if keys := <-released; len(keys) != 0 {
		t.Errorf("released %v, with a row parked behind it", keys)
	}
	wantCounts(t, parker, deadletter.Counts{Unresolved: 1, Keys: 1})
}

// The contrary: a row that is parked while a release is not yet committed waits, and parks the key anew.
func TestI2_ParkingWaitsForRelease(t *testing.T) {
	t.Parallel()
	f := setup(t)
	parkConn, doneConn := f.conn(t), f.conn(t)
	parker, publisher := deadletter.NewStore(parkConn, f.slot), deadletter.NewStore(doneConn, f.slot)
	f.park(t, parker, letter("k1", pos(0x2000, 0)))
	if _, err := publisher.Requeue(t.Context(), deadletter.Selection{All: true}, by); err != nil {
		t.Fatal(err)
	}
	letters := pending(t, publisher)

	commit := begin(t, doneConn)
	if keys := f.done(t, publisher, deadletter.Published, letters...); len(keys) != 1 {
		t.Errorf("released %v, want k1", keys)
	}
	filed := make(chan []deadletter.Filed, 1)
	go func() {
		got, err := parker.Park(t.Context(), f.pid, []deadletter.Letter{letter("k1", pos(0x2000, 1))})
		if err != nil {
			t.Error(err)
		}
		filed <- got
	}()
	f.blocked(t, parkConn)
	commit()
	wantFiled(t, <-filed, deadletter.Parked) // the key that drained is gone, and with it its draining
	wantCounts(t, parker, deadletter.Counts{Unresolved: 1, Keys: 1})
}

// An operator asks for the whole key while a row of it is being parked: the request waits and takes that row too.
func TestRequeueOfAKeyWaitsForParking(t *testing.T) {
	t.Parallel()
	f := setup(t)
	parkConn, verbConn := f.conn(t), f.conn(t)
	parker, operator := deadletter.NewStore(parkConn, f.slot), deadletter.NewStore(verbConn, f.slot)
	f.park(t, parker, letter("k1", pos(0x2000, 0)))
	commit := begin(t, parkConn)
	f.park(t, parker, letter("k1", pos(0x2000, 1)))
	marked := make(chan deadletter.Marking, 1)
	go func() {
		m, err := operator.Requeue(t.Context(), deadletter.Selection{Key: &deadletter.Key{Topic: "orders", Key: []byte("k1")}}, by)
		if err != nil {
			t.Error(err)
		}
		marked <- m
	}()
	f.blocked(t, verbConn)
	commit()
	if m := <-marked; m.Marked != 2 {
		t.Errorf("got %+v, want both rows marked", m)
	}
}

func BenchmarkCounts(b *testing.B) {
	pg := testenv.Postgres(b)
	conn := pg.Conn(b)
	s := deadletter.NewStore(conn, "bench")
	migrate(b, conn, "")
	pg.Exec(b, `INSERT INTO cdc_relay.dead_letter (slot, incarnation, era, commit_lsn, idx, lane, topic, key, reason, state)
		SELECT 'bench', 'inc', 1, '0/2000', i, cdc_relay.lane_v1('t', i::text::bytea), 't', i::text::bytea, 'too_large', 'parked'
		FROM generate_series(1, 10000) i`)
	pg.Exec(b, `INSERT INTO cdc_relay.parked_key (slot, lane, topic, key) SELECT slot, lane, topic, key FROM cdc_relay.dead_letter`)
	pg.Exec(b, "VACUUM ANALYZE cdc_relay.dead_letter")
	pg.Exec(b, "VACUUM ANALYZE cdc_relay.parked_key")
	for b.Loop() {
		if _, err := s.Counts(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
