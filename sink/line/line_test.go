package line_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/record"
	"github.com/cdc-relay/cdc-relay/sink/line"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func TestAppendIsTheDocumentedLine(t *testing.T) {
	t.Parallel()
	event := func(change func(*decoder.Event)) *decoder.Event {
		ev := &decoder.Event{
			Position: decoder.Position{Commit: 0x16B3748, Index: 3}, CommitTime: 1772366400123456,
			Topic: "orders", Key: []byte("42"), Value: []byte(`{"total": 10}`), Partition: -1,
		}
		change(ev)
		return ev
	}
	add := func(ev *decoder.Event, name string, value []byte) {
		ev.Headers.Bytes = record.AppendHeader(ev.Headers.Bytes, name, value)
		ev.Headers.Count++
	}
	const tail = `"timestamp":"2026-03-01T12:00:00.123456Z","position":"0/16B3748/3"}` + "\n"
	for name, tc := range map[string]struct {
		ev   *decoder.Event
		want string
	}{
		"plain": {event(func(*decoder.Event) {}), `{"topic":"orders","key":"42","value":"{\"total\": 10}","headers":[],"partition":null,` + tail},
		"null key, tombstone, partition": {
			event(func(ev *decoder.Event) { ev.Key, ev.Value, ev.Partition = nil, nil, 7 }),
			`{"topic":"orders","key":null,"value":null,"headers":[],"partition":7,` + tail,
		},
		"empty": {
			event(func(ev *decoder.Event) { ev.Key, ev.Value = []byte{}, []byte{} }),
			`{"topic":"orders","key":"","value":"","headers":[],"partition":null,` + tail,
		},
		"not UTF-8": {
			event(func(ev *decoder.Event) { ev.Key, ev.Value = []byte{0xff}, []byte{0, 0x80} }),
			`{"topic":"orders","key_base64":"/w==","value_base64":"AIA=","headers":[],"partition":null,` + tail,
		},
		"escapes": {
			event(func(ev *decoder.Event) { ev.Value = []byte("\"\\/\b\n\r\t\x01\u00e9\u2028<&>") }),
			`{"topic":"orders","key":"42","value":"\"\\/\u0008\n\r\t\u0001` + "\u00e9\u2028" + `<&>","headers":[],"partition":null,` + tail,
		},
		"headers": {event(func(ev *decoder.Event) {
			add(ev, "a", []byte("1"))
			add(ev, "a", []byte("2"))
			add(ev, "null", nil)
			add(ev, "empty", []byte{})
			add(ev, "bytes", []byte{0xff})
			add(ev, "\xff", []byte("name"))
			add(ev, "\xff", nil)
		}), `{"topic":"orders","key":"42","value":"{\"total\": 10}","headers":[["a","1"],["a","2"],["null",null],["empty",""],` +
			`["bytes",null,null,"/w=="],[null,"name","/w==",null],[null,null,"/w==",null]],"partition":null,` + tail},
	} {
		if got := string(line.Append([]byte("before\n"), tc.ev)); got != "before\n"+tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tc.want)
		}
	}
}

func record1(l line.Line) sinktest.Record {
	rec := sinktest.Record{Topic: l.Topic, Key: l.Key, Value: l.Value, Partition: l.Partition, Millis: l.Timestamp.UnixMilli()}
	for _, h := range l.Headers {
		rec.Headers = append(rec.Headers, sinktest.Header(h))
	}
	return rec
}

func TestI9_ParseReadsBackEveryByte(t *testing.T) {
	t.Parallel()
	events := append(sinktest.OddEvents("orders", 0), sinktest.Events(10, sinktest.Shape{First: 100})...)
	for i := range events {
		text := line.Append(nil, &events[i])
		if n := bytes.Count(text, []byte("\n")); n != 1 || text[len(text)-1] != '\n' {
			t.Errorf("event %d takes %d lines", events[i].Token, n)
		}
		got, err := line.Parse(text)
		if err != nil {
			t.Errorf("event %d: %v", events[i].Token, err)
			continue
		}
		if diff := record1(got).Diff(sinktest.RecordOf(&events[i])); diff != "" {
			t.Errorf("event %d came back with %s", events[i].Token, diff)
		}
		if got.Position != events[i].Position.String() {
			t.Errorf("position %s, want %s", got.Position, events[i].Position)
		}
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, `{`, `[]`, `{"headers":[["one"]]}`, `{"headers":[["a",1]]}`, `{"key_base64":"!"}`, `{"headers":[["a",null,null,"!"]]}`} {
		if got, err := line.Parse([]byte(text)); err == nil {
			t.Errorf("%s: got %+v, want an error", text, got)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("orders", []byte("k"), []byte(`{"a": 1}`), "name", []byte{0xff})
	f.Add("t\x00\"", []byte{}, []byte("\xed\xa0\x80"), "\xff", []byte(nil))
	f.Fuzz(func(t *testing.T, topic string, key, value []byte, name string, header []byte) {
		ev := decoder.Event{Topic: "t", Key: key, Value: value, Partition: -1}
		ev.Headers = record.Headers{Count: 1, Bytes: record.AppendHeader(nil, name, header)}
		text := line.Append(nil, &ev)
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		got, err := line.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := record1(got).Diff(sinktest.RecordOf(&ev)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	events := sinktest.Events(1, sinktest.Shape{Bytes: 300})
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = line.Append(buf[:0], &events[0])
	}
}
