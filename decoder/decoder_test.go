package decoder

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// row is a message of an insert into the five columns.
func row(oid uint32, id string) []byte { return insertMsg(oid, id, "a", "k", "t", "payload of "+id) }

func TestDecodeTransaction(t *testing.T) {
	t.Parallel()
	d := open(t, fiveTable("public.outbox"))
	steps := []struct {
		msg  []byte
		want Kind
		open bool
	}{
		{beginMsg(0x100, 7), Begin, true},
		{relationMsg(1, "public", "outbox", five()...), Nothing, true},
		{row(1, "1"), Inserted, true},
		{row(1, "2"), Inserted, true},
		{commitMsg(0x100, 0x130), Committed, false},
	}
	for i, s := range steps {
		got, err := d.Decode(s.msg)
		if err != nil || got != s.want || d.OpenTx() != s.open {
			t.Fatalf("step %d: got %v, %v, open %v, want %v, open %v", i, got, err, d.OpenTx(), s.want, s.open)
		}
		if end := d.Tx().EndLSN; (end != 0) != (s.want == Committed) {
			t.Errorf("I3: step %d: end LSN is %s before it is known", i, end)
		}
	}
	want := Tx{CommitLSN: 0x100, EndLSN: 0x130, CommitTime: 946_684_801_000_000, XID: 7, Counted: 2, Index: 1}
	if got := d.Tx(); got != want {
		t.Errorf("transaction: got %+v, want %+v", got, want)
	}
	events := d.Take()
	if len(events) != 2 || events[0].Position != position(0x100, 0) || events[1].Position != position(0x100, 1) {
		t.Fatalf("events: got %v, want two at 0/100/0 and 0/100/1", events)
	}
	if got := d.Take(); got != nil {
		t.Errorf("second take: got %v, want nil", got)
	}
}

// TestI7_NothingIsSkippedInSilence: what cannot be decoded is an error that names where and what.
func TestI7_NothingIsSkippedInSilence(t *testing.T) {
	t.Parallel()
	begin, relation := beginMsg(0x100, 7), relationMsg(1, "public", "outbox", five()...)
	first := row(1, "1")
	tests := []struct {
		name     string
		messages [][]byte
		index    uint32
		relation string
		column   string
		says     string
	}{
		{"empty", [][]byte{begin, {}}, 0, "", "", "message is empty"},
		{"unknown type", [][]byte{begin, {'S', 0, 0}}, 0, "", "", "proto_version 1"},
		{"insert outside", [][]byte{first}, 0, "", "", "outside of a transaction"},
		{"update outside", [][]byte{{'U'}}, 0, "", "", "outside of a transaction"},
		{"begin inside", [][]byte{begin, begin}, 0, "", "", "inside a transaction"},
		{"commit outside", [][]byte{commitMsg(1, 2)}, 0, "", "", "outside of a transaction"},
		{"commit of another", [][]byte{begin, commitMsg(0x101, 0x130)}, 0, "", "", "LSN 0/101"},
		{"no relation", [][]byte{begin, first}, 0, "", "", "relation 1, which no relation message"},
		{"binary value", [][]byte{begin, relation, first, insertMsg(1, "2", "a", "k", "t", []byte{1})}, 1, "public.outbox", "payload", "binary off"},
		{"unchanged value", [][]byte{begin, relation, first, insertMsg(1, "2", "a", 'u', "t", "p")}, 1, "public.outbox", "aggregate_id", "unchanged"},
		{"unknown kind", [][]byte{begin, relation, insertMsg(1, "2", "a", 'x', "t", "p")}, 0, "public.outbox", "aggregate_id", "unknown kind"},
		{"too few values", [][]byte{begin, relation, insertMsg(1, "2")}, 0, "public.outbox", "", "1 columns, the relation has 5"},
		{"trailing bytes", [][]byte{begin, relation, append(row(1, "1"), 0)}, 0, "public.outbox", "", "1 bytes too long"},
		{"length beyond the message", [][]byte{begin, relation, bytes.Replace(first, []byte("t\x00\x00\x00\x01k"), []byte("t\xff\xff\xff\xffk"), 1)}, 0, "public.outbox", "aggregate_id", "truncated"},
		{"column missing", [][]byte{begin, relationMsg(1, "public", "outbox", five()[:4]...), insertMsg(1, "1", "a", "k", "t")}, 0, "public.outbox", "payload", "outbox[].columns"},
		{"payload of unknown type", [][]byte{begin, relationMsg(1, "public", "outbox", append(five()[:4:4], column{"payload", 16999})...), row(1, "1")}, 0, "public.outbox", "payload", "oid 16999"},
		{"bytea key", [][]byte{begin, relationMsg(1, "public", "outbox", append(append(five()[:2:2], column{"aggregate_id", oidBytea}), five()[3:]...)...), row(1, "1")}, 0, "public.outbox", "aggregate_id", "bytea"},
		{"seq of another type", [][]byte{begin, relationMsg(1, "public", "outbox", append(five(), column{"seq", oidText})...), insertMsg(1, "1", "a", "k", "t", "p", "1")}, 0, "public.outbox", "seq", "integer"},
		{"begin too long", [][]byte{append(beginMsg(1, 1), 0)}, 0, "", "", "1 bytes too long"},
		{"commit too long", [][]byte{begin, append(commitMsg(0x100, 1), 0)}, 0, "", "", "1 bytes too long"},
		{"relation too long", [][]byte{begin, append(relationMsg(1, "public", "outbox"), 0)}, 0, "public.outbox", "", "1 bytes too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := open(t, fiveTable("public.outbox"))
			last := len(tt.messages) - 1
			feed(t, d, tt.messages[:last]...)
			kind, err := d.Decode(tt.messages[last])
			var bad *DecodeError
			if !errors.As(err, &bad) || kind != Nothing {
				t.Fatalf("got %v, %v, want a DecodeError", kind, err)
			}
			if bad.Relation != tt.relation || bad.Column != tt.column || bad.Position.Index != tt.index || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want index %d, relation %q, column %q and %q", err, tt.index, tt.relation, tt.column, tt.says)
			}
			if bad.Position.Commit != 0 && !strings.Contains(err.Error(), "0/100/") {
				t.Errorf("got %v, want the LSN in it", err)
			}
		})
	}
}

