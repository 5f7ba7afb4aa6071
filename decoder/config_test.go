package decoder

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/record"
)

// TestNewNamesAllMistakesAtOnce: whoever writes a configuration mends it in one round.
func TestNewNamesAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Config{PositionHeaders: true, Tables: []Table{
		{
			Name: "outbox", Preset: "other", Columns: map[string]string{"event": "x", "event_id": ""}, Topic: "{nothing}", Format: "xml",
			TopicsAllowed: []string{"a b"},
		},
		{Name: "public.b", Columns: map[string]string{"aggregate_type": ""}},
		{Name: "public.c", Preset: PresetDebezium, Topic: "a", Debezium: record.Debezium{
			TopicReplacement: "b", ExpandJSONPayload: true,
			EventTimestamp: "ts", EventSchemaVersion: "v", ConverterSchemas: true, AdditionalPlacement: "x:envelope,y,z:header:h:i",
			ValueConverter: "avro", KeyConverter: "avro",
		}},
		{Name: "public.d", Debezium: record.Debezium{EventKey: "k"}},
	}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"schema.table", `preset "other"`, "columns.event is no column", "{nothing}", `format "xml"`, `"a b"`,
		"topic rule reads aggregate_type", "position headers need the source",
		"both set", "table.expand.json.payload", "table.field.event.timestamp", "table.field.event.schema.version", "JSON converter with schemas",
		`"x:envelope" needs`, `placement "y"`, `placement "z:header:h:i"`, `value converter "avro"`, `key converter "avro"`,
		"need format: debezium",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %q in it", err, want)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no tables: got no error")
	}
	if _, err := New(Config{Tables: []Table{{Name: "public.a"}, {Name: "public.a"}}}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a table twice: got %v", err)
	}
}

// TestTopicColumnsAreNeeded: the native preset does not fall back to a rule because a column has gone.
func TestTopicColumnsAreNeeded(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{"topic", "partition_key", "headers", "event_type"} {
		d := open(t, Table{Name: "public.outbox"})
		var columns []column
		var values []any
		for _, c := range nativeColumns() {
			if c.name != gone {
				columns, values = append(columns, c), append(values, "1")
			}
		}
		feed(t, d, beginMsg(1, 1), relationMsg(1, "public", "outbox", columns...))
		if _, err := d.Decode(insertMsg(1, values...)); err == nil || !strings.Contains(err.Error(), "column "+gone) {
			t.Errorf("without %s: got %v, want an error that names it", gone, err)
		}
	}
}
