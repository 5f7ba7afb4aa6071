package insert_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/outbox"
)

// published makes emit_message believe in a relay that runs with messages: on, as the docs tell people to.
func published(t *testing.T, pg *testenv.PG) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/tableless.md")
	if err != nil {
		t.Fatal(err)
	}
	_, snippet, found := strings.Cut(string(page), "<!-- run by a test -->\n```sql\n")
	snippet, _, closed := strings.Cut(snippet, "```")
	if !found || !closed {
		t.Fatal("docs/tableless.md does not say how a database without a relay pretends to have one")
	}
	pg.Exec(t, snippet)
}

// events are what the relay's decoder makes of all that a slot has to send.
func events(t *testing.T, conn *pgx.Conn, slot string) (out []decoder.Event) {
	t.Helper()
	rows, err := conn.Query(ctx(t), "SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'cdc_relay', 'messages', 'true')", slot)
	if err != nil {
		t.Fatal(err)
	}
	d, err := decoder.New(decoder.Config{Tables: []decoder.Table{{Name: "public.outbox"}}, Messages: []decoder.Span{{}}})
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	if _, err := pgx.ForEachRow(rows, []any{&data}, func() error {
		_, err := d.Decode(data)
		out = append(out, d.Take()...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// what is what a consumer sees of an event.
func what(ev *decoder.Event) string {
	return fmt.Sprintf("%s %q %q %q %q %v", ev.Topic, ev.Key, ev.Value, ev.Headers.Bytes, ev.ID, ev.Value == nil)
}

// What Emit writes is the event that Write writes, over every driver, for one and for many, of all payload types; and with
// the right to call emit_message alone.
func TestEmitIsTheSameEvent(t *testing.T) {
	t.Parallel()
	versions := map[outbox.PayloadType]string{outbox.JSONB: "14", outbox.JSON: "16", outbox.Text: "17", outbox.Bytea: "18"}
	for typ, version := range versions {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			pg := migrated(t, typ, version)
			published(t, pg)
			conn, slot := pg.Conn(t), pg.SlotName(t)
			if _, err := conn.Exec(ctx(t), "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot); err != nil {
				t.Fatal(err)
			}
			role, url := pg.CreateRole(t)
			pg.Exec(t, "GRANT EXECUTE ON FUNCTION cdc_relay.emit_message, cdc_relay.emit_messages TO "+role)
			var all []outbox.Event
			for _, s := range nasty() {
				payload, _ := json.Marshal(map[string]string{s: s})
				if typ == outbox.Bytea {
					payload = append(payload, 0, 0xff)
				}
				all = append(
					all,
					outbox.Event{AggregateType: s, AggregateID: s, Type: s, Topic: s, PartitionKey: s, Payload: payload, Headers: map[string]any{s: s, "n": 1}},
					outbox.Event{AggregateType: s, AggregateID: s, Type: s, Payload: []byte("1")},
					outbox.Event{AggregateType: s, AggregateID: s, Type: s},
				)
			}
			if typ == outbox.Bytea || typ == outbox.Text {
				all = append(all, outbox.Event{AggregateType: "a", AggregateID: "b", Type: "empty", Payload: []byte{}})
			}
			for _, d := range drivers() {
				o := outbox.NewOptions()
				o.PayloadType = typ
				for i := range all {
					all[i].ID = outbox.NewID()
				}
				rows, err, _ := d.open(t, pg.URL())(o, all...)
				if err != nil {
					t.Fatal(err)
				}
				emit := d.open(t, url, true)
				messages, err, _ := emit(o, all...)
				if err != nil {
					t.Fatalf("%s: %v", d.name, err)
				}
				o.Returning = true
				printed, err, _ := emit(o, all[:4]...)
				if err != nil {
					t.Fatalf("%s: %v", d.name, err)
				}
				if _, err, _ := emit(o, all[0]); err != nil {
					t.Fatalf("%s: %v", d.name, err)
				}
				o.Returning = false
				if _, err, _ := emit(o, all[2]); err != nil {
					t.Fatalf("%s: %v", d.name, err)
				}
				got := events(t, conn, slot)
				n := len(all)
				if len(got) != 2*n+6 || len(rows) != n || len(messages) != n {
					t.Fatalf("%s: %d events, want %d", d.name, len(got), 2*n+6)
				}
				for i := range all {
					if row, message := what(&got[i]), what(&got[n+i]); row != message {
						t.Fatalf("%s: event %d as a row and as a message:\n%s\n%s", d.name, i, row, message)
					}
					if messages[i].ID != all[i].ID || messages[i].Key != rows[i].Key {
						t.Errorf("%s: event %d: handed back %+v", d.name, i, messages[i])
					}
				}
				for i, w := range printed {
					if ev := got[2*n+i]; !bytes.Equal(w.Value, ev.Value) || (w.Value == nil) != (ev.Value == nil) || what(&ev) != what(&got[i]) {
						t.Errorf("%s: handed back %q, published %q", d.name, w.Value, ev.Value)
					}
				}
				if what(&got[2*n+4]) != what(&got[0]) || what(&got[2*n+5]) != what(&got[2]) {
					t.Errorf("%s: one alone is another event", d.name)
				}
			}
		})
	}
}

// Nobody may emit by himself, and while no relay would publish it nobody can: the event would be gone without a trace.
func TestEmitIsRefusedWhenItWouldBeLost(t *testing.T) {
	t.Parallel()
	pg := migrated(t, outbox.JSONB)
	role, url := pg.CreateRole(t)
	event := outbox.Event{AggregateType: "a", AggregateID: "1", Type: "t"}
	refuses := func(code string) {
		t.Helper()
		for _, d := range drivers()[:4] {
			var refused *pgconn.PgError
			_, err, next := d.open(t, url, true)(outbox.NewOptions(), event)
			if err == nil || next == nil || !strings.Contains(err.Error(), "emit 1 events: ") || !strings.Contains(err.Error(), code) && !(errors.As(err, &refused) && refused.Code == code) {
				t.Errorf("%s: %v, then %v, want SQLSTATE %s", d.name, err, next, code)
			}
		}
	}
	refuses("42501")
	pg.Exec(t, "GRANT EXECUTE ON FUNCTION cdc_relay.emit_message, cdc_relay.emit_messages TO "+role)
	refuses("55000")
	published(t, pg)
	if _, err, _ := overPGX(t, pgx.QueryExecModeCacheStatement, url, true)(outbox.NewOptions(), event); err != nil {
		t.Error(err)
	}
	pg.Exec(t, "UPDATE cdc_relay.message_span SET closing = true")
	refuses("55000")
	pg.Exec(t, "UPDATE cdc_relay.message_span SET closing = false; DELETE FROM cdc_relay.checkpoint") // slot drop
	refuses("55000")
	published(t, pg)
	pg.Exec(t, "UPDATE cdc_relay.message_span SET until = '0/2', until_xid = '3'")
	refuses("55000")
}