// TestI7_Truncated: no message, cut anywhere, passes for a whole one.
func TestI7_Truncated(t *testing.T) {
	t.Parallel()
	messages := [][]byte{beginMsg(0x100, 7), relationMsg(1, "public", "outbox", five()...), row(1, "1"), commitMsg(0x100, 0x130)}
	for i, msg := range messages {
		for n := range msg {
			d := open(t, fiveTable("public.outbox"))
			feed(t, d, messages[:i]...)
			if kind, err := d.Decode(msg[:n]); err == nil {
				t.Errorf("message %c cut to %d of %d bytes: got %v, want an error", msg[0], n, len(msg), kind)
			}
		}
	}
}

// TestIndexCountsEveryInsert: those of tables that are not configured, of skipped rows and of refused ones too, so that an
// index means the same under any configuration.
func TestIndexCountsEveryInsert(t *testing.T) {
	t.Parallel()
	messages := [][]byte{
		beginMsg(0x100, 7),
		relationMsg(1, "public", "outbox", five()...), relationMsg(2, "public", "other", column{"x", 23}), relationMsg(3, "public", "third", five()...),
		insertMsg(2, "1"), row(1, "a"), row(3, "b"),
		{'U', 0},
		{'D', 0},
		{'T', 0},
		{'O', 0},
		{'Y', 0},
		{'M', 0},
		insertMsg(2, "2"), insertMsg(1, nil, "a", "k", "t", "p"), row(1, "c"),
	}
	positions := func(tables ...Table) map[string]uint32 {
		d := open(t, tables...)
		feed(t, d, messages...)
		out := map[string]uint32{}
		for _, ev := range d.Take() {
			out[string(ev.ID)] = ev.Index
		}
		return out
	}
	one, both := positions(fiveTable("public.outbox")), positions(fiveTable("public.outbox"), fiveTable("public.third"))
	want := map[string]uint32{"a": 1, "b": 2, "": 4, "c": 5}
	if got := fmt.Sprint(both); got != fmt.Sprint(want) {
		t.Errorf("both tables: got %v, want %v", got, want)
	}
	delete(want, "b")
	if got := fmt.Sprint(one); got != fmt.Sprint(want) {
		t.Errorf("one table: got %v, want %v", got, want)
	}
	d := open(t, fiveTable("public.outbox"))
	feed(t, d, messages...)
	if got, want := fmt.Sprint(d.Ignored()), "map[public.other:2 public.third:1]"; got != want {
		t.Errorf("ignored: got %v, want %v", got, want)
	}
}

