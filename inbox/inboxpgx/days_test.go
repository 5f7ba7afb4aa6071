package inboxpgx_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// idOf is a v7 id of a day, so many days from today.
func idOf(days, n int) string {
	var u inbox.UID
	ms := time.Now().UTC().Truncate(24*time.Hour).Add(time.Duration(days)*24*time.Hour).UnixMilli() + int64(n)
	binary.BigEndian.PutUint64(u[:8], uint64(ms)<<16)
	u[6], u[8] = 0x70, 0x80
	return u.String()
}

func done(context.Context, pgx.Tx, *inbox.Message) error { return nil }

func want(t *testing.T, store *inboxpgx.Store, m *inbox.Message, want inbox.Outcome) {
	t.Helper()
	if o, err := inbox.Process(t.Context(), store, "c", m, done); o != want || err != nil {
		t.Errorf("%s: %v, %v; want %v", m.ID, o, err, want)
	}
}

func dayOf(t *testing.T, pg *testenv.PG, id string) (days int) {
	t.Helper()
	if err := pg.Conn(t).QueryRow(t.Context(), "SELECT day - (now() AT TIME ZONE 'UTC')::date FROM cdc_inbox.claimed WHERE id = $1::text::uuid", id).Scan(&days); err != nil {
		t.Fatal(err)
	}
	return days
}

// A v7 id is claimed under its own day; one whose clock is wrong, and any other, under today. None fails, each copy is known.
func TestDays(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	const v4 = "7b0f8d7e-3b0a-4a49-9a53-2f8f6d0c1a11"
	for _, c := range []struct {
		id  string
		day int
	}{
		{idOf(0, 1), 0},
		{idOf(-3, 1), -3},
		{idOf(-8, 1), -8},
		{idOf(1, 1), 1},
		{idOf(-9, 1), 0},
		{idOf(-4000, 1), 0},
		{idOf(2, 1), 0},
		{idOf(100000, 1), 0},
		{v4, 0},
	} {
		want(t, store, message(c.id), inbox.Processed)
		if d := dayOf(t, pg, c.id); d != c.day {
			t.Errorf("%s is claimed under day %d, want %d", c.id, d, c.day)
		}
		want(t, store, message(c.id), inbox.Duplicate)
	}
}

// Ids that have no day of their own are found under whichever day they were claimed.
func TestClaimedOnAnotherDay(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	const v4 = "7b0f8d7e-3b0a-4a49-9a53-2f8f6d0c1a11"
	old := idOf(-9, 1) // claimed when its day was still kept
	early := idOf(0, 1)
	pg.Exec(t, "SELECT cdc_inbox.consumer_v1('c')")
	pg.Exec(t, "INSERT INTO cdc_inbox.claimed (id, day, consumer) SELECT $1::text::uuid, (now() AT TIME ZONE 'UTC')::date - 5, 1", v4)
	pg.Exec(t, "INSERT INTO cdc_inbox.claimed (id, day, consumer) SELECT $1::text::uuid, (now() AT TIME ZONE 'UTC')::date - 9, 1", old)
	// Claimed two days ago by a producer whose clock was two days ahead; now its own day has come.
	pg.Exec(t, "INSERT INTO cdc_inbox.claimed (id, day, consumer) SELECT $1::text::uuid, (now() AT TIME ZONE 'UTC')::date - 2, 1", early)
	pg.Exec(t, "INSERT INTO cdc_inbox.early (id, at, consumer) SELECT $1::text::uuid, (now() AT TIME ZONE 'UTC')::date - 2, 1", early)
	for _, id := range []string{v4, old, early} {
		want(t, store, message(id), inbox.Duplicate)
	}
	want(t, store, message(idOf(0, 2)), inbox.Processed)
}

// Copies of an id without a day that come at the same time: one effect, though they would be claimed under different days.
func TestConcurrentAcrossDays(t *testing.T) {
	t.Parallel()
	pool, _, pg := open(t)
	pg.Exec(t, "SELECT cdc_inbox.consumer_v1('c')")
	const v4 = "{7b0f8d7e-3b0a-4a49-9a53-2f8f6d0c1a11}"
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var first, second string
	if err := tx.QueryRow(t.Context(), "SELECT states FROM cdc_inbox.claim_v1('c', $1::text::uuid[], '{NULL}', NULL)", v4).Scan(&first); err != nil {
		t.Fatal(err)
	}
	// Before it is committed it moves to yesterday: as if midnight had come between the two.
	if _, err := tx.Exec(t.Context(), "UPDATE cdc_inbox.claimed SET day = day - 1"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := pool.QueryRow(t.Context(), "SELECT states FROM cdc_inbox.claim_v1('c', $1::text::uuid[], '{NULL}', NULL)", v4).Scan(&second); err != nil {
			t.Error(err)
		}
	})
	conn := pg.Conn(t)
	eventually(t, 10*time.Second, "the second copy waits", func() bool {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if first != "f" || second != "d" {
		t.Errorf("the copies got %q and %q, want f and d", first, second)
	}
}

// At or above the watermark a message is fresh whatever its age; below it, and older than the retention, it is dropped.
func TestExpired(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	const v4 = "7b0f8d7e-3b0a-4a49-9a53-2f8f6d0c1a12"
	old := func(id string, below bool) *inbox.Message {
		m := message(id)
		m.Time, m.Below = time.Now().Add(-30*24*time.Hour), below
		return m
	}
	want(t, store, old(idOf(-30, 1), false), inbox.Processed) // a new consumer of a topic with a month of history
	want(t, store, old(idOf(-30, 2), true), inbox.Expired)
	want(t, store, old(v4, true), inbox.Expired)
	want(t, store, old(v4, false), inbox.Processed)
	if d := dayOf(t, pg, v4); d != 0 {
		t.Errorf("claimed under day %d: the record's time says nothing about where a claim stands", d)
	}
	recent := message(idOf(0, 3))
	recent.Below, recent.Time = true, time.Now()
	want(t, store, recent, inbox.Processed)

	p, err := inbox.NewProcessor(store, "c", done, inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	outs, err := p.ProcessBatch(t.Context(), []*inbox.Message{old(idOf(-30, 4), true), message(idOf(0, 5)), message(idOf(0, 3)), old(idOf(-30, 6), false)})
	if err != nil || outs[0] != inbox.Expired || outs[1] != inbox.Processed || outs[2] != inbox.Duplicate || outs[3] != inbox.Processed {
		t.Errorf("in a batch: %v, %v", outs, err)
	}
}

// A letter outlives its claim: a copy that comes after the retention is not fresh while the letter waits, nor once it was played.
func TestLettersOutliveClaims(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	p, err := inbox.NewProcessor(store, "c", done, inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := message(inboxtest.NewID())
	m.Headers[0].Value = []byte("7b0f8d7e-3b0a-4a49-9a53-2f8f6d0c1a13")
	if o, err := p.DeadLetter(t.Context(), m, "attempts", nil, 3); o != inbox.DeadLettered || err != nil {
		t.Fatal(o, err)
	}
	pg.Exec(t, "DELETE FROM cdc_inbox.claimed") // the retention
	want(t, store, message(m.ID), inbox.Duplicate)
	letters, err := store.ListLetters(t.Context(), "c", inbox.LetterFilter{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Judge(t.Context(), "c", []int64{letters[0].ID}, inbox.Retry); err != nil {
		t.Fatal(err)
	}
	if o, err := p.Play(t.Context(), inbox.Playable{ID: letters[0].ID}); o != inbox.Processed || err != nil {
		t.Fatal(o, err)
	}
	want(t, store, message(m.ID), inbox.Duplicate)
}
