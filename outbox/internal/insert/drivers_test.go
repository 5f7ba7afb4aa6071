package insert_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
	"github.com/cdc-relay/cdc-relay/outbox/outboxsql"
)

// driver is one way to the database. write commits a transaction of its own; when Write fails it hands back the transaction's
// next answer, too.
type driver struct {
	name string
	open func(t *testing.T, url string, emit ...bool) write // emit: Emit in the place of Write
}

type write func(o outbox.Options, events ...outbox.Event) (written []outbox.Written, err, next error)

// drivers are all that are promised, in all of their modes.
func drivers() []driver {
	out := []driver{
		{"stdlib", func(t *testing.T, url string, emit ...bool) write { return overSQL(t, "pgx", url, emit...) }},
		{"pq", func(t *testing.T, url string, emit ...bool) write { return overSQL(t, "postgres", url, emit...) }},
		{"pq binary", func(t *testing.T, url string, emit ...bool) write {
			return overSQL(t, "postgres", url+"&binary_parameters=yes", emit...)
		}},
	}
	for name, mode := range map[string]pgx.QueryExecMode{
		"pgx": pgx.QueryExecModeCacheStatement, "pgx describe": pgx.QueryExecModeCacheDescribe, "pgx describe each": pgx.QueryExecModeDescribeExec,
		"pgx exec": pgx.QueryExecModeExec, "pgx simple": pgx.QueryExecModeSimpleProtocol,
	} {
		out = append(out, driver{name, func(t *testing.T, url string, emit ...bool) write { return overPGX(t, mode, url, emit...) }})
	}
	return out
}

func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return c
}