// TestI9_SkipThrough: after a reconnect the same transaction comes again; what was handed on yields nothing, what follows has
// the position and the bytes that it had before.
func TestI9_SkipThrough(t *testing.T) {
	t.Parallel()
	messages := [][]byte{relationMsg(1, "public", "outbox", five()...)}
	for lsn := uint64(0x100); lsn <= 0x300; lsn += 0x100 {
		messages = append(messages, beginMsg(lsn, 7), row(1, "1"), row(1, "2"), row(1, "3"), commitMsg(lsn, lsn+0x30))
	}
	all := open(t, fiveTable("public.outbox"))
	feed(t, all, messages...)
	want := all.Take()
	for i := range want {
		d := open(t, fiveTable("public.outbox"))
		d.SkipThrough(want[i].Position)
		commits := 0
		for _, m := range messages {
			kind, err := d.Decode(m)
			if err != nil {
				t.Fatal(err)
			}
			if kind == Committed {
				commits++
			}
		}
		if commits != 3 || d.Tx().Counted != 3 {
			t.Errorf("skip through %s: got %d commits, %d inserts, want 3 and 3", want[i].Position, commits, d.Tx().Counted)
		}
		if got, want := fmt.Sprintf("%v", d.Take()), fmt.Sprintf("%v", want[i+1:]); got != want {
			t.Errorf("skip: got %s, want %s", got, want)
		}
	}
}

// TestFull: a caller that forgets Take is told, and loses nothing.
func TestFull(t *testing.T) {
	t.Parallel()
	d := open(t, fiveTable("public.outbox"))
	feed(t, d, beginMsg(0x100, 7), relationMsg(1, "public", "outbox", five()...))
	for range blockEvents {
		if d.Full() {
			t.Fatal("full before its time")
		}
		feed(t, d, row(1, "1"))
	}
	if _, err := d.Decode(row(1, "late")); !d.Full() || !errors.Is(err, ErrFull) {
		t.Fatalf("got full %v, %v, want ErrFull", d.Full(), err)
	}
	if got := len(d.Take()); got != blockEvents || d.Full() {
		t.Fatalf("got %d events, full %v, want %d and room", got, d.Full(), blockEvents)
	}
	feed(t, d, row(1, "late"))
	if ev := d.Take(); len(ev) != 1 || string(ev[0].ID) != "late" || ev[0].Index != blockEvents {
		t.Errorf("got %v, want the late one at index %d", ev, blockEvents)
	}
	big := strings.Repeat("x", blockBytes)
	feed(t, d, insertMsg(1, "1", "a", "k", "t", big))
	if !d.Full() {
		t.Error("64 KiB wait, and the block is not full")
	}
	if ev := d.Take(); len(ev[0].Value) != len(big) || cap(ev[0].Value) != len(big) {
		t.Errorf("got a value of %d bytes, want %d", len(ev[0].Value), len(big))
	}
}

// TestI8_TransactionOfAnySize: memory does not depend on the size of a transaction when its events go.
func TestI8_TransactionOfAnySize(t *testing.T) {
	d := open(t, fiveTable("public.outbox"))
	feed(t, d, beginMsg(0x100, 7), relationMsg(1, "public", "outbox", five()...))
	msg := insertMsg(1, "1", "a", "k", "t", strings.Repeat("x", 300))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	decode := func(n int) {
		for range n {
			feed(t, d, msg)
			if d.Full() {
				d.Take()
			}
		}
	}
	decode(10_000)
	before := heap()
	decode(300_000)
	if after := heap(); after > before+1<<20 {
		t.Errorf("heap: got %d bytes after 300,000 more rows, want about the %d of before", after, before)
	}
	runtime.KeepAlive(d)
}

