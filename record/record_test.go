package record

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const oidInt4, oidUUID = 23, 2950

// shape is that of a native table with a payload of the given type.
func shape(payload uint32) Shape {
	s := Shape{}
	for c := range ColRoutedBy {
		s.Mapped[c], s.Types[c] = true, Type{oidText, -1}
	}
	s.Mapped[ColRoutedBy], s.Types[ColRoutedBy] = true, Type{oidText, -1}
	s.Types[ColEventID].OID, s.Types[ColPayload].OID, s.Types[ColHeaders].OID = oidUUID, payload, oidJSONB
	return s
}

func testRow() Row {
	r := Row{Commit: 0x16B3748, Index: 12, CommitTime: 1767323045678901}
	for c, v := range map[Column]string{
		ColEventID: "0198f0c2-5b1e-7d2a-9c3f-0123456789ab", ColAggregateType: "orders", ColAggregateID: "o-1", ColEventType: "OrderCreated",
		ColPayload: `{"a": 1}`, ColHeaders: `{}`, ColRoutedBy: "orders",
	} {
		r.Values[c] = []byte(v)
	}
	return r
}

func encoder(t testing.TB, o Options, s Shape) *Encoder {
	t.Helper()
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.Bind(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func encode(t testing.TB, o Options, s Shape, row Row) Record {
	t.Helper()
	var rec Record
	e := encoder(t, o, s)
	before := []byte("before")
	buf := e.Append(before, &row, &rec)
	if !bytes.HasPrefix(buf, before) {
		t.Fatalf("got %q, want what stood in the buffer first", buf)
	}
	return rec
}

func quoted(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}

// list writes headers as name=value, and holds that their count is right.
func list(t testing.TB, h Headers) string {
	t.Helper()
	var out []string
	size := 0
	for name, value := range h.All() {
		out = append(out, string(name)+"="+quoted(value))
		size += len(AppendHeader(nil, string(name), value))
	}
	if size != len(h.Bytes) || len(out) != h.Count {
		t.Errorf("headers: %d in %d bytes, %d counted in %d bytes", len(out), size, h.Count, len(h.Bytes))
	}
	return strings.Join(out, " ")
}

func TestPlain(t *testing.T) {
	t.Parallel()
	const own = `event_id="0198f0c2-5b1e-7d2a-9c3f-0123456789ab" event_type="OrderCreated" aggregate_type="orders" aggregate_id="o-1"`
	const at = ` cdc-source="7:1:x:s" cdc-lsn="00000000016B3748" cdc-index="12"`
	positions := Options{PositionHeaders: true, Source: "7:1:x:s"}
	tests := []struct {
		name    string
		options Options
		payload uint32
		set     map[Column]string // "NULL" is null
		key     string
		value   string
		headers string
		refused string
	}{
		{"as it is", positions, oidJSONB, nil, `"o-1"`, `"{\"a\": 1}"`, own + at, ""},
		{"without positions", Options{}, oidJSONB, nil, `"o-1"`, `"{\"a\": 1}"`, own, ""},
		{
			"after a switch of timeline",
			Options{PositionHeaders: true, Source: "7:2:x:s", SourcePrev: "7:1:x:s@0/1"},
			oidJSONB, nil, `"o-1"`, `"{\"a\": 1}"`,
			own + ` cdc-source="7:2:x:s" cdc-source-prev="7:1:x:s@0/1" cdc-lsn="00000000016B3748" cdc-index="12"`, "",
		},
		{"key", Options{}, oidJSONB, map[Column]string{ColPartitionKey: "ключ"}, `"ключ"`, `"{\"a\": 1}"`, own, ""},
		{"empty key", Options{}, oidJSONB, map[Column]string{ColPartitionKey: ""}, `""`, `"{\"a\": 1}"`, own, ""},
		{"tombstone", Options{}, oidJSONB, map[Column]string{ColPayload: "NULL"}, `"o-1"`, "null", own, ""},
		{"empty text", Options{}, oidText, map[Column]string{ColPayload: ""}, `"o-1"`, `""`, own, ""},
		{"bytea", Options{}, oidBytea, map[Column]string{ColPayload: `\x00ff41`}, `"o-1"`, `"\x00\xffA"`, own, ""},
		{"empty bytea", Options{}, oidBytea, map[Column]string{ColPayload: `\x`}, `"o-1"`, `""`, own, ""},
		{"bytea null", Options{}, oidBytea, map[Column]string{ColPayload: "NULL"}, `"o-1"`, "null", own, ""},
		{"bytea in escape form", Options{}, oidBytea, map[Column]string{ColPayload: `abc`}, `"o-1"`, `"abc"`, own, refusedBytea},
		{"bytea cut", Options{}, oidBytea, map[Column]string{ColPayload: `\x0`}, `"o-1"`, `"\\x0"`, own, refusedBytea},
		{
			"row's headers", positions, oidJSONB,
			map[Column]string{ColHeaders: `{"z": "1", "a": 1.50, "o": {"x": [1, null]}, "t": true, "n": null, "e": "", "q": "a\"\u00e9", "": "no name"}`},
			`"o-1"`, `"{\"a\": 1}"`, own + ` z="1" a="1.50" o="{\"x\": [1, null]}" t="true" n="null" e="" q="a\"é" ="no name"` + at, "",
		},
		{
			"colliding headers",
			Options{},
			oidJSONB,
			map[Column]string{ColHeaders: `{"event_id": "x", "event_type": 1, "aggregate_type": {}, "aggregate_id": "", "cdc-": "x", "cdc-lsn": "x", "ce_id": "x", "event\u005fid": "x", "Event_Id": "kept", "id": "kept", "content-type": "kept", "ce-x": "kept"}`},
			`"o-1"`, `"{\"a\": 1}"`, own + ` Event_Id="kept" id="kept" content-type="kept" ce-x="kept"`, "",
		},
		{"headers null", Options{}, oidJSONB, map[Column]string{ColHeaders: "NULL"}, `"o-1"`, `"{\"a\": 1}"`, own, ""},
		{"headers an array", Options{}, oidJSONB, map[Column]string{ColHeaders: `["x"]`}, `"o-1"`, `"{\"a\": 1}"`, own, refusedHeaders},
		{"headers broken at the end", positions, oidJSONB, map[Column]string{ColHeaders: `{"x": "y"`}, `"o-1"`, `"{\"a\": 1}"`, own + at, refusedHeaders},
		{"no id", Options{}, oidJSONB, map[Column]string{ColEventID: "NULL"}, `"o-1"`, `"{\"a\": 1}"`, "event_id=null" + own[len(`event_id="0198f0c2-5b1e-7d2a-9c3f-0123456789ab"`):], refusedNoID},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			row := testRow()
			for c, v := range tt.set {
				row.Values[c] = []byte(v)
				if v == "NULL" {
					row.Values[c] = nil
				}
			}
			rec := encode(t, tt.options, shape(tt.payload), row)
			if got := quoted(rec.Key); got != tt.key {
				t.Errorf("key: got %s, want %s", got, tt.key)
			}
			if got := quoted(rec.Value); got != tt.value {
				t.Errorf("value: got %s, want %s", got, tt.value)
			}
			if got := list(t, rec.Headers); got != tt.headers {
				t.Errorf("headers: got\n%s, want\n%s", got, tt.headers)
			}
			if rec.Refused != tt.refused || rec.Partition != -1 || string(rec.Type) != "OrderCreated" || string(rec.AggregateID) != "o-1" {
				t.Errorf("got refused %q, %+v, want %q", rec.Refused, rec, tt.refused)
			}
		})
	}
}

