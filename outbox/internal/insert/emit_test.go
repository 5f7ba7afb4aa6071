package insert_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// overEmit writes events by the SQL function, as a program in another language would.
func overEmit(t *testing.T, url, function string) write {
	t.Helper()
	conn, err := pgx.Connect(ctx(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return func(o outbox.Options, events ...outbox.Event) (written []outbox.Written, err, _ error) {
		for _, e := range events {
			headers, payload, id := []byte("{}"), []byte(nil), any(nil)
			if e.Headers != nil {
				if headers, err = json.Marshal(e.Headers); err != nil {
					t.Fatal(err)
				}
			}
			if e.Payload != nil {
				payload = e.Payload.([]byte)
			}
			if e.ID != "" {
				id = e.ID
			}
			w := outbox.Written{AggregateType: e.AggregateType, AggregateID: e.AggregateID, Type: e.Type, Topic: e.Topic, Key: e.PartitionKey}
			if w.Key == "" {
				w.Key = e.AggregateID
			}
			call := `SELECT cdc_relay.` + function + `(aggregate_type => $1, aggregate_id => $2, event_type => $3, payload => $4,
				headers => $5, topic => $6, partition_key => $7, event_id => $8)::text`
			if function == "emit_messages" { // it answers how many
				call = `SELECT cdc_relay.emit_messages(aggregate_types => ARRAY[$1::text], aggregate_ids => ARRAY[$2::text], event_types => ARRAY[$3::text], payloads => ARRAY[$4::text],
					headers => ARRAY[$5::text], topics => ARRAY[$6::text], partition_keys => ARRAY[$7::text], event_ids => ARRAY[$8::text])::text`
			}
			if err := conn.QueryRow(ctx(t), call,
				e.AggregateType, e.AggregateID, e.Type, payload, headers, e.Topic, e.PartitionKey, id).Scan(&w.ID); err != nil {
				return nil, err, nil
			}
			written = append(written, w)
		}
		return written, nil, nil
	}
}

// emit writes what Write writes, with INSERT on the outbox alone, for all payload types and on all versions.
func TestEmitWritesTheSame(t *testing.T) {
	t.Parallel()
	for version, typ := range map[string]outbox.PayloadType{"14": outbox.JSONB, "15": outbox.Bytea, "16": outbox.Text, "17": outbox.JSON, "18": outbox.JSONB} {
		t.Run(version+" "+string(typ), func(t *testing.T) {
			t.Parallel()
			pg := migrated(t, typ, version)
			role, url := pg.CreateRole(t)
			pg.Exec(t, "GRANT INSERT ON outbox TO "+role)
			var events []outbox.Event
			for _, s := range nasty() {
				payload, _ := json.Marshal(map[string]string{s: s})
				events = append(
					events,
					outbox.Event{AggregateType: s, AggregateID: s, Type: s, Topic: s, PartitionKey: s, Payload: payload, Headers: map[string]any{s: s, "n": 1}},
					outbox.Event{AggregateType: s, AggregateID: s, Type: s},
				)
			}
			o := outbox.NewOptions()
			o.PayloadType = typ
			written, err, _ := overEmit(t, url, "emit")(o, events...)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "emit", o, events, written, table(t, pg.Conn(t), 0))
			ids := make([]string, len(written))
			for i, w := range written {
				if ids[i] = w.ID; w.ID[14] != '7' {
					t.Errorf("%s is no v7", w.ID)
				}
			}
			if !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(a[:18], b[:18]) }) {
				t.Error("ids do not rise")
			}
		})
	}
}

