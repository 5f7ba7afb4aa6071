package outbox

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func good() Event {
	return Event{AggregateType: "orders", AggregateID: "o-1", Type: "OrderCreated", Payload: map[string]int{"total": 12}}
}

func with(change func(*Event)) Event {
	e := good()
	change(&e)
	return e
}

// invalid lists the mistakes in an error of Rows.
func invalid(t *testing.T, err error) []*InvalidError {
	t.Helper()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("want a join of mistakes, got %v", err)
	}
	var out []*InvalidError
	for _, e := range joined.Unwrap() {
		var one *InvalidError
		if !errors.As(e, &one) {
			t.Fatalf("%v is no InvalidError", e)
		}
		out = append(out, one)
	}
	return out
}

func TestEachMistakeIsNamed(t *testing.T) {
	t.Parallel()
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	for name, c := range map[string]struct {
		event       Event
		field, says string
	}{
		"no aggregate type":       {with(func(e *Event) { e.AggregateType = "" }), "aggregate type", "empty"},
		"no aggregate id":         {with(func(e *Event) { e.AggregateID = "" }), "aggregate id", "empty"},
		"no type":                 {with(func(e *Event) { e.Type = "" }), "type", "empty"},
		"NUL in a text":           {with(func(e *Event) { e.PartitionKey = "a\x00b" }), "partition key", "NUL"},
		"text that is not UTF-8":  {with(func(e *Event) { e.Topic = "a\xff" }), "topic", "UTF-8"},
		"id that is no uuid":      {with(func(e *Event) { e.ID = "order-1" }), "id", "no uuid"},
		"id in another form":      {with(func(e *Event) { e.ID = "{" + id + "}" }), "id", "no uuid"},
		"id with wrong digits":    {with(func(e *Event) { e.ID = strings.Replace(id, "5d", "5g", 1) }), "id", "no uuid"},
		"id with misplaced dash":  {with(func(e *Event) { e.ID = "01890a5da-c96-774b-bcce-b302099a8057" }), "id", "no uuid"},
		"nil uuid":                {with(func(e *Event) { e.ID = "00000000-0000-0000-0000-000000000000" }), "id", "nil uuid"},
		"payload of no JSON":      {with(func(e *Event) { e.Payload = []byte(`{"a":`) }), "payload", "no JSON"},
		"empty bytes":             {with(func(e *Event) { e.Payload = []byte{} }), "payload", "no JSON"},
		"payload not UTF-8":       {with(func(e *Event) { e.Payload = json.RawMessage("\"\xff\"") }), "payload", "UTF-8"},
		"NUL in JSON":             {with(func(e *Event) { e.Payload = map[string]string{"a": "x\x00"} }), "payload", `\u0000`},
		"half a pair":             {with(func(e *Event) { e.Payload = []byte(`"\ud800"`) }), "payload", "surrogate"},
		"payload that JSON lacks": {with(func(e *Event) { e.Payload = math.Inf(1) }), "payload", "unsupported value"},
		"payload of a channel":    {with(func(e *Event) { e.Payload = make(chan int) }), "payload", "unsupported type"},
		"payload above the bound": {with(func(e *Event) { e.Payload = strings.Repeat("a", DefaultMaxPayloadBytes-1) }), "payload", "786433 bytes"},
		"header of the relay":     {with(func(e *Event) { e.Headers = map[string]any{"event_id": 1} }), `header "event_id"`, "the relay writes"},
		"position header":         {with(func(e *Event) { e.Headers = map[string]any{"cdc-lsn": "0"} }), `header "cdc-lsn"`, "cdc-"},
		"CloudEvents header":      {with(func(e *Event) { e.Headers = map[string]any{"ce_id": "0"} }), `header "ce_id"`, "ce_"},
		"Debezium's header":       {with(func(e *Event) { e.Headers = map[string]any{"__debezium.a": "0"} }), `header "__debezium.a"`, "__debezium."},
		"header without a name":   {with(func(e *Event) { e.Headers = map[string]any{"": 1} }), `header ""`, "needs a name"},
		"header with NUL":         {with(func(e *Event) { e.Headers = map[string]any{"b": "\x00", "a": 1} }), `header "b"`, `\u0000`},
		"name with NUL":           {with(func(e *Event) { e.Headers = map[string]any{"a\x00": 1} }), `header "a\x00"`, "NUL"},
		"header that JSON lacks":  {with(func(e *Event) { e.Headers = map[string]any{"b": math.NaN(), "a": 1} }), `header "b"`, "unsupported value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewOptions().Rows(t.Context(), []Event{good(), c.event})
			got := invalid(t, err)
			if len(got) != 1 || got[0].Index != 1 || got[0].ID != c.event.ID || got[0].Field != c.field || !strings.Contains(got[0].Error(), c.says) {
				t.Errorf("got %v, want one mistake in event 1, field %s, that says %q", err, c.field, c.says)
			}
		})
	}
}

