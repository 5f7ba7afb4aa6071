package decoder

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/record"
)

// logicalMsg is pgoutput's message of a logical message.
func logicalMsg(transactional bool, lsn uint64, prefix string, content []byte) []byte {
	b := []byte{'M', 0}
	if transactional {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, lsn)
	b = append(append(b, prefix...), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// ours is a message's content as cdc_relay.emit_message makes it; nil is null.
func ours(kind byte, id string, aggregateType, aggregateID, eventType string, topic, key, headers, payload any) []byte {
	raw, _ := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	flags := kind << kindShift
	b := append([]byte{messageVersion, 0}, raw...)
	for _, text := range []string{aggregateType, aggregateID, eventType} {
		b = append(append(b, text...), 0)
	}
	for flag, value := range map[byte]any{flagTopic: topic, flagPartitionKey: key, flagHeaders: headers} {
		if value != nil {
			flags |= flag
		}
	}
	for _, value := range []any{topic, key, headers} {
		if value != nil {
			b = append(append(b, value.(string)...), 0)
		}
	}
	if payload != nil {
		flags |= flagPayload
		b = append(b, payload.(string)...)
	}
	b[1] = flags
	return b
}

const anID = "0198f0c2-5b1e-7d2a-9c3f-0123456789ab"

func aMessage(n int) []byte {
	return logicalMsg(true, 0x90, Prefix, ours(0, fmt.Sprintf("00000000-0000-7000-8000-%012d", n), "a", "k", "t", nil, nil, nil, fmt.Sprint(n)))
}

func openMessages(t testing.TB, spans ...Span) *Decoder {
	t.Helper()
	d, err := New(Config{Tables: []Table{fiveTable("public.outbox")}, Messages: spans, Source: "1:1:i:slot", PositionHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestI7_MessagesAreNotSkippedInSilence: what is ours and cannot be an event is an error with a position, so that an operator
// can pass over it.
func TestI7_MessagesAreNotSkippedInSilence(t *testing.T) {
	t.Parallel()
	begin := beginMsg(0x100, 7)
	good := ours(0, anID, "a", "k", "t", nil, nil, nil, "1")
	of := func(content []byte) []byte { return logicalMsg(true, 0x90, Prefix, content) }
	flags := func(f byte) []byte { return append([]byte{good[0], f}, good[2:]...) }
	for _, tt := range []struct {
		name     string
		messages [][]byte
		at, says string
	}{
		{"not transactional", [][]byte{logicalMsg(false, 0x90, Prefix, good)}, "0/90/0", "not transactional"},
		{"not transactional, whatever it holds", [][]byte{begin, commitMsg(0x100, 0x130), logicalMsg(false, 0x140, Prefix, nil)}, "0/140/0", "emit_message"},
		{"transactional, outside of a transaction", [][]byte{of(good)}, "", "outside of a transaction"},
		{"empty", [][]byte{begin, of(nil)}, "0/100/0", "by hand"},
		{"of a later version", [][]byte{begin, aMessage(1), of([]byte{2})}, "0/100/1", "update the relay"},
		{"unknown flags", [][]byte{begin, of(flags(0x80))}, "0/100/0", "flags 0x80"},
		{"unknown kind", [][]byte{begin, of(flags(0x38))}, "0/100/0", "flags 0x38"},
		{"null payload with bytes", [][]byte{begin, of(flags(0))}, "0/100/0", "by hand"},
		{"text without an end", [][]byte{begin, of(good[:len(good)-2])}, "0/100/0", "by hand"},
		{"length beyond the message", [][]byte{begin, append(of(good), 0)}, "0/100/0", "length"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := openMessages(t, Span{})
			last := len(tt.messages) - 1
			feed(t, d, tt.messages[:last]...)
			kind, err := d.Decode(tt.messages[last])
			var bad *DecodeError
			if !errors.As(err, &bad) || kind != Nothing || !strings.Contains(err.Error(), tt.says) || tt.at != "" && bad.Position.String() != tt.at {
				t.Fatalf("got %v, %v, want an error at %s that says %q", kind, err, tt.at, tt.says)
			}
		})
	}
	for n := range good[:len(good)-1] { // but for the payload, which may be empty
		d := openMessages(t, Span{})
		feed(t, d, begin)
		if kind, err := d.Decode(of(good[:n])); err == nil {
			t.Errorf("cut to %d of %d bytes: got %v, want an error", n, len(good), kind)
		}
	}
}

// TestMessagesOfOthersAreNoBusinessOfOurs, whatever they are and hold, and ours are none while messages are off.
func TestMessagesOfOthersAreNoBusinessOfOurs(t *testing.T) {
	t.Parallel()
	on, off := openMessages(t, Span{}), openMessages(t)
	for _, prefix := range []string{"", "cdc_rel", "cdc_relay2", "CDC_RELAY", "debezium"} {
		feed(t, on, logicalMsg(false, 0x90, prefix, []byte{1, 2}), beginMsg(0x100, 7), logicalMsg(true, 0x90, prefix, nil), commitMsg(0x100, 0x130))
	}
	feed(t, off, beginMsg(0x100, 7), logicalMsg(true, 0x90, Prefix, []byte{9}), commitMsg(0x100, 0x130), logicalMsg(false, 0x140, Prefix, nil))
	for _, d := range []*Decoder{on, off} {
		if events := d.Take(); events != nil || d.Tx().Counted != 0 {
			t.Errorf("got %d events, %d counted, want none", len(events), d.Tx().Counted)
		}
	}
}

// TestI9_MessagesTurnedOnAndOff: whether a transaction's messages count is decided by where it committed, so that one that is
// read again has the same events at the same positions, whatever the configuration says by then.
func TestI9_MessagesTurnedOnAndOff(t *testing.T) {
	t.Parallel()
	spans := []Span{{Since: 0x200, Until: 0x400, UntilXID: 1<<32 + 50}, {Since: 0x600}}
	for _, tt := range []struct {
		commit uint64
		xid    uint32
		want   string
	}{
		{0x1ff, 60, "0:row 1:row"},
		{0x200, 60, "0:row 1:message 2:row"},
		{0x3ff, 60, "0:row 1:message 2:row"},
		{0x400, 50, "0:row 1:row"},
		{0x480, 49, "0:row 1:message 2:row"}, // began before they were turned off
		{0x480, 0xfffffff0, "0:row 1:message 2:row"},
		{0x5ff, 60, "0:row 1:row"},
		{0x600, 60, "0:row 1:message 2:row"},
	} {
		d := openMessages(t, spans...)
		feed(t, d, relationMsg(1, "public", "outbox", five()...), beginMsg(tt.commit, tt.xid), row(1, "1"), aMessage(2), row(1, "3"))
		var got []string
		for _, ev := range d.Take() {
			from := map[bool]string{true: "message", false: "row"}[ev.Table == ""]
			index, _ := ev.Headers.Get(record.HeaderIndex)
			got = append(got, string(index)+":"+from)
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("transaction %d that committed at %x: got %s, want %s", tt.xid, tt.commit, text, tt.want)
		}
	}
	for lsn, refused := range map[uint64]bool{0x1ff: false, 0x200: true, 0x3ff: true, 0x400: false, 0x600: true} {
		if _, err := openMessages(t, spans...).Decode(logicalMsg(false, lsn, Prefix, nil)); (err != nil) != refused {
			t.Errorf("a message at %x that is not transactional: got %v", lsn, err)
		}
	}
	if a, b := openMessages(t).Hash(), openMessages(t, spans...).Hash(); a != b {
		t.Errorf("the index is defined by %s without messages and by %s with them", a, b)
	}
}

// TestSkipThroughCountsMessages: they have been handed on like rows.
func TestSkipThroughCountsMessages(t *testing.T) {
	t.Parallel()
	d := openMessages(t, Span{})
	d.SkipThrough(position(0x100, 2))
	feed(t, d, relationMsg(1, "public", "outbox", five()...), beginMsg(0x100, 7), aMessage(0), row(1, "1"), aMessage(2), aMessage(3), row(1, "4"))
	events := d.Take()
	if len(events) != 2 || events[0].Index != 3 || events[1].Index != 4 || string(events[0].Value) != "3" {
		t.Errorf("got %v, want those at 3 and 4", events)
	}
}

// TestMessageOwnsItsMemory, and the scratch space of the next one is not seen in it.
func TestMessageOwnsItsMemory(t *testing.T) {
	t.Parallel()
	d := openMessages(t, Span{})
	feed(t, d, beginMsg(0x100, 7))
	msg := logicalMsg(true, 0x90, Prefix, ours(0, anID, "type", "id", "made", "topic", "key", `{"h": "v"}`, `{"a": 1}`))
	feed(t, d, msg)
	for i := range msg {
		msg[i] ^= 0xff
	}
	feed(t, d, aMessage(1))
	ev := d.Take()[0]
	got := fmt.Sprintf("%s %s %s %s %s %s %s", ev.ID, ev.AggregateType, ev.AggregateID, ev.Type, ev.Topic, ev.Key, ev.Value)
	if want := anID + ` type id made topic key {"a": 1}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if h, ok := ev.Headers.Get("h"); !ok || string(h) != "v" {
		t.Errorf("header h: got %q", h)
	}
}

// TestMessagesAndTheTableTheyFollow: what the configuration names by the table's columns is found in the message, or said at
// the start.
func TestMessagesAndTheTableTheyFollow(t *testing.T) {
	t.Parallel()
	debezium := func(d record.Debezium) Table {
		return Table{Name: "public.outbox", Preset: PresetDebezium, Debezium: d}
	}
	for name, tt := range map[string]struct {
		table Table
		want  string // topic, key and headers, or the error
	}{
		"own columns":  {Table{Name: "app.o", Columns: map[string]string{"topic": "", "partition_key": "", "headers": "", "event_id": "id"}, Topic: "all"}, "all id-1"},
		"debezium":     {debezium(record.Debezium{}), "outbox.event.order id-1"},
		"routed":       {debezium(record.Debezium{RouteByField: "type", EventKey: "aggregatetype"}), "outbox.event.made order"},
		"placed":       {debezium(record.Debezium{AdditionalPlacement: "type:header:eventType"}), "outbox.event.order id-1 eventType=made"},
		"not a column": {debezium(record.Debezium{EventKey: "tenant", AdditionalPlacement: "prio:partition"}), `additional_placement names column "prio"`},
		"not allowed":  {Table{Name: "public.outbox", TopicsAllowed: []string{"other"}}, "order id-1 REFUSED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := New(Config{Tables: []Table{tt.table}, Messages: []Span{{}}})
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			feed(t, d, beginMsg(0x100, 7), logicalMsg(true, 0x90, Prefix, ours(0, anID, "order", "id-1", "made", nil, nil, nil, "1")))
			ev := d.Take()[0]
			got := ev.Topic + " " + string(ev.Key)
			if h, ok := ev.Headers.Get("eventType"); ok {
				got += " eventType=" + string(h)
			}
			if ev.Refused != "" {
				got += " REFUSED"
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	// A payload that the format cannot write is said at the message that has it.
	d, err := New(Config{Tables: []Table{debezium(record.Debezium{ValueConverter: "string"})}, Messages: []Span{{}}})
	if err != nil {
		t.Fatal(err)
	}
	feed(t, d, beginMsg(0x100, 7), aMessage(0))
	_, err = d.Decode(logicalMsg(true, 0x90, Prefix, ours(2, anID, "a", "k", "t", nil, nil, nil, "\x00")))
	var bad *DecodeError
	if !errors.As(err, &bad) || bad.Position != position(0x100, 1) || !strings.Contains(err.Error(), "bytea") {
		t.Errorf("got %v, want an error about bytea at 0/100/1", err)
	}
}

func TestAppendUUID(t *testing.T) {
	t.Parallel()
	raw, _ := hex.DecodeString(strings.ReplaceAll(anID, "-", ""))
	var got [36]byte
	appendUUID(&got, raw)
	if !bytes.Equal(got[:], []byte(anID)) {
		t.Errorf("got %s", got[:])
	}
}