func overPGX(t *testing.T, mode pgx.QueryExecMode, url string, emit ...bool) write {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(ctx(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return func(o outbox.Options, events ...outbox.Event) ([]outbox.Written, error, error) {
		w, err := outboxpgx.NewWriter(o)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		way := w.Write
		if len(emit) > 0 {
			way = w.Emit
		}
		written, err := way(ctx(t), tx, events...)
		if err != nil {
			_, next := tx.Exec(ctx(t), "SELECT 1")
			_ = tx.Rollback(ctx(t))
			return nil, err, next
		}
		return written, tx.Commit(ctx(t)), nil
	}
}

func overSQL(t *testing.T, name, url string, emit ...bool) write {
	t.Helper()
	db, err := sql.Open(name, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return func(o outbox.Options, events ...outbox.Event) ([]outbox.Written, error, error) {
		w, err := outboxsql.NewWriter(o)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := db.BeginTx(ctx(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		way := w.Write
		if len(emit) > 0 {
			way = w.Emit
		}
		written, err := way(ctx(t), tx, events...)
		if err != nil {
			_, next := tx.ExecContext(ctx(t), "SELECT 1")
			_ = tx.Rollback()
			return nil, err, next
		}
		return written, tx.Commit(), nil
	}
}

// migrated returns a database with an outbox of that payload type.
func migrated(t *testing.T, typ outbox.PayloadType, version ...string) *testenv.PG {
	t.Helper()
	pg, o := testenv.Postgres(t, version...), migrations.NewOptions()
	o.PayloadType = string(typ)
	if _, err := migrations.Up(ctx(t), pg.Conn(t), o); err != nil {
		t.Fatal(err)
	}
	return pg
}

// row is what stands in the table, as the relay is sent it.
type row struct {
	ID, AggregateType, AggregateID, Type string
	Topic, PartitionKey, Payload         *string
	Headers                              string
}

// table reads the rows but for so many of the first.
func table(t *testing.T, conn *pgx.Conn, skip int) []row {
	t.Helper()
	rows, err := conn.Query(ctx(t), `SELECT event_id::text, aggregate_type, aggregate_id, event_type, topic, partition_key, payload::text, headers::text FROM outbox ORDER BY seq OFFSET $1`, skip)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}

// nasty are texts that a quoting mistake would change.
func nasty() []string {
	return []string{
		`plain`, `"`, `\`, `\\"`, `'`, `''; DROP TABLE outbox; --`, `{}`, `{"a","b"}`, `NULL`, `null`, ` blank `, `a,b`, `(1)`, `$1`, "line\nfeed\ttab\r", `\x41`, `é 漢字 😀 e` + "\u0301",
		"\u2028\u2029\u0085", "\x01\x1f\x7f", strings.Repeat(`"\`, 1000),
	}
}

// What is written is what stands there, in the order of the arguments, over every driver, for one event and for many.
func TestWhatIsWrittenStandsThere(t *testing.T) {
	t.Parallel()
	for _, typ := range []outbox.PayloadType{outbox.JSONB, outbox.JSON, outbox.Text, outbox.Bytea} {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			pg := migrated(t, typ)
			conn := pg.Conn(t)
			var events []outbox.Event
			for _, s := range nasty() {
				payload, _ := json.Marshal(map[string]string{s: s})
				switch typ {
				case outbox.Text:
					payload = []byte(s)
				case outbox.Bytea:
					payload = []byte(s + "\x00\xff")
				}
				events = append(
					events,
					outbox.Event{AggregateType: s, AggregateID: s, Type: s, Topic: s, PartitionKey: s, Payload: payload, Headers: map[string]any{s: s, "n": 1}},
					outbox.Event{AggregateType: s, AggregateID: s, Type: s}, // a tombstone, and NULL wherever there is one
				)
			}
			rows := 0
			for _, d := range drivers() {
				write := d.open(t, pg.URL())
				for _, returning := range []bool{false, true} {
					for _, one := range []bool{false, true} {
						if one && returning && typ != outbox.JSONB {
							continue // the same texts as above, and each costs a transaction
						}
						o := outbox.NewOptions()
						o.PayloadType, o.Returning = typ, returning
						var written []outbox.Written
						if one {
							for _, e := range events {
								w, err, _ := write(o, e)
								if err != nil {
									t.Fatalf("%s: %+v: %v", d.name, e, err)
								}
								written = append(written, w...)
							}
						} else {
							var err error
							if written, err, _ = write(o, events...); err != nil {
								t.Fatalf("%s: %v", d.name, err)
							}
						}
						same(t, fmt.Sprintf("%s, returning %v, one by one %v", d.name, returning, one), o, events, written, table(t, conn, rows))
						rows += len(events)
					}
				}
			}
		})
	}
}

func same(t *testing.T, who string, o outbox.Options, events []outbox.Event, written []outbox.Written, rows []row) {
	t.Helper()
	if len(written) != len(events) || len(rows) != len(events) {
		t.Fatalf("%s: %d events, %d handed back, %d rows", who, len(events), len(written), len(rows))
	}
	for i, e := range events {
		w, r := written[i], rows[i]
		if r.ID != w.ID || r.AggregateType != e.AggregateType || r.AggregateID != e.AggregateID || r.Type != e.Type ||
			w.AggregateType != e.AggregateType || w.AggregateID != e.AggregateID || w.Type != e.Type || w.Topic != e.Topic || w.Key != e.AggregateID {
			t.Fatalf("%s, event %d: got %+v and row %+v, want %+v", who, i, w, r, e)
		}
		payload := "NULL"
		headers := "{}"
		if e.Payload != nil {
			payload = string(e.Payload.([]byte))
			if text(r.Topic) != e.Topic || text(r.PartitionKey) != e.PartitionKey {
				t.Fatalf("%s, event %d: topic %q, key %q, want %q", who, i, text(r.Topic), text(r.PartitionKey), e.Topic)
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(r.Headers), &got); err != nil || len(got) != 2 || got[e.Type] != e.Type || got["n"] != 1.0 {
				t.Fatalf("%s, event %d: headers %s", who, i, r.Headers)
			}
			headers = r.Headers
		} else if r.Topic != nil || r.PartitionKey != nil || r.Payload != nil {
			t.Fatalf("%s, event %d: want NULLs, got %+v", who, i, r)
		}
		printed := text(r.Payload)
		switch {
		case o.PayloadType == outbox.Bytea && e.Payload != nil:
			raw, err := hex.DecodeString(strings.TrimPrefix(printed, `\x`))
			if err != nil {
				t.Fatal(err)
			}
			printed = string(raw)
		case o.PayloadType == outbox.JSONB && e.Payload != nil:
			payload = printed // as Postgres prints it; what it means stands in the next lines
			var got map[string]string
			if err := json.Unmarshal([]byte(printed), &got); err != nil || got[e.Type] != e.Type {
				t.Fatalf("%s, event %d: payload %s, %v", who, i, printed, err)
			}
		}
		if printed != payload {
			t.Fatalf("%s, event %d: payload %q, want %q", who, i, printed, payload)
		}
		value := "NULL"
		if w.Value != nil {
			value = string(w.Value)
		}
		switch {
		case !o.Returning && (w.Value != nil || w.Headers != nil):
			t.Fatalf("%s, event %d: value and headers unasked", who, i)
		case o.Returning && (value != printed || string(w.Headers) != headers):
			t.Fatalf("%s, event %d: handed back %q and %s, the table prints %q and %s", who, i, value, w.Headers, printed, headers)
		}
	}
}

// Applications have INSERT and nothing else, with Returning too, and a table of another name.
func TestInsertIsAllItTakes(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pg, o := testenv.Postgres(t, version), migrations.NewOptions()
			o.OutboxTable = "App.Events"
			if _, err := migrations.Up(ctx(t), pg.Conn(t), o); err != nil {
				t.Fatal(err)
			}
			role, url := pg.CreateRole(t)
			pg.Exec(t, `GRANT USAGE ON SCHEMA "App" TO `+role+`; GRANT INSERT ON "App"."Events" TO `+role)
			events := make([]outbox.Event, 500)
			for i := range events {
				events[i] = outbox.Event{AggregateType: "orders", AggregateID: "o-1", Type: "Counted", Payload: i}
			}
			for _, d := range drivers() {
				write := d.open(t, url)
				for _, returning := range []bool{false, true} {
					o := outbox.NewOptions()
					o.Table, o.Returning = "App.Events", returning
					if _, err, _ := write(o, events...); err != nil {
						t.Fatalf("%s, returning %v: %v", d.name, returning, err)
					}
				}
			}
			var disorder, rows int
			if err := pg.Conn(t).QueryRow(ctx(t), `SELECT count(*) FILTER (WHERE (seq - 1) % 500 <> payload::int), count(*) FROM "App"."Events"`).Scan(&disorder, &rows); err != nil || disorder > 0 || rows != 2*500*len(drivers()) {
				t.Errorf("%d of %d rows are not where they should be, %v", disorder, rows, err)
			}
		})
	}
}

// The database's errors carry their code, and an invalid event leaves the transaction good.
func TestErrors(t *testing.T) {
	t.Parallel()
	pg := migrated(t, outbox.JSONB)
	missing := outbox.NewOptions()
	missing.Table = "nowhere.outbox"
	event := outbox.Event{AggregateType: "orders", AggregateID: "o-1", Type: "OrderCreated", Payload: 1}
	for _, d := range drivers() {
		write := d.open(t, pg.URL())
		if _, err, next := write(missing, event, event); err == nil || next == nil || !strings.Contains(err.Error(), "insert 2 events into nowhere.outbox: ") || !strings.Contains(err.Error(), "42P01") {
			t.Errorf("%s: no table: %v, then %v", d.name, err, next)
		}
		if _, err, next := write(outbox.NewOptions(), event, outbox.Event{}); err == nil || next != nil || !strings.Contains(err.Error(), "write events: event 1: ") {
			t.Errorf("%s: invalid: %v, then %v", d.name, err, next)
		}
		if written, err, _ := write(outbox.NewOptions()); written != nil || err != nil {
			t.Errorf("%s: no events: %v, %v", d.name, written, err)
		}
	}
	if rows := table(t, pg.Conn(t), 0); len(rows) > 0 {
		t.Errorf("rows: %+v", rows)
	}
}

// Package outbox's verdict on a payload is Postgres's: what passes is taken, what is refused would have lost the transaction.
func TestTheVerdictOnJSONIsPostgres(t *testing.T) {
	t.Parallel()
	for _, typ := range []outbox.PayloadType{outbox.JSONB, outbox.JSON, outbox.Text} {
		for _, version := range []string{"14", "18"} {
			t.Run(string(typ)+" "+version, func(t *testing.T) {
				t.Parallel()
				pg := migrated(t, typ, version)
				conn := pg.Conn(t)
				write := overPGX(t, pgx.QueryExecModeCacheStatement, pg.URL())
				o := outbox.NewOptions()
				o.PayloadType = typ
				for _, s := range []string{
					`null`, `1`, `"x"`, ` [1, 2] `, `{"a": 1, "a": 2}`, `{"": ""}`, `-0`, `1e5`, `1.50`, `"\u0041"`, `"\/"`, `"\ud83d\ude00"`, `"\\u0000"`, `"\\\\ud800"`, `"é"`, "\"\x7f\"", `"\uffff"`, `"\ufdd0"`,
					``, ` `, `{`, `nul`, `'x'`, `{"a"}`, `[1,]`, `01`, `+1`, `1.`, `.1`, `NaN`, `"` + "\n" + `"`, `"` + "\x00" + `"`, "\"\xff\"", "\"\xed\xa0\x80\"", `"\x"`, `"\u12"`,
					`"\u0000"`, `{"\u0000": 1}`, `["\\\u0000"]`, `"\ud800"`, `"\udc00"`, `"\ud800x"`, `"\ud800\u0041"`, `"\ud800\ud800"`, `"\ud83d\\ude00"`, `{"\udc00": 1}`,
				} {
					_, err := conn.Exec(ctx(t), "SELECT $1::text::"+string(typ), s)
					_, refused, next := write(o, outbox.Event{AggregateType: "a", AggregateID: "1", Type: "t", Payload: []byte(s)})
					if (err == nil) != (refused == nil) || refused != nil && next != nil {
						t.Errorf("%q: Postgres says %v, Write %v, then %v", s, err, refused, next)
					}
				}
			})
		}
	}
}