// All mistakes of all events come at once, and each says whose it is.
func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	const id = "01890A5D-AC96-774B-BCCE-B302099A8057"
	_, err := NewOptions().Rows(t.Context(), []Event{
		{},
		good(),
		with(func(e *Event) { e.ID, e.Payload, e.Headers = id, []byte("x"), map[string]any{"ce_a": 1, "cdc-a": 1} }),
		with(func(e *Event) { e.ID = strings.ToLower(id) }),
	})
	var got []string
	for _, e := range invalid(t, err) {
		got = append(got, strings.SplitAfterN(e.Error(), ": ", 3)[0]+e.Field)
	}
	want := []string{
		"event 0: aggregate type", "event 0: aggregate id", "event 0: type",
		"event 2 (id " + id + "): payload", "event 2 (id " + id + `): header "cdc-a"`, "event 2 (id " + id + `): header "ce_a"`,
		"event 3 (id " + strings.ToLower(id) + "): id",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(err.Error(), "also that of event 2") {
		t.Errorf("the same id twice is not named: %v", err)
	}
}

func TestTheCauseIsKept(t *testing.T) {
	t.Parallel()
	_, err := NewOptions().Rows(t.Context(), []Event{with(func(e *Event) { e.Payload = make(chan int) })})
	var cause *json.UnsupportedTypeError
	if !errors.As(err, &cause) {
		t.Errorf("encoding/json's error is not in %v", err)
	}
}

func TestOptionsValidateNamesAllMistakes(t *testing.T) {
	t.Parallel()
	err := Options{Table: "a.b.c", PayloadType: "xml"}.Validate()
	for _, want := range []string{`"a.b.c"`, `"xml"`, "0 bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	for _, table := range []string{"", ".", "a.", ".b", strings.Repeat("x", 64), "a\x00"} {
		o := NewOptions()
		if o.Table = table; o.Validate() == nil {
			t.Errorf("table %q is taken", table)
		}
	}
	for _, table := range []string{"outbox", "app.outbox", `odd "name".x y`} {
		o := NewOptions()
		if o.Table = table; o.Validate() != nil {
			t.Errorf("table %q: %v", table, o.Validate())
		}
	}
}

// FuzzJSON: whatever encoding/json takes, the check ends without a panic, and what it lets through has no NUL in it.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`"\u0000"`, `"\\u0000"`, `"\ud83d\ude00"`, `"\ude00"`, `"\ud83dx"`, `{"\\\u0000":1}`, `"\ud83d\u0041"`, `"\"\\"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if json.Unmarshal(b, &v) != nil || wrongJSON(b, true) != "" {
			return
		}
		if text, ok := v.(string); ok && (strings.Contains(text, "\x00") || strings.Contains(text, "\ufffd") && !strings.Contains(string(b), "\ufffd") && !strings.Contains(strings.ToLower(string(b)), `\ufffd`)) {
			t.Errorf("%q passed and stands for %q", b, text)
		}
	})
}