// emit refuses what Write refuses, by SQLSTATE 22023, or by Postgres's own for what a type cannot hold.
func TestEmitRefusesTheSame(t *testing.T) {
	t.Parallel()
	pg := migrated(t, outbox.JSONB)
	published(t, pg)
	emit, insert := overEmit(t, pg.URL(), "emit"), overPGX(t, pgx.QueryExecModeCacheStatement, pg.URL())
	messages := map[string]write{"emit_message": overEmit(t, pg.URL(), "emit_message"), "emit_messages": overEmit(t, pg.URL(), "emit_messages")}
	good := outbox.Event{AggregateType: "orders", AggregateID: "o-1", Type: "OrderCreated", Payload: []byte("1")}
	for name, c := range map[string]struct {
		change func(*outbox.Event)
		code   string // "": taken
	}{
		"good":            {func(*outbox.Event) {}, ""},
		"own id":          {func(e *outbox.Event) { e.ID = "01890A5D-AC96-474B-BCCE-B302099A8057" }, ""},
		"empty type":      {func(e *outbox.Event) { e.Type = "" }, "22023"},
		"empty aggregate": {func(e *outbox.Event) { e.AggregateType = "" }, "22023"},
		"empty id":        {func(e *outbox.Event) { e.AggregateID = "" }, "22023"},
		"nil uuid":        {func(e *outbox.Event) { e.ID = "00000000-0000-0000-0000-000000000000" }, "22023"},
		"no uuid":         {func(e *outbox.Event) { e.ID = "x" }, "22P02"},
		"event_id":        {func(e *outbox.Event) { e.Headers = map[string]any{"event_id": 1} }, "22023"},
		"event_type":      {func(e *outbox.Event) { e.Headers = map[string]any{"event_type": 1} }, "22023"},
		"aggregate_type":  {func(e *outbox.Event) { e.Headers = map[string]any{"aggregate_type": 1} }, "22023"},
		"aggregate_id":    {func(e *outbox.Event) { e.Headers = map[string]any{"aggregate_id": 1} }, "22023"},
		"cdc-":            {func(e *outbox.Event) { e.Headers = map[string]any{"cdc-": 1} }, "22023"},
		"ce_":             {func(e *outbox.Event) { e.Headers = map[string]any{"ok": 1, "ce_x": 1} }, "22023"},
		"debezium":        {func(e *outbox.Event) { e.Headers = map[string]any{"__debezium.x": 1} }, "22023"},
		"no name":         {func(e *outbox.Event) { e.Headers = map[string]any{"": 1} }, "22023"},
		"names that look": {func(e *outbox.Event) {
			e.Headers = map[string]any{"cdc": 1, "cex": 1, "ce-id": 1, "Event_Id": 1, "id": 1}
		}, ""},
		"no JSON":          {func(e *outbox.Event) { e.Payload = []byte("{") }, "22P02"},
		"NUL in a text":    {func(e *outbox.Event) { e.Topic = "\x00" }, "22021"},
		"NUL in a payload": {func(e *outbox.Event) { e.Payload = []byte(`"\u0000"`) }, "22P05"},
		"above the bound": {func(e *outbox.Event) {
			e.Payload = []byte(`"` + strings.Repeat("x", outbox.DefaultMaxPayloadBytes) + `"`)
		}, "23514"},
		"just at the bound": {func(e *outbox.Event) {
			e.Payload = []byte(`"` + strings.Repeat("x", outbox.DefaultMaxPayloadBytes-2) + `"`)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			event := good
			c.change(&event)
			_, err, _ := emit(outbox.NewOptions(), event)
			var refused *pgconn.PgError
			if got := errors.As(err, &refused); got != (c.code != "") || got && refused.Code != c.code {
				t.Errorf("emit: %v, want SQLSTATE %q", err, c.code)
			}
			for function, emit := range messages {
				_, err, _ = emit(outbox.NewOptions(), event)
				if got := errors.As(err, &refused); got != (c.code != "") || got && refused.Code != c.code {
					t.Errorf("%s: %v, want SQLSTATE %q", function, err, c.code)
				}
			}
			_, err, _ = insert(outbox.NewOptions(), event)
			var invalid *outbox.InvalidError
			if errors.As(err, &invalid) != (c.code != "") {
				t.Errorf("Write: %v, and emit says %q", err, c.code)
			}
		})
	}
	conn := pg.Conn(t)
	for _, headers := range []string{"[]", "1", `"x"`, "null"} {
		for _, function := range []string{"emit", "emit_message"} {
			var refused *pgconn.PgError
			if _, err := conn.Exec(ctx(t), "SELECT cdc_relay."+function+"('a', '1', 't', NULL, headers => $1)", headers); !errors.As(err, &refused) || refused.Code != "22023" {
				t.Errorf("%s, headers %s: %v", function, headers, err)
			}
		}
	}
	for _, sql := range []string{"SELECT cdc_relay.emit('a', '1', 't', NULL, headers => NULL)", "SELECT cdc_relay.emit('a', '1', 't', payload => NULL, topic => '', partition_key => '')"} {
		if _, err := conn.Exec(ctx(t), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if rows := table(t, conn, 0); text(rows[len(rows)-1].Topic) != "NULL" || text(rows[len(rows)-1].PartitionKey) != "NULL" || rows[len(rows)-1].Headers != "{}" {
			t.Errorf("%s: %+v", sql, rows[len(rows)-1])
		}
	}
}
