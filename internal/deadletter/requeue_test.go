package deadletter_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

func TestI2_RequeueTakesEarlierRowsOfItsKeyAlong(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	filed := f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k2", pos(0x2000, 1)), letter("k1", pos(0x2000, 2)), letter("k1", pos(0x3000, 0)))
	m, err := s.Requeue(t.Context(), deadletter.Selection{IDs: []int64{filed[2].ID, 1 << 40}}, by)
	want := deadletter.Marking{Marked: 1, Earlier: 1, Keys: 1, Refused: []int64{1 << 40}}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("requeue: got %+v, %v, want %+v", m, err, want)
	}
	letters := wantPending(t, s, "requeue 0/2000/0", "requeue 0/2000/2")
	if got := pending(t, s, letters[0].ID); len(got) != 1 || got[0].ID != letters[1].ID {
		t.Errorf("with the first under way: got %v", got)
	}

	// An event of the key that was under way before them and comes late goes with them too.
	wantFiled(t, f.park(t, s, letter("k1", pos(0x1500, 0)), letter("k1", pos(0x3000, 1))), deadletter.Requeue, deadletter.Parked)
	letters = wantPending(t, s, "requeue 0/1500/0", "requeue 0/2000/0", "requeue 0/2000/2")

	if keys := f.done(t, s, deadletter.Published, letters...); len(keys) != 0 {
		t.Errorf("released %v with rows left", keys)
	}
	wantCounts(t, s, deadletter.Counts{Unresolved: 3, Keys: 2})
	if m, err = s.Requeue(t.Context(), deadletter.Selection{IDs: []int64{filed[0].ID}}, by); err != nil || len(m.Refused) != 1 {
		t.Errorf("a resolved row: got %+v, %v", m, err)
	}
}

func TestRequeueOfAKeyConvergesUnderTraffic(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s, operator := f.store(t), f.store(t)
	f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k2", pos(0x2000, 1)))
	m, err := operator.Requeue(t.Context(), deadletter.Selection{Key: &deadletter.Key{Topic: "orders", Key: []byte("k1")}}, by)
	if err != nil || m.Marked != 1 || m.Keys != 1 {
		t.Fatalf("requeue: got %+v, %v", m, err)
	}
	first := pending(t, s)
	wantFiled(t, f.park(t, s, letter("k1", pos(0x3000, 0)), letter("k2", pos(0x3000, 1))), deadletter.Requeue, deadletter.Parked)
	if keys := f.done(t, s, deadletter.Published, first...); len(keys) != 0 {
		t.Errorf("released %v with a row left", keys)
	}
	second := wantPending(t, s, "requeue 0/3000/0")
	if keys := f.done(t, s, deadletter.Published, second...); len(keys) != 1 || string(keys[0].Key) != "k1" {
		t.Errorf("released: got %v, want k1", keys)
	}
	// A key that is parked again after its release waits for the operator again.
	wantFiled(t, f.park(t, s, letter("k1", pos(0x4000, 0))), deadletter.Parked)
}

func TestI2_RefusedAgainHoldsWhatFollows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k1", pos(0x2000, 1)), letter("k1", pos(0x2000, 2)))
	if _, err := s.Requeue(t.Context(), deadletter.Selection{All: true}, by); err != nil {
		t.Fatal(err)
	}
	letters := pending(t, s)
	keys, err := s.Done(t.Context(), f.pid, []deadletter.Result{
		{ID: letters[0].ID, Outcome: deadletter.Published},
		{ID: letters[1].ID, Outcome: deadletter.Refused, Reason: "topic_invalid", Error: "still"},
	})
	if err != nil || len(keys) != 0 {
		t.Errorf("done: got %v, %v", keys, err)
	}
	wantPending(t, s)
	wantFiled(t, f.park(t, s, letter("k1", pos(0x3000, 0))), deadletter.Parked)
	got, err := s.Show(t.Context(), letters[1].ID)
	if err != nil || got.State != deadletter.Parked || got.Tries != 1 || got.Reason != "topic_invalid" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	filed := f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k1", pos(0x2000, 1)), letter("k2", pos(0x2000, 2)))
	if _, err := s.Drop(t.Context(), deadletter.Selection{IDs: []int64{filed[0].ID}}, by); err != nil {
		t.Fatal(err)
	}
	// A requeue of everything leaves the poison that was dropped by name.
	if m, err := s.Requeue(t.Context(), deadletter.Selection{All: true}, by); err != nil || m.Marked != 2 {
		t.Errorf("requeue: got %+v, %v", m, err)
	}
	letters := wantPending(t, s, "drop 0/2000/0", "requeue 0/2000/1", "requeue 0/2000/2")

	// An operator who changes his mind is heard until the row is published; what was published stays a fact.
	if _, err := s.Drop(t.Context(), deadletter.Selection{All: true}, by); err != nil {
		t.Fatal(err)
	}
	f.done(t, s, deadletter.Published, letters[1])
	if keys := f.done(t, s, deadletter.Forgotten, letters[0], letters[1], letters[2]); len(keys) != 2 {
		t.Errorf("released: got %v, want both", keys)
	}
	for i, want := range []deadletter.State{deadletter.Dropped, deadletter.Requeued, deadletter.Dropped} {
		if got, err := s.Show(t.Context(), letters[i].ID); err != nil || got.State != want {
			t.Errorf("row %d: got %s, %v, want %s", i, got.State, err, want)
		}
	}
	for _, bad := range []deadletter.Selection{{}, {All: true, IDs: []int64{1}}} {
		if _, err := s.Drop(t.Context(), bad, by); err == nil {
			t.Errorf("drop of %+v was accepted", bad)
		}
	}
	if _, err := s.Drop(t.Context(), deadletter.Selection{All: true}, deadletter.Audit{}); err == nil {
		t.Error("dropped without saying who")
	}
}

