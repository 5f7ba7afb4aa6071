package sinktest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/record"
)

// Shape says what generated events are like. The zero value is fit for use.
type Shape struct {
	Topics []string // which the events are spread over; nil: "orders"
	Keys   int      // how many partition keys, "key-0" and so on; 0: 8
	Bytes  int      // of each value, at least; 0: 100
	First  int      // the number of the first event: a second call goes on where the first stopped
}

// Events makes n valid events in commit order, three to a transaction. Tokens rise from First+1, and each event has an
// event_id header of its own. The same call gives the same events, but for the commit time.
func Events(n int, shape Shape) []decoder.Event {
	if len(shape.Topics) == 0 {
		shape.Topics = []string{"orders"}
	}
	if shape.Keys <= 0 {
		shape.Keys = 8
	}
	if shape.Bytes <= 0 {
		shape.Bytes = 100
	}
	now := time.Now().UnixMicro()
	events := make([]decoder.Event, n)
	for i := range events {
		number := shape.First + i
		mixed := uint32(number) * 2654435761 >> 8 // Knuth's multiplicative hash: keys and topics come in no pattern
		key := fmt.Sprintf("key-%d", int(mixed)%shape.Keys)
		value := fmt.Sprintf(`{"number": %d, "pad": "`, number)
		value += strings.Repeat("x", max(0, shape.Bytes-len(value)-2)) + `"}`
		events[i] = event(number, shape.Topics[int(mixed>>8)%len(shape.Topics)], []byte(key), []byte(value))
		events[i].CommitTime = now + int64(number/3)
	}
	return events
}

// OddEvents makes events at the edges of what a row can hold: keys and values that are null, empty, long or no text,
// headers that are null, empty, repeated or a thousand. Tokens rise from first+1.
func OddEvents(topic string, first int) []decoder.Event {
	long := bytes.Repeat([]byte("k"), 10_000)
	pairs := []struct{ key, value []byte }{
		{nil, []byte(`{"key": null}`)},
		{[]byte{}, []byte(`{"key": ""}`)},
		{long, []byte(`{"key": "long"}`)},
		{[]byte("schl\u00fcssel \u9375 \U0001f511"), []byte(`{"key": "not ASCII"}`)},
		{[]byte("line\nbreak\t\"quoted\" \\ \x00 \x7f \u2028"), []byte("a\r\nb \"c\" \\d \x00 \u2029")},
		{[]byte("tombstone"), nil},
		{[]byte("empty"), []byte{}},
		{[]byte{0xff, 0xfe, 0x00}, []byte{0x00, 0x80, 0xc3, 0x28}},
		{[]byte("truncated rune \xe2\x82"), []byte("\xed\xa0\x80 is half a surrogate pair")},
		{[]byte("large"), bytes.Repeat([]byte("0123456789abcdef"), 48*1024)}, // 768 KiB: the bound of the shipped schema
	}
	now := time.Now().UnixMicro()
	events := make([]decoder.Event, 0, len(pairs)+3)
	for i, p := range pairs {
		events = append(events, event(first+i, topic, p.key, p.value))
	}
	plain := func() *decoder.Event {
		number := first + len(events)
		events = append(events, event(number, topic, []byte("headers"), []byte(`{}`)))
		return &events[len(events)-1]
	}
	add := func(ev *decoder.Event, name string, value []byte) {
		ev.Headers.Bytes = record.AppendHeader(ev.Headers.Bytes, name, value)
		ev.Headers.Count++
	}
	ev := plain()
	add(ev, "null", nil)
	add(ev, "empty", []byte{})
	add(ev, "bytes", []byte{0xff, 0x00})
	add(ev, "twice", []byte("1"))
	add(ev, "twice", []byte("2"))
	add(ev, "na\u00efve \"name\"", []byte("\u00e9\n"))
	ev = plain()
	for i := range 1000 {
		add(ev, fmt.Sprintf("h%d", i), []byte("v"))
	}
	plain().Partition = 0
	for i := range events {
		events[i].CommitTime = now
	}
	return events
}

func event(number int, topic string, key, value []byte) decoder.Event {
	id := fmt.Appendf(nil, "00000000-0000-7000-8000-%012x", number)
	ev := decoder.Event{
		Position: decoder.Position{Commit: pglogrepl.LSN(0x1000000 + number/3*0x100), Index: uint32(number % 3)},
		Topic:    topic, Key: key, Value: value, Partition: -1,
		ID: id, Type: []byte("Made"), AggregateType: []byte("Thing"), AggregateID: key,
		Table: "public.outbox", Seq: int64(number), XID: uint32(1000 + number/3),
		Token: uint64(number) + 1,
	}
	var h []byte
	h = record.AppendHeader(h, "event_id", id)
	h = record.AppendHeader(h, "event_type", ev.Type)
	h = record.AppendHeader(h, "aggregate_type", ev.AggregateType)
	h = record.AppendHeader(h, "aggregate_id", key)
	h = record.AppendHeader(h, "cdc-source", []byte("7000000000000000001:1:test:cdc_relay"))
	h = record.AppendHeader(h, "cdc-lsn", fmt.Appendf(nil, "%016X", uint64(ev.Commit)))
	h = record.AppendHeader(h, "cdc-index", fmt.Appendf(nil, "%d", ev.Index))
	ev.Headers = record.Headers{Count: 7, Bytes: h}
	return ev
}