// TestManyHeaders: a thousand, and long ones, come out in order, within the bound.
func TestManyHeaders(t *testing.T) {
	t.Parallel()
	var text, want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, `,"h%d":"%s"`, i, strings.Repeat("v", i))
		fmt.Fprintf(&want, " h%d=%q", i, strings.Repeat("v", i))
	}
	row := testRow()
	row.Values[ColHeaders] = []byte("{" + text.String()[1:] + "}")
	rec := encode(t, Options{}, shape(oidJSONB), row)
	if got := list(t, rec.Headers); !strings.HasSuffix(got, want.String()) || rec.Headers.Count != 1004 {
		t.Errorf("got %d headers", rec.Headers.Count)
	}
	e := encoder(t, Options{}, shape(oidJSONB))
	if got, bound := len(e.Append(nil, &row, &rec)), e.Bound(&row); got > bound {
		t.Errorf("got %d bytes, bound %d", got, bound)
	}
}

// TestI9_SameBytes: the same row at the same position is the same record in every format, whatever was encoded in between.
func TestI9_SameBytes(t *testing.T) {
	t.Parallel()
	for _, format := range []string{Plain, CloudEvents, CloudEventsStructured, DebeziumRouter} {
		e := encoder(t, Options{Format: format, PositionHeaders: true, Source: "s", Table: "public.outbox"}, shape(oidJSONB))
		row, other := testRow(), testRow()
		row.Values[ColHeaders] = []byte(`{"a": "\n", "content-type": "application/x\u002bjson"}`)
		other.Values[ColHeaders] = []byte(`{"content-type": "text/a-much-longer-content-type", "a\tb": "c\td"}`)
		var rec, between Record
		first := e.Append(nil, &row, &rec)
		e.Append(nil, &other, &between)
		if again := e.Append(nil, &row, &rec); !bytes.Equal(first, again) {
			t.Errorf("%s: got %q, then %q", format, first, again)
		}
	}
}

