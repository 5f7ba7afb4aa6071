package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// row inserts one and returns its event as it arrived.
func (s *stand) row(columns, values string, args ...any) line.Line {
	s.t.Helper()
	before := len(s.lines(""))
	s.pg.Exec(s.t, fmt.Sprintf("INSERT INTO outbox (aggregate_type, event_type, %s) VALUES ('orders', 'Made', %s)", columns, values), args...)
	return s.holds(before + 1)[before]
}

func TestRow_Payloads(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"jsonb", "json", "text", "bytea"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := bare(t, testenv.Postgres(t))
			s.migrate(func(o *migrations.Options) { o.PayloadType = kind })
			p := s.start()
			if l := s.row("aggregate_id, payload", "'k', NULL"); l.Value != nil {
				t.Errorf("null: got %q, want a tombstone", l.Value)
			}
			if kind == "text" || kind == "bytea" {
				if l := s.row("aggregate_id, payload", "'k', ''"); l.Value == nil || len(l.Value) != 0 {
					t.Errorf("0 bytes: got %q, want a value that is empty and not null", l.Value)
				}
			}
			if kind == "bytea" {
				if l := s.row("aggregate_id, payload", `'k', '\x00ff5c'`); !bytes.Equal(l.Value, []byte{0, 0xff, 0x5c}) {
					t.Errorf("got %x", l.Value)
				}
			}
			if kind == "json" { // byte for byte: json keeps blanks and doubles
				if l := s.row("aggregate_id, payload", `'k', '{"b":1,  "a":1, "b":2}'`); string(l.Value) != `{"b":1,  "a":1, "b":2}` {
					t.Errorf("got %s", l.Value)
				}
			}
			// as large as the schema lets it be: 768 KiB of text, its quotes among them in JSON
			most := `'k', repeat('x', 768 * 1024)`
			switch kind {
			case "jsonb", "json":
				most = `'k', ('"' || repeat('x', 768 * 1024 - 2) || '"')::` + kind
			case "bytea":
				most = `'k', convert_to(repeat('x', 768 * 1024), 'UTF8')`
			}
			if l := s.row("aggregate_id, payload", most); len(l.Value) != 768<<10 {
				t.Errorf("768 KiB: got %d bytes", len(l.Value))
			}
			conn := s.pg.Conn(t)
			_, err := conn.Exec(t.Context(), "INSERT INTO outbox (aggregate_type, event_type, aggregate_id, payload) VALUES ('orders', 'Made', "+
				strings.Replace(strings.Replace(most, "768 * 1024 - 2", "768 * 1024 - 1", 1), "768 * 1024)", "768 * 1024 + 1)", 1)+")")
			if err == nil || !strings.Contains(err.Error(), "payload_bound") {
				t.Errorf("one byte above the bound: got %v, want the insert refused by payload_bound", err)
			}
			p.drain()
		})
	}
}

func TestRow_Keys(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	wide := strings.Repeat("Schlüssel-鍵-🔑-", 500)
	for _, c := range []struct {
		key  any
		want string
	}{
		{nil, "id"}, // a null key is the aggregate's id
		{"", ""},
		{strings.Repeat("k", 10_000), strings.Repeat("k", 10_000)},
		{wide, wide},
		{"new\nline \"quoted\" \\ \t", "new\nline \"quoted\" \\ \t"},
	} {
		l := s.row("aggregate_id, partition_key, payload", "'id', $1, '1'", c.key)
		if l.Key == nil || string(l.Key) != c.want {
			t.Errorf("key %.20q: got %.20q, want %.20q", c.key, l.Key, c.want)
		}
	}
	p.drain()
}