// TestEventsOwnTheirMemory: neither the caller's message nor a later row reaches into an event.
func TestEventsOwnTheirMemory(t *testing.T) {
	t.Parallel()
	d := open(t, Table{Name: "public.outbox"})
	feed(t, d, beginMsg(0x100, 7), relationMsg(1, "public", "outbox", nativeColumns()...))
	var events []Event
	var want []string
	for i := range 1000 {
		payload := strings.Repeat("p", i*40%20_000)
		msg := insertMsg(1, fmt.Sprint(i), "a", "k", "t", nil, "key", payload, `{"h": "v", "e": "\n"}`, "now", "1")
		feed(t, d, msg)
		for j := range msg {
			msg[j] = '!'
		}
		taken := d.Take()
		want = append(want, fmt.Sprintf("%q", taken))
		events = append(events, taken...)
	}
	for i := range events {
		if got := fmt.Sprintf("%q", events[i:i+1]); got != want[i] {
			t.Fatalf("event %d changed: got %.300s, want %.300s", i, got, want[i])
		}
		ev := &events[i]
		for _, b := range [][]byte{ev.Key, ev.Value, ev.Headers.Bytes, ev.ID, ev.Type, ev.AggregateID, ev.AggregateType} {
			if cap(b) != len(b) {
				t.Fatalf("event %d: a slice has room for %d bytes behind it: an append would reach its neighbour", i, cap(b)-len(b))
			}
		}
	}
}

// TestDecodersShareNothing (PITFALLS 35): the same OID names different tables in two sessions.
func TestDecodersShareNothing(t *testing.T) {
	t.Parallel()
	a, b := open(t, fiveTable("public.outbox")), open(t, fiveTable("public.outbox"))
	feed(t, a, beginMsg(0x100, 7), relationMsg(1, "public", "outbox", five()...))
	feed(t, b, beginMsg(0x200, 8), relationMsg(1, "public", "other", column{"x", 23}))
	feed(t, a, row(1, "1"))
	feed(t, b, insertMsg(1, "1"))
	if got, want := len(a.Take()), 1; got != want {
		t.Errorf("a: got %d events, want %d", got, want)
	}
	if got := b.Take(); got != nil {
		t.Errorf("b: got %v, want none", got)
	}
}

// TestMessageOutsideOfTransactions (PITFALLS 37): a message that is not transactional opens nothing and closes nothing.
func TestMessageOutsideOfTransactions(t *testing.T) {
	t.Parallel()
	d := open(t, fiveTable("public.outbox"))
	feed(t, d, []byte("M\x00aaaaaaaaprefix\x00\x00\x00\x00\x01x"))
	if d.OpenTx() || d.Tx() != (Tx{}) {
		t.Errorf("got open %v, %+v, want nothing", d.OpenTx(), d.Tx())
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	hash := func(cfg Config) string {
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return d.Hash()
	}
	a := hash(Config{Tables: []Table{{Name: "public.outbox"}}, Publication: "p"})
	b := hash(Config{Tables: []Table{fiveTable("app.other")}, Publication: "p"})
	c := hash(Config{Tables: []Table{{Name: "public.outbox"}}, Publication: "q"})
	if a != b || a == c || a == "" {
		t.Errorf("got %s, %s, %s, want the same, and another for another publication", a, b, c)
	}
}

func TestPool_RecyclesBlocksAndForgetsRows(t *testing.T) {
	t.Parallel()
	pool := new(Pool)
	d := open(t, Table{Name: "public.outbox"})
	d.block.pool = pool
	feed(t, d, relationMsg(1, "public", "outbox", nativeColumns()...), beginMsg(0x100, 7))
	insert := func(id, payload string) *Event {
		feed(t, d, insertMsg(1, id, "orders", "o-1", "T", nil, nil, payload, "{}", "now", "1"))
		return &d.Take()[0]
	}
	first := insert("a", strings.Repeat("x", blockBytes)) // memory of its own
	block := d.Block()
	for range blockEvents - 1 {
		insert("b", "{}")
	}
	if d.Block() != block {
		t.Fatal("256 events do not fill one block")
	}
	kept := insert("c", `{"c": 1}`)
	if d.Block() == block {
		t.Fatal("the 257th event lies in the full block")
	}
	pool.Put(block)
	if first.Value != nil {
		t.Error("a block that waits in the pool keeps a large row alive")
	}
	for range blockEvents - 1 {
		insert("d", "{}")
	}
	if again := insert("e", `{"e": 1}`); again != first || d.Block() != block {
		t.Error("the block that was given back is not used again")
	}
	if got, want := string(kept.Value), `{"c": 1}`; got != want {
		t.Errorf("an event of another block reads %q, want %q", got, want)
	}
}