func TestPlainDoesNotAllocate(t *testing.T) {
	e := encoder(t, Options{PositionHeaders: true, Source: "7:1:x:s"}, shape(oidJSONB))
	r, err := NewRouter("orders.{aggregate_type}", []string{"orders.orders"})
	if err != nil {
		t.Fatal(err)
	}
	row := testRow()
	row.Values[ColHeaders] = []byte(`{"traceparent": "00-1-2-01", "n": 1, "escaped": "\n"}`)
	var rec Record
	buf := make([]byte, 0, e.Bound(&row))
	if got := testing.AllocsPerRun(100, func() {
		e.Append(buf, &row, &rec)
		r.Topic(&row)
	}); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
	if len(rec.Value) == 0 || rec.Refused != "" {
		t.Errorf("got %+v", rec)
	}
}

func TestTopic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rule    string
		allowed []string
		column  string // "" is null
		topic   string
		refused bool
	}{
		{"{aggregate_type}", nil, "", "orders", false},
		{"a.{aggregate_type}-{event_type}_{aggregate_id}.z", nil, "", "a.orders-OrderCreated_o-1.z", false},
		{"fixed", nil, "", "fixed", false},
		{"outbox.event.${routedByValue}", nil, "", "outbox.event.orders", false},
		{"{aggregate_type}", nil, "own", "own", false},
		{"{aggregate_type}", []string{"own", "orders"}, "own", "own", false},
		{"{aggregate_type}", []string{"own"}, "", "orders", true},
		{"{aggregate_type}", []string{"orders"}, "Weird Topic", "Weird Topic", true},
		{"{aggregate_type}", nil, "Weird Topic", "Weird Topic", false}, // the sink's to refuse
	}
	for _, tt := range tests {
		r, err := NewRouter(tt.rule, tt.allowed)
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
			continue
		}
		row := testRow()
		if tt.column != "" {
			row.Values[ColTopic] = []byte(tt.column)
		}
		if topic, refused := r.Topic(&row); topic != tt.topic || (refused != "") != tt.refused {
			t.Errorf("%s: got %q, %q, want %q, refused %v", tt.rule, topic, refused, tt.topic, tt.refused)
		}
	}
	for _, rule := range []string{"", "{topic}", "{aggregate_type", "${aggregate_type}", "{routedByValue}", "a{}"} {
		if _, err := NewRouter(rule, nil); err == nil {
			t.Errorf("rule %q: got no error", rule)
		}
	}
	r, _ := NewRouter("{aggregate_id}", nil)
	row := testRow()
	row.Values[ColAggregateID] = nil
	if topic, refused := r.Topic(&row); topic != "" || refused == "" {
		t.Errorf("null: got %q, %q, want it refused", topic, refused)
	}
	for i := range 3 * maxInterned {
		row.Values[ColAggregateID] = fmt.Append(nil, i)
		if topic, _ := r.Topic(&row); topic != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", topic, i)
		}
	}
	if got := len(r.names); got > maxInterned {
		t.Errorf("I8: remembers %d names, want at most %d", got, maxInterned)
	}
}

func TestValidTopic(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"orders": true, "a.b_c-D9": true, "...": true, strings.Repeat("a", 249): true, strings.Repeat("a", 250): false,
		"": false, ".": false, "..": false, "a b": false, "ä": false, "a/b": false, "a\x00": false,
	} {
		if got := ValidTopic(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}