func TestRow_Headers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	all := func(l line.Line, name string) (values []string) {
		for _, h := range l.Headers {
			if h.Name == name {
				values = append(values, string(h.Value))
			}
		}
		return values
	}

	// names that are the relay's own stay the relay's
	l := s.row("aggregate_id, payload, headers", `'k', '1', '{"event_id": "mine", "event_type": "mine", "cdc-lsn": "mine", "cdc-source": "mine", "cdc-index": "mine", "cdc-replay": "mine", "traceparent": "00-ab"}'`)
	for _, name := range []string{"event_id", "event_type", "cdc-lsn", "cdc-source", "cdc-index"} {
		if got := all(l, name); len(got) != 1 || got[0] == "mine" {
			t.Errorf("header %s: got %q, want the relay's alone", name, got)
		}
	}
	if got := all(l, "cdc-replay"); len(got) != 0 {
		t.Errorf("header cdc-replay: got %q, and nothing was replayed", got)
	}
	if got := all(l, "traceparent"); !slices.Equal(got, []string{"00-ab"}) {
		t.Errorf("traceparent: got %q", got)
	}

	// strings as they are, anything else as JSON text
	l = s.row("aggregate_id, payload, headers", `'k', '1', '{"s": "text", "n": 1.50, "b": true, "o": {"a": [1, "x"]}, "l": [1, 2], "empty": "", "": "no name", "ü": "ö"}'`)
	for name, want := range map[string]string{"s": "text", "n": "1.50", "b": "true", "l": "[1, 2]", "o": `{"a": [1, "x"]}`, "empty": "", "ü": "ö"} {
		if got := all(l, name); len(got) != 1 || got[0] != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}

	l = s.row("aggregate_id, payload, headers", `'k', '1', (SELECT jsonb_object_agg('h' || i, i::text) FROM generate_series(1, 1000) AS i)`)
	for i := 1; i <= 1000; i++ {
		if got := all(l, fmt.Sprintf("h%d", i)); len(got) != 1 || got[0] != fmt.Sprint(i) {
			t.Fatalf("header h%d of 1,000: got %q", i, got)
		}
	}
	p.drain()
}

// Headers that are no object cannot become a record's: such an event is rejected, by default parked with its key, and the
// others flow on.
func TestRow_HeadersThatAreNoObject(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.pg.Exec(t, `INSERT INTO outbox (aggregate_type, event_type, aggregate_id, payload, headers) VALUES
		('orders', 'Made', 'bad', '{"n": 0}', '[1]'), ('orders', 'Made', 'good', '{"n": 1}', '{}'), ('orders', 'Made', 'bad', '{"n": 2}', '{}')`)
	got := s.holds(1)
	if string(got[0].Key) != "good" {
		t.Errorf("got %s", got[0].Key)
	}
	p.says("event parked", "refused")
	s.verb(0, []string{"headers"}, "dlq", "list", "-o", "json")
	s.quiet()
	p.drain()
	if n := query[int](s, "SELECT count(*) FROM cdc_relay.dead_letter WHERE slot = $1", s.slot); n != 2 {
		t.Errorf("%d dead letters, want the bad one and the one behind it", n)
	}
	p = s.start()
	s.insert(10, 3, 1)
	s.holds(4)
	p.drain()

	halting := setup(t)
	p = halting.start("CDC_RELAY_ON_REJECT=halt")
	halting.pg.Exec(t, `INSERT INTO outbox (aggregate_type, event_type, aggregate_id, payload, headers) VALUES ('orders', 'Made', 'bad', '{"n": 0}', '"text"')`)
	text := p.exits(8, "headers", "cdc-relay skip --position", "on_reject")
	halting.skip(text)
	p = halting.start("CDC_RELAY_ON_REJECT=halt")
	halting.insert(1, 3, 1)
	halting.holds(3)
	p.drain()
}

// skip passes over the position that an error names.
func (s *stand) skip(text string) {
	s.t.Helper()
	_, at, found := strings.Cut(text, "skip --position ")
	if !found {
		s.t.Fatalf("no position in %s", text)
	}
	at = strings.Fields(strings.ReplaceAll(at, "`", " "))[0]
	s.verb(0, []string{at}, "skip", "--position", at, "--why", "a test")
}

