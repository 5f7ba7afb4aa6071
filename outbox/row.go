package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Row is a checked event, encoded as the columns of the table: for those who write it by a driver of their own.
type Row struct {
	ID            string // never empty
	AggregateType string
	AggregateID   string
	Type          string
	Topic         string // "": NULL
	PartitionKey  string // "": NULL
	Payload       []byte // nil: NULL; else bytes of the column's type
	Headers       []byte // a JSON object, "{}" when there are none; rows may share it
}

// Written is what Write hands back for the row, as far as it is known without the database.
func (r *Row) Written() Written {
	w := Written{ID: r.ID, AggregateType: r.AggregateType, AggregateID: r.AggregateID, Type: r.Type, Topic: r.Topic, Key: r.PartitionKey}
	if w.Key == "" {
		w.Key = r.AggregateID
	}
	return w
}

// none are the headers of an event without any.
const none = "{}"

// Rows checks events and encodes them, in their order. An error holds all mistakes, each an [*InvalidError], joined by
// errors.Join. Payloads that are bytes already are not copied: leave them alone until the rows are written.
func (o Options) Rows(ctx context.Context, events []Event) ([]Row, error) {
	if len(events) == 0 {
		return nil, nil
	}
	e := encoder{o: o, rows: make([]Row, len(events))}
	e.shared(ctx)
	for i := range events {
		e.event(i, &events[i])
	}
	if len(e.errs) > 0 {
		return nil, errors.Join(e.errs...)
	}
	return e.rows, nil
}

// encoder is one call of Rows.
type encoder struct {
	o       Options
	rows    []Row
	errs    []error
	buf     bytes.Buffer      // of the JSON under way
	json    *json.Encoder     // made when something needs it
	common  map[string]string // headers of the context
	headers []byte            // the same as JSON
	given   map[string]int    // ids that events brought, and which
}

// shared encodes the headers that all events have, once.
func (e *encoder) shared(ctx context.Context) {
	e.headers = []byte(none)
	if e.o.ContextHeaders == nil {
		return
	}
	e.common = e.o.ContextHeaders(ctx)
	for name, value := range e.common {
		if wrongName(name) == "" && wrongText(value) == "" {
			continue
		}
		// A trace never makes a business transaction fail.
		clean := make(map[string]string, len(e.common))
		for name, value := range e.common {
			if wrongName(name) == "" && wrongText(value) == "" {
				clean[name] = value
			}
		}
		e.common = clean
		break
	}
	if len(e.common) > 0 {
		e.headers, _ = e.encode(e.common) // strings have no error
	}
}

// encode returns the JSON of v in memory of its own.
func (e *encoder) encode(v any) ([]byte, error) {
	if e.json == nil {
		e.json = json.NewEncoder(&e.buf)
		e.json.SetEscapeHTML(false)
	}
	e.buf.Reset()
	if err := e.json.Encode(v); err != nil {
		return nil, err
	}
	return bytes.Clone(e.buf.Bytes()[:e.buf.Len()-1]), nil // Encode ends it with a newline
}

func (e *encoder) event(i int, ev *Event) {
	wrong := func(field string, err error) {
		e.errs = append(e.errs, &InvalidError{Index: i, ID: ev.ID, Field: field, Err: err})
	}
	row := &e.rows[i]
	*row = Row{
		ID: ev.ID, AggregateType: ev.AggregateType, AggregateID: ev.AggregateID, Type: ev.Type,
		Topic: ev.Topic, PartitionKey: ev.PartitionKey, Headers: e.headers,
	}
	e.id(i, row, wrong)
	for _, f := range [...]struct {
		name, value string
		required    bool
	}{
		{"aggregate type", ev.AggregateType, true},
		{"aggregate id", ev.AggregateID, true},
		{"type", ev.Type, true},
		{"topic", ev.Topic, false},
		{"partition key", ev.PartitionKey, false},
	} {
		if f.required && f.value == "" {
			wrong(f.name, errEmpty)
		} else if w := wrongText(f.value); w != "" {
			wrong(f.name, errors.New(w))
		}
	}
	e.payload(row, ev.Payload, wrong)
	if len(ev.Headers) > 0 {
		e.own(row, ev.Headers, wrong)
	}
}

func (e *encoder) id(i int, row *Row, wrong func(string, error)) {
	if row.ID == "" {
		row.ID = NewID()
		return
	}
	id, ok := parseID(row.ID)
	if !ok {
		wrong("id", errors.New("no uuid of the form 01890a5d-ac96-774b-bcce-b302099a8057"))
		return
	}
	if id == "00000000-0000-0000-0000-000000000000" {
		wrong("id", errors.New("the nil uuid: every event after the first would be taken for a copy of it"))
		return
	}
	row.ID = id
	if e.given == nil {
		e.given = make(map[string]int)
	}
	if first, twice := e.given[id]; twice {
		wrong("id", fmt.Errorf("also that of event %d", first))
		return
	}
	e.given[id] = i
}

func (e *encoder) payload(row *Row, payload any, wrong func(string, error)) {
	var err error
	raw := true
	switch p := payload.(type) {
	case nil:
		return
	case []byte:
		row.Payload = p
	case json.RawMessage:
		row.Payload = p
	default:
		raw = false
		if row.Payload, err = e.encode(p); err != nil {
			wrong("payload", err)
			return
		}
	}
	if row.Payload == nil {
		return
	}
	if n := len(row.Payload); n > e.o.MaxPayloadBytes {
		wrong("payload", fmt.Errorf("%d bytes, above the bound of %d: publish a reference to what is larger", n, e.o.MaxPayloadBytes))
		return
	}
	if w := wrongPayload(row.Payload, e.o.PayloadType, raw); w != "" {
		wrong("payload", errors.New(w))
	}
}

// own encodes the event's headers together with the context's.
func (e *encoder) own(row *Row, headers map[string]any, wrong func(string, error)) {
	sound := true
	for _, name := range names(headers) {
		if w := wrongName(name); w != "" {
			wrong(fmt.Sprintf("header %q", name), errors.New(w))
			sound = false
		}
	}
	all := headers
	if len(e.common) > 0 {
		all = make(map[string]any, len(headers)+len(e.common))
		for name, value := range e.common {
			all[name] = value
		}
		for name, value := range headers {
			all[name] = value
		}
	}
	text, err := e.encode(all)
	if err == nil && wrongJSON(text, true) == "" {
		row.Headers = text
		return
	}
	for _, name := range names(headers) { // which of them?
		text, err := e.encode(headers[name])
		if err == nil {
			if w := wrongJSON(text, true); w != "" {
				err = errors.New(w)
			}
		}
		if err != nil {
			wrong(fmt.Sprintf("header %q", name), err)
			sound = false
		}
	}
	if sound {
		wrong("headers", err)
	}
}

// names of headers in order, so that mistakes come in the same order each time.
func names(headers map[string]any) []string {
	out := make([]string, 0, len(headers))
	for name := range headers {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
