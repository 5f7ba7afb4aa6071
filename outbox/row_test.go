package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"
)

func rows(t *testing.T, ctx context.Context, o Options, events ...Event) []Row {
	t.Helper()
	out, err := o.Rows(ctx, events)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type order struct {
	Note  string    `json:"note"`
	At    time.Time `json:"at"`
	Total int       `json:"total,omitempty"`
}

// nil is a tombstone, bytes are written as they are, anything else as its JSON without the escapes that only HTML needs.
func TestPayload(t *testing.T) {
	t.Parallel()
	var missing *order
	for name, c := range map[string]struct {
		payload any
		typ     PayloadType
		want    string // "NULL": a tombstone
	}{
		"nil":            {nil, JSONB, "NULL"},
		"nil bytes":      {[]byte(nil), JSONB, "NULL"},
		"nil RawMessage": {json.RawMessage(nil), JSONB, "NULL"},
		"nil pointer":    {missing, JSONB, "null"},
		"bytes":          {[]byte(` {"b" : 1, "a":2} `), JSONB, ` {"b" : 1, "a":2} `},
		"RawMessage":     {json.RawMessage(`[1]`), JSON, `[1]`},
		"struct":         {order{Note: "<a & b>", At: time.Unix(0, 0).UTC()}, JSONB, `{"note":"<a & b>","at":"1970-01-01T00:00:00Z"}`},
		"string":         {"x\ny", Text, `"x\ny"`},
		"text":           {[]byte("x\ny"), Text, "x\ny"},
		"empty text":     {[]byte{}, Text, ""},
		"any bytes":      {[]byte{0, 255}, Bytea, "\x00\xff"},
		"empty bytea":    {[]byte{}, Bytea, ""},
		"NUL in json":    {[]byte(`"\u0000"`), JSON, `"\u0000"`},
		"pair":           {[]byte(`"\ud83d\ude00 \\u0000"`), JSONB, `"\ud83d\ude00 \\u0000"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := NewOptions()
			o.PayloadType = c.typ
			got := "NULL"
			if p := rows(t, t.Context(), o, with(func(e *Event) { e.Payload = c.payload }))[0].Payload; p != nil {
				got = string(p)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What one event's encoding leaves behind does not reach the next one's.
func TestPayloadsOwnTheirMemory(t *testing.T) {
	t.Parallel()
	events := make([]Event, 100)
	for i := range events {
		events[i] = with(func(e *Event) { e.Payload, e.Headers = i, map[string]any{"n": i} })
	}
	for i, r := range rows(t, t.Context(), NewOptions(), events...) {
		if string(r.Payload) != fmt.Sprint(i) || string(r.Headers) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Errorf("event %d: payload %s, headers %s", i, r.Payload, r.Headers)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ctx := WithTrace(t.Context(), parent, "")
	bad := NewOptions()
	bad.ContextHeaders = func(context.Context) map[string]string {
		return map[string]string{"baggage": "a=b", "ce_id": "x", "cdc-lsn": "x", "nul": "\x00", "odd": "\xff"}
	}
	none := NewOptions()
	none.ContextHeaders = nil
	for name, c := range map[string]struct {
		ctx     context.Context
		o       Options
		headers map[string]any
		want    string
	}{
		"none":                   {t.Context(), NewOptions(), nil, `{}`},
		"the event's":            {t.Context(), NewOptions(), map[string]any{"b": 1, "a": "<x>", "c": nil, "d": []int{1}}, `{"a":"<x>","b":1,"c":null,"d":[1]}`},
		"the context's":          {ctx, NewOptions(), nil, `{"traceparent":"` + parent + `"}`},
		"both":                   {ctx, NewOptions(), map[string]any{"a": 1}, `{"a":1,"traceparent":"` + parent + `"}`},
		"the event's own win":    {ctx, NewOptions(), map[string]any{"traceparent": "mine"}, `{"traceparent":"mine"}`},
		"with state":             {WithTrace(t.Context(), parent, "k=v"), NewOptions(), nil, `{"traceparent":"` + parent + `","tracestate":"k=v"}`},
		"bad ones of a context":  {t.Context(), bad, nil, `{"baggage":"a=b"}`},
		"and beside the event's": {t.Context(), bad, map[string]any{"a": 1}, `{"a":1,"baggage":"a=b"}`},
		"switched off":           {ctx, none, nil, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := maps.Clone(c.headers)
			for _, r := range rows(t, c.ctx, c.o, with(func(e *Event) { e.Headers = c.headers }), with(func(e *Event) { e.Headers = c.headers })) {
				if string(r.Headers) != c.want {
					t.Errorf("got %s, want %s", r.Headers, c.want)
				}
			}
			if !reflect.DeepEqual(c.headers, before) {
				t.Errorf("the caller's map was changed to %v", c.headers)
			}
		})
	}
}

func TestWritten(t *testing.T) {
	t.Parallel()
	const id = "01890A5D-AC96-774B-BCCE-B302099A8057"
	got := rows(t, t.Context(), NewOptions(), with(func(e *Event) { e.ID, e.Topic = id, "t" }), with(func(e *Event) { e.PartitionKey = "k" }))
	first, second := got[0].Written(), got[1].Written()
	if first.ID != "01890a5d-ac96-774b-bcce-b302099a8057" || first.Topic != "t" || first.Key != "o-1" || first.Type != "OrderCreated" || first.Value != nil || first.Headers != nil {
		t.Errorf("got %+v", first)
	}
	if _, ok := parseID(second.ID); !ok || second.Topic != "" || second.Key != "k" || second.AggregateID != "o-1" {
		t.Errorf("got %+v", second)
	}
	if out, err := NewOptions().Rows(t.Context(), nil); out != nil || err != nil {
		t.Errorf("no events: %v, %v", out, err)
	}
}