// One transaction of many rows: memory does not follow its size, and a kill inside of it repeats a window, not all of it.
func TestTransaction_Large(t *testing.T) {
	t.Parallel()
	rows := 100_000
	if os.Getenv("CDC_RELAY_TEST_HEAVY") != "" {
		rows = 1_000_000
	}
	// a server of its own: a transaction that stays open this long keeps other tests' slots from being made
	srv := testenv.StartPostgres(t, "", map[string]string{"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB"})
	s := setupIn(t, srv.Database(t))
	p := s.start()
	s.insert(0, rows, 100)
	testenv.Eventually(t, 3*time.Minute, func() error {
		if st, err := os.Stat(s.file); err != nil || st.Size() < int64(rows)*250 {
			return fmt.Errorf("not half of it has arrived")
		}
		return nil
	})
	first := p.peak()
	p.kill()
	p = s.start()
	testenv.Eventually(t, 3*time.Minute, func() error {
		if open := query[string](s, "SELECT CASE WHEN open_commit <> '0/0' OR lsn < $2::pg_lsn THEN lsn || ' ' || open_index ELSE '' END FROM cdc_relay.checkpoint WHERE slot = $1",
			s.slot, s.commitLSN()); open != "" {
			return fmt.Errorf("the mark stands at %s", open)
		}
		return nil
	})
	second := p.peak()
	p.drain()
	again := s.compare(s.lines(""), 20000)
	t.Logf("%d rows in one transaction: peak RSS %d and %d MiB, %d came again after a kill inside of it", rows, first>>20, second>>20, again)
	if most := max(first, second); most > 72<<20 {
		t.Errorf("peak RSS is %d MiB, want 64 and some slack", most>>20)
	}
}

// A busy database whose outbox is idle: WAL is released, without a heartbeat table.
func TestTransaction_OfOtherTables(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"fsync": "off"})
	s := setupIn(t, srv.Database(t))
	p := s.start()
	s.pg.Exec(t, "CREATE TABLE busy (x text)")
	for range 4 {
		s.pg.Exec(t, "INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
	}
	end := query[string](s, "SELECT pg_current_wal_lsn()::text")
	testenv.Eventually(t, 30*time.Second, func() error {
		if kept := query[int64](s, "SELECT $1::pg_lsn - confirmed_flush_lsn FROM pg_replication_slots", end); kept > 33<<20 {
			return fmt.Errorf("the slot keeps %d bytes", kept)
		}
		return nil
	})
	p.drain()
	if n := len(s.lines("")); n != 0 {
		t.Errorf("%d events came from nowhere", n)
	}
}

func TestTransaction_Shapes(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			p := s.start()
			ins := func(n int) string {
				return fmt.Sprintf(`INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('orders', 'k', 'Made', '{"n": %d}'); `, n)
			}
			// savepoints rolled back, and nested ones
			s.pg.Exec(t, "BEGIN; "+ins(0)+"SAVEPOINT a; "+ins(-1)+"SAVEPOINT b; "+ins(-2)+"ROLLBACK TO a; "+ins(1)+"RELEASE a; SAVEPOINT c; "+ins(2)+"RELEASE c; COMMIT")
			s.pg.Exec(t, "BEGIN; "+ins(-3)+"ROLLBACK")
			// a prepared transaction arrives when it is committed, and where: after what was committed meanwhile
			name := "p_" + s.slot
			s.pg.Exec(t, "BEGIN; "+ins(5)+"PREPARE TRANSACTION '"+name+"'")
			s.pg.Exec(t, ins(3)+ins(4))
			s.holds(5)
			s.pg.Exec(t, "COMMIT PREPARED '"+name+"'")
			s.holds(6)
			s.pg.Exec(t, "BEGIN; "+ins(-4)+"PREPARE TRANSACTION '"+name+"'")
			s.pg.Exec(t, "ROLLBACK PREPARED '"+name+"'")
			// updates, deletes and truncates of the outbox mean nothing
			s.pg.Exec(t, "UPDATE outbox SET event_type = 'Changed' WHERE payload ->> 'n' = '0'")
			s.pg.Exec(t, "DELETE FROM outbox WHERE payload ->> 'n' = '1'")
			// COPY: its rows share an LSN
			conn := s.pg.Conn(t)
			var rows [][]any
			for n := 6; n < 1006; n++ {
				rows = append(rows, []any{"orders", "k", "Made", map[string]int{"n": n}})
			}
			_, err := conn.CopyFrom(context.Background(), pgx.Identifier{"outbox"}, []string{"aggregate_type", "aggregate_id", "event_type", "payload"}, pgx.CopyFromRows(rows))
			if err != nil {
				t.Fatal(err)
			}
			s.pg.Exec(t, "SELECT pg_logical_emit_message(true, 'other', 'message'), pg_logical_emit_message(false, 'other', 'message')")
			got := s.holds(1006)
			p.drain()
			p = s.start()
			s.pg.Exec(t, ins(1006))
			got = append(got[:0], s.holds(1007)...)
			p.drain()
			seen := map[string]bool{}
			for i, l := range got {
				if n := number(t, l); n != i {
					t.Fatalf("event %d carries %d", i, n)
				}
				at := header(l, "cdc-lsn") + "/" + header(l, "cdc-index")
				if seen[at] {
					t.Errorf("two events at %s", at)
				}
				seen[at] = true
			}
			s.pg.Exec(t, "TRUNCATE outbox")
			s.start().drain()
			if n := len(s.lines("")); n != 1007 {
				t.Errorf("%d events, want 1007", n)
			}
		})
	}
}

