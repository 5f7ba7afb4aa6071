package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func TestRelay_CommittedRowsArriveInOrder(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := s.start()
	for i := range 20 {
		s.insert(10*i, 10, 3)
	}
	s.pg.Exec(t, `BEGIN; INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('orders', 'k1', 'No', '1'); ROLLBACK`)
	got := s.holds(200)
	if err := r.drain(); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for _, rec := range got {
		var n int
		if _, err := fmt.Sscanf(string(rec.Value), `{"n": %d}`, &n); err != nil {
			t.Fatalf("value %q: %v", rec.Value, err)
		}
		if before, seen := next[string(rec.Key)]; seen && n <= before {
			t.Errorf("I2: key %s has %d after %d", rec.Key, n, before)
		}
		next[string(rec.Key)] = n
	}
	if len(got) != 200 {
		t.Errorf("got %d records, want 200", len(got))
	}
}

func TestRelay_DrainLeavesNothingToRepeat(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i := range 3 {
		r := s.start()
		s.insert(10*i, 10, 2)
		s.holds(10 * (i + 1))
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.to.Stored()); got != 30 {
		t.Errorf("got %d records after three lives, want 30: a drained relay repeats nothing", got)
	}
}

func TestRelay_IdleOutboxHoldsNoWAL(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := s.start()
	s.pg.Exec(t, `CREATE TABLE busy (x text)`)
	for range 5 {
		s.pg.Exec(t, `INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 10000)`)
	}
	var end string
	if err := s.db.QueryRow(t.Context(), `SELECT pg_current_wal_lsn()::text`).Scan(&end); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, func() error {
		var lag int64
		err := s.db.QueryRow(t.Context(), `SELECT $1::pg_lsn - confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $2`, end, s.slot).Scan(&lag)
		if err == nil && lag > 33<<20 {
			err = fmt.Errorf("the slot is %d bytes behind", lag)
		}
		return err
	})
	if err := r.drain(); err != nil {
		t.Fatal(err)
	}
}