func TestDeadLetterAloneLeavesItsKey(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	alone := letter("k1", pos(0x2000, 0))
	alone.Alone = true
	filed := f.park(t, s, alone)
	wantFiled(t, filed, deadletter.Dead)
	wantCounts(t, s, deadletter.Counts{Unresolved: 1})
	if m, err := s.Requeue(t.Context(), deadletter.Selection{IDs: []int64{filed[0].ID}}, by); err != nil || m.Marked != 1 {
		t.Fatalf("requeue: got %+v, %v", m, err)
	}
	f.done(t, s, deadletter.Refused, pending(t, s)...)
	wantFiled(t, f.park(t, s, alone), deadletter.Dead)
	if m, err := s.Requeue(t.Context(), deadletter.Selection{Key: &deadletter.Key{Topic: "orders", Key: []byte("k1")}}, by); err != nil || m.Marked != 1 {
		t.Fatalf("requeue by key: got %+v, %v", m, err)
	}
	f.done(t, s, deadletter.Published, pending(t, s)...)
	wantCounts(t, s, deadletter.Counts{})
}

func TestPositionsOfAnEarlierIncarnationComeFirst(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	f.park(t, s, letter("k1", pos(0x9000, 0)))
	next := letter("k1", pos(0x2000, 0)) // after a restore LSNs begin lower again
	next.Incarnation = "next"
	f.park(t, s, next)
	if _, err := s.Requeue(t.Context(), deadletter.Selection{All: true}, by); err != nil {
		t.Fatal(err)
	}
	wantPending(t, s, "requeue 0/9000/0", "requeue 0/2000/0")
}

func TestPendingIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	for i := range 8 {
		l := letter("k1", pos(0x2000, i))
		l.Value = make([]byte, 1<<20)
		f.park(t, s, l)
	}
	if _, err := s.Requeue(t.Context(), deadletter.Selection{All: true}, by); err != nil {
		t.Fatal(err)
	}
	if got := len(pending(t, s)); got < 4 || got > 5 {
		t.Errorf("got %d rows of 1 MiB, want those that fill %d bytes", got, deadletter.PendingBytes)
	}
}

// An owner parks and publishes while an operator requeues all the time. At the end a key is parked exactly when it has rows
// left, and each key's rows were published in order.
func TestI2_ParkAgainstReleaseAndRequeue(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	parker, publisher, operator := f.store(t), f.store(t), f.store(t)
	check := f.pg.Conn(t)
	const events = 300

	var parked, published sync.WaitGroup
	stop := make(chan struct{})
	parked.Go(func() {
		for i := range events {
			l := letter(fmt.Sprint("k", i%3), pos(0x2000+i, 0))
			if _, err := parker.Park(ctx, f.pid, []deadletter.Letter{l, letter(fmt.Sprint("k", (i+1)%3), pos(0x2000+i, 1))}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	last := map[string]deadletter.Letter{}
	total := 0
	publish := func() bool {
		letters, err := publisher.Pending(ctx, 7)
		if err != nil {
			t.Error(err)
			return false
		}
		var results []deadletter.Result
		for _, l := range letters {
			if before, ok := last[string(l.Key)]; ok && before.Position.Compare(l.Position) >= 0 {
				t.Errorf("key %s: %s after %s", l.Key, l.Position, before.Position)
			}
			last[string(l.Key)] = l
			total++
			results = append(results, deadletter.Result{ID: l.ID, Outcome: deadletter.Published})
		}
		if _, err := publisher.Done(ctx, f.pid, results); err != nil {
			t.Error(err)
			return false
		}
		return len(letters) > 0
	}
	published.Go(func() {
		for {
			select {
			case <-stop:
				for publish() {
				}
				return
			default:
				publish()
			}
			// Nobody may ever see a key parked without a row, nor a row whose key is not parked.
			var stray int
			err := check.QueryRow(ctx, `SELECT count(*) FROM cdc_relay.parked_key k FULL JOIN
				(SELECT DISTINCT slot, lane FROM cdc_relay.dead_letter WHERE state IN ('parked', 'requeue', 'drop')) d USING (slot, lane)
				WHERE k.topic IS NULL OR d.lane IS NULL`).Scan(&stray)
			if err != nil || stray != 0 {
				t.Errorf("%d stray keys or rows, %v", stray, err)
				return
			}
		}
	})
	for range 50 {
		if _, err := operator.Requeue(ctx, deadletter.Selection{All: true}, by); err != nil {
			t.Fatal(err)
		}
	}
	parked.Wait()
	if _, err := operator.Requeue(ctx, deadletter.Selection{All: true}, by); err != nil && !errors.Is(err, ctx.Err()) {
		t.Fatal(err)
	}
	close(stop)
	published.Wait()
	if total != 2*events {
		t.Errorf("published %d, want %d", total, 2*events)
	}
	wantCounts(t, operator, deadletter.Counts{})
}