// Columns come and go while the relay reads: each row has those of its time.
func TestSchema_ChangedInMidStream(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			p := s.start()
			s.insert(0, 5, 1)
			s.pg.Exec(t, "ALTER TABLE outbox ADD COLUMN tenant text DEFAULT 'none'")
			s.insert(5, 5, 1)
			s.pg.Exec(t, "ALTER TABLE outbox DROP COLUMN tenant")
			s.insert(10, 5, 1)
			s.pg.Exec(t, "BEGIN; "+strings.NewReplacer("$1::int", "15", "$2::int", "5", "$3::int", "1").Replace(insertRows)+
				"; ALTER TABLE outbox ADD COLUMN other int; "+strings.NewReplacer("$1::int", "20", "$2::int", "5", "$3::int", "1").Replace(insertRows)+"; COMMIT")
			s.holds(25)
			p.drain()
			s.compare(s.lines(""), 0)
		})
	}
}

// A mapped column is dropped: what came before is delivered, the relay stops with relation, column and position, and the
// operator either brings the column back for what follows, and passes over the row, or maps it away.
func TestSchema_MappedColumnDropped(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.pg.Exec(t, `CREATE TABLE own (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), kind text, entity text, what text, body jsonb)`)
	s.pg.Exec(t, `ALTER PUBLICATION cdc_relay SET TABLE own; GRANT SELECT ON own TO `+s.role)
	s.env = append(s.env, "CDC_RELAY_OUTBOX_0_TABLE=own", "CDC_RELAY_OUTBOX_0_COLUMNS=event_id=id,aggregate_type=kind,aggregate_id=entity,event_type=what,payload=body,topic=,partition_key=,headers=,created_at=,seq=")
	insert := func(n int) {
		s.pg.Exec(t, `INSERT INTO own (kind, entity, body) VALUES ('orders', 'k', jsonb_build_object('n', $1::int))`, n)
	}
	p := s.start()
	insert(0)
	s.holds(1)
	s.pg.Exec(t, "ALTER TABLE own DROP COLUMN what")
	insert(1)
	text := p.exits(8, "public.own", "what", "cdc-relay skip --position")
	s.run().exits(8, "public.own", "what", "cdc-relay skip --position") // it is no passing thing
	s.pg.Exec(t, "ALTER TABLE own ADD COLUMN what text")
	insert(2)
	s.skip(text)
	p = s.start()
	got := s.holds(2)
	p.drain()
	if a, b := number(t, got[0]), number(t, got[1]); a != 0 || b != 2 {
		t.Errorf("got %d and %d, want 0 and 2: the row without the column was passed over", a, b)
	}
}
