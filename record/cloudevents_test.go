package record

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
)

// binaryMode reads ce_ headers as the SDK's bindings do.
func binaryMode(t *testing.T, rec Record) event.Event {
	t.Helper()
	version := spec.WithPrefix("ce_").Version("1.0")
	ev := event.New("1.0")
	for name, value := range rec.Headers.All() {
		switch attribute := version.Attribute(string(name)); {
		case attribute != nil && attribute.Kind() != spec.SpecVersion:
			if err := attribute.Set(ev.Context, string(value)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		case string(name) == "content-type":
			if err := ev.Context.SetDataContentType(string(value)); err != nil {
				t.Fatal(err)
			}
		case string(name) == "ce_specversion" && string(value) != "1.0":
			t.Fatalf("specversion: got %s", value)
		}
	}
	ev.DataEncoded = rec.Value
	return ev
}

func TestCloudEvents(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		payload     uint32
		set         map[Column]string
		contentType string
		data        string
		subject     string
	}{
		{"json", oidJSONB, nil, "application/json", `{"a": 1}`, "o-1"},
		{"text", oidText, map[Column]string{ColPayload: "no \"json\" \n"}, "text/plain; charset=utf-8", "no \"json\" \n", "o-1"},
		{"bytes", oidBytea, map[Column]string{ColPayload: `\x00ff`}, "application/octet-stream", "\x00\xff", "o-1"},
		{"declared", oidBytea, map[Column]string{ColPayload: `\x00ff`, ColHeaders: `{"content-type": "application/x-protobuf\u003b v=1"}`}, "application/x-protobuf; v=1", "\x00\xff", "o-1"},
		{"declared JSON", oidText, map[Column]string{ColPayload: `[1]`, ColHeaders: `{"content-type": "application/json; v=1"}`}, "application/json; v=1", `[1]`, "o-1"},
		{"declared something else", oidJSONB, map[Column]string{ColPayload: `[1]`, ColHeaders: `{"content-type": "text/plain"}`}, "text/plain", `[1]`, "o-1"},
		{"no subject", oidJSONB, map[Column]string{ColAggregateID: ""}, "application/json", `{"a": 1}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			row := testRow()
			for c, v := range tt.set {
				row.Values[c] = []byte(v)
			}
			options := Options{Format: CloudEvents, Table: "public.out box", PositionHeaders: true, Source: "s"}
			flat := encode(t, options, shape(tt.payload), row)
			options.Format = CloudEventsStructured
			structured := encode(t, options, shape(tt.payload), row)
			var fromJSON event.Event
			if err := json.Unmarshal(structured.Value, &fromJSON); err != nil {
				t.Fatalf("%s: %v", structured.Value, err)
			}
			for mode, ev := range map[string]event.Event{"binary": binaryMode(t, flat), "structured": fromJSON} {
				if err := ev.Validate(); err != nil {
					t.Errorf("%s: %v", mode, err)
				}
				got := []string{ev.ID(), ev.Source(), ev.Type(), ev.Subject(), ev.DataContentType(), string(ev.Data()), ev.Time().Format("2006-01-02T15:04:05.000000Z07:00")}
				want := []string{"0198f0c2-5b1e-7d2a-9c3f-0123456789ab", "/cdc-relay/public.out%20box", "OrderCreated", tt.subject, tt.contentType, tt.data, "2026-01-02T03:04:05.678901Z"}
				if strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("%s: got\n%q, want\n%q", mode, got, want)
				}
			}
			for _, rec := range []Record{flat, structured} {
				if headers := list(t, rec.Headers); !strings.HasSuffix(headers, ` cdc-source="s" cdc-lsn="00000000016B3748" cdc-index="12"`) || strings.Count(headers, "content-type") != 1 {
					t.Errorf("got %s, want one content type and the position at the end", headers)
				}
			}
		})
	}
}

// TestCloudEventsTombstone: a null payload stays null in both modes, and the attributes stay readable.
func TestCloudEventsTombstone(t *testing.T) {
	t.Parallel()
	row := testRow()
	row.Values[ColPayload] = nil
	for _, format := range []string{CloudEvents, CloudEventsStructured} {
		rec := encode(t, Options{Format: format, Table: "public.outbox"}, shape(oidJSONB), row)
		ev := binaryMode(t, rec)
		if err := ev.Validate(); err != nil || rec.Value != nil || ev.ID() == "" || ev.DataContentType() != "" {
			t.Errorf("%s: got %v, value %q, want a tombstone in binary mode", format, err, rec.Value)
		}
	}
}

func TestCloudEventsRefused(t *testing.T) {
	t.Parallel()
	for want, set := range map[string]map[Column]string{
		refusedNoType:  {ColEventType: ""},
		refusedEmptyID: {ColEventID: ""},
		refusedJSON:    {ColPayload: "no json", ColHeaders: `{"content-type": "text/json"}`},
	} {
		row := testRow()
		for c, v := range set {
			row.Values[c] = []byte(v)
		}
		rec := encode(t, Options{Format: CloudEventsStructured, Table: "public.outbox"}, shape(oidText), row)
		if rec.Refused != want || !json.Valid(rec.Value) {
			t.Errorf("got %q, value %s, want %q", rec.Refused, rec.Value, want)
		}
	}
	f, err := New(Options{Format: CloudEvents})
	if err != nil {
		t.Fatal(err)
	}
	s := shape(oidText)
	s.Mapped[ColEventType] = false
	if _, err := f.Bind(s); err == nil || !strings.Contains(err.Error(), "event_type") {
		t.Errorf("no type: got %v, want an error that names the column", err)
	}
}
