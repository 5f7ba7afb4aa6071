package deadletter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/record"
)

func TestI9_RequeuedRecordIsTheSameWithOneHeaderMore(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	plain := event("k1", pos(0x2000, 0))
	odd := event("", pos(0x2000, 1)) // empty key, tombstone, explicit partition, binary header and null header
	odd.Value, odd.Partition = nil, 3
	odd.Headers = record.Headers{Count: 2, Bytes: record.AppendHeader(record.AppendHeader(nil, "x", []byte{0xff, 0}), "null", nil)}
	empty := event("k3", pos(0x2000, 2))
	empty.Value, empty.Headers = []byte{}, record.Headers{}
	null := event("", pos(0x2000, 3))
	null.Key = nil
	var letters []deadletter.Letter
	for _, ev := range []*decoder.Event{plain, odd, empty, null} {
		l := deadletter.FromEvent(ev, "too_large", "bad \x00 bytes \xff")
		l.Incarnation = "inc"
		letters = append(letters, l)
	}
	f.park(t, s, letters...)
	wantCounts(t, s, deadletter.Counts{Unresolved: 4, Keys: 4})
	if _, err := s.Requeue(t.Context(), deadletter.Selection{All: true}, by); err != nil {
		t.Fatal(err)
	}
	first, second := pending(t, s), pending(t, s)
	for i, want := range []*decoder.Event{plain, odd, empty, null} {
		got, again := first[i].Event(), second[i].Event()
		if !reflect.DeepEqual(got, again) {
			t.Errorf("%s: a second attempt differs: %+v, %+v", want.Position, got, again)
		}
		if (got.Key == nil) != (want.Key == nil) || (got.Value == nil) != (want.Value == nil) {
			t.Errorf("%s: null was not kept: key %v value %v", want.Position, got.Key, got.Value)
		}
		replay, ok := got.Headers.Get(deadletter.ReplayHeader)
		if !ok || !strings.HasPrefix(string(replay), "dlq requeue 20") {
			t.Errorf("%s: got %s %q", want.Position, deadletter.ReplayHeader, replay)
		}
		if got.Headers.Count != want.Headers.Count+1 || !bytes.HasPrefix(got.Headers.Bytes, want.Headers.Bytes) {
			t.Errorf("%s: headers got %+v, want those of %+v first", want.Position, got.Headers, want.Headers)
		}
		got.Headers = want.Headers
		if len(want.Key) == 0 && len(got.Key) == 0 {
			got.Key = want.Key
		}
		if len(want.Value) == 0 && len(got.Value) == 0 {
			got.Value = want.Value
		}
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("got %+v\nwant %+v", &got, want)
		}
	}
}

func TestI1_ParkTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	first := f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k2", pos(0x2000, 1)))
	again := f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k2", pos(0x2000, 1)))
	if !reflect.DeepEqual(first, again) {
		t.Errorf("got %v, then %v", first, again)
	}
	wantCounts(t, s, deadletter.Counts{Unresolved: 2, Keys: 2})

	// A resolved row is no reason to park its key again.
	if _, err := s.Requeue(t.Context(), deadletter.Selection{IDs: []int64{first[0].ID}}, by); err != nil {
		t.Fatal(err)
	}
	released := f.done(t, s, deadletter.Published, pending(t, s)...)
	if want := []deadletter.Key{{Topic: "orders", Key: []byte("k1")}}; !reflect.DeepEqual(released, want) {
		t.Errorf("released: got %v, want %v", released, want)
	}
	wantFiled(t, f.park(t, s, letter("k1", pos(0x2000, 0))), deadletter.Requeued)
	wantCounts(t, s, deadletter.Counts{Unresolved: 1, Keys: 1})
}

func TestFencedWriterChangesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	filed := f.park(t, s, letter("k1", pos(0x2000, 0)))
	stranger := f.pid + 1
	_, err := s.Park(t.Context(), stranger, []deadletter.Letter{letter("k1", pos(0x2000, 1))})
	if !errors.Is(err, deadletter.ErrFenced) {
		t.Errorf("park: got %v, want ErrFenced", err)
	}
	_, err = s.Done(t.Context(), stranger, []deadletter.Result{{ID: filed[0].ID, Outcome: deadletter.Published}})
	if !errors.Is(err, deadletter.ErrFenced) {
		t.Errorf("done: got %v, want ErrFenced", err)
	}
	if _, err = s.Prune(t.Context(), stranger, 0xffff, 0); !errors.Is(err, deadletter.ErrFenced) {
		t.Errorf("prune: got %v, want ErrFenced", err)
	}
	wantCounts(t, s, deadletter.Counts{Unresolved: 1, Keys: 1})
	if _, err := f.conn(t).Exec(t.Context(), "SELECT FROM cdc_relay.dead_letter"); err == nil {
		t.Error("the relay's role can read the table itself")
	}
}

func TestI10_PruneTakesOnlyWhatIsResolvedAndPassed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	filed := f.park(t, s, letter("k1", pos(0x2000, 0)), letter("k2", pos(0x3000, 0)), letter("k3", pos(0x4000, 0)))
	if _, err := s.Drop(t.Context(), deadletter.Selection{IDs: []int64{filed[0].ID, filed[2].ID}}, by); err != nil {
		t.Fatal(err)
	}
	f.done(t, s, deadletter.Forgotten, pending(t, s)...)
	prune := func(mark int, keep time.Duration, want int64) {
		t.Helper()
		n, err := s.Prune(t.Context(), f.pid, pos(mark, 0).Commit, keep)
		if err != nil || n != want {
			t.Errorf("prune to %x keeping %s: got %d, %v, want %d", mark, keep, n, err, want)
		}
	}
	prune(0x5000, 0, 0) // the mark in the database is at 1000, whatever the caller says
	f.pg.Exec(t, "UPDATE cdc_relay.checkpoint SET lsn = '0/3500' WHERE slot = $1", f.slot)
	prune(0x5000, time.Hour, 0)
	prune(0x5000, 0, 1)
	f.pg.Exec(t, "UPDATE cdc_relay.checkpoint SET incarnation = 'next' WHERE slot = $1", f.slot)
	prune(0x5000, 0, 1) // nobody reads positions of an incarnation that is over
	wantCounts(t, s, deadletter.Counts{Unresolved: 1, Keys: 1})
}

func TestVerdictsAndKeysComeInPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	var letters []deadletter.Letter
	for i := range 2500 {
		letters = append(letters, letter(fmt.Sprint("k", i), pos(0x2000+i/1200, i%1200)))
	}
	letters[17].Alone = true
	f.park(t, s, letters...)
	wantCounts(t, s, deadletter.Counts{Unresolved: 2500, Keys: 2499})
	keys, err := s.Keys(t.Context())
	if err != nil || len(keys) != 2499 {
		t.Errorf("got %d keys, %v, want 2499", len(keys), err)
	}
	verdicts, err := s.Verdicts(t.Context(), "inc", 0x2001)
	if err != nil || len(verdicts) != 1300 {
		t.Fatalf("got %d verdicts, %v, want 1300", len(verdicts), err)
	}
	for i, v := range verdicts {
		if want := letters[1200+i].Position; v.Position != want || v.State != deadletter.Parked {
			t.Fatalf("verdict %d: got %v, want parked %v", i, v, want)
		}
	}
	if verdicts, err = s.Verdicts(t.Context(), "other", 0); err != nil || len(verdicts) != 0 {
		t.Errorf("another incarnation: got %d verdicts, %v", len(verdicts), err)
	}
}

func TestListShowExport(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	var letters []deadletter.Letter
	for i := range 45 {
		letters = append(letters, letter(fmt.Sprint("k", i%9), pos(0x2000, i)))
	}
	letters[3].Value = []byte{0xff, 0xfe}
	letters[4].Topic = "invoices"
	filed := f.park(t, s, letters...)

	got, err := s.List(t.Context(), deadletter.Filter{Topic: "orders", Key: []byte("k4")}, 10)
	if err != nil || len(got) != 4 {
		t.Fatalf("list k4: got %d, %v, want 4", len(got), err)
	}
	if got[0].Value != nil || got[0].ValueBytes != len(letters[13].Value) {
		t.Errorf("list: got value %q and %d bytes, want none and %d", got[0].Value, got[0].ValueBytes, len(letters[13].Value))
	}
	got, err = s.List(t.Context(), deadletter.Filter{States: []deadletter.State{deadletter.Dead}}, 10)
	if err != nil || len(got) != 0 {
		t.Errorf("list dead: got %d, %v", len(got), err)
	}
	one, err := s.Show(t.Context(), filed[3].ID)
	if err != nil || !bytes.Equal(one.Value, letters[3].Value) || one.XID != 4_000_000_000 {
		t.Errorf("show: got %+v, %v", one, err)
	}
	if _, err := s.Show(t.Context(), 1<<40); !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("show: got %v, want ErrNotFound", err)
	}

	var out bytes.Buffer
	n, err := s.Export(t.Context(), deadletter.Filter{}, &out)
	if err != nil || n != 45 {
		t.Fatalf("export: got %d, %v", n, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var line deadletter.Line
	if err := json.Unmarshal([]byte(lines[3]), &line); err != nil {
		t.Fatal(err)
	}
	if line.Value != nil || !bytes.Equal(line.ValueBase64, letters[3].Value) || *line.Key != "k3" || line.Headers[0].Name != "event_id" ||
		line.Position != "0/2000/3" {
		t.Errorf("line: got %s", lines[3])
	}
}

func TestSkipIsAVerdict(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.store(t)
	listener := f.conn(t)
	if _, err := listener.Exec(t.Context(), "LISTEN cdc_relay"); err != nil {
		t.Fatal(err)
	}
	id, err := s.Skip(t.Context(), pos(0x2000, 3), by)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := listener.WaitForNotification(t.Context()); err != nil || n.Payload != f.slot {
		t.Errorf("notification: got %+v, %v, want %s", n, err, f.slot)
	}
	if again, err := s.Skip(t.Context(), pos(0x2000, 3), by); err != nil || again != id {
		t.Errorf("again: got %d, %v, want %d", again, err, id)
	}
	verdicts, err := s.Verdicts(t.Context(), "inc", 0x1000)
	if err != nil || len(verdicts) != 1 || verdicts[0].State != deadletter.Skipped || verdicts[0].Position != pos(0x2000, 3) {
		t.Errorf("verdicts: got %v, %v", verdicts, err)
	}
	one, err := s.Show(t.Context(), id)
	if err != nil || one.StateBy != "ann" || one.StateWhy != "fixed" || one.ResolvedAt.IsZero() {
		t.Errorf("audit: got %+v, %v", one, err)
	}
	if _, err := s.Skip(t.Context(), pos(0xfff, 0), by); !errors.Is(err, deadletter.ErrPassed) {
		t.Errorf("before the mark: got %v, want ErrPassed", err)
	}
	f.park(t, s, letter("k1", pos(0x2000, 4)))
	if _, err := s.Skip(t.Context(), pos(0x2000, 4), by); !errors.Is(err, deadletter.ErrConflict) {
		t.Errorf("a dead letter: got %v, want ErrConflict", err)
	}
	if _, err := s.Skip(t.Context(), pos(0x2000, 5), deadletter.Audit{}); err == nil {
		t.Error("skipped without saying who")
	}
	if _, err := deadletter.NewStore(f.conn(t), "nobody").Skip(t.Context(), pos(0x2000, 5), by); !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("no mark: got %v, want ErrNotFound", err)
	}
	var audits int
	if err := f.pg.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM cdc_relay.audit WHERE verb = 'skip' AND who = 'ann'").Scan(&audits); err != nil || audits != 2 {
		t.Errorf("audit rows: got %d, %v, want 2", audits, err)
	}
}
