package sinktest

import (
	"bytes"
	"fmt"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// Header is one header of a record; a nil value is null.
type Header struct {
	Name  string
	Value []byte
}

// Record is what a destination holds of one event.
type Record struct {
	Topic     string
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []Header
	Partition int32 // where it lies; -1 where the destination has no partitions
	Millis    int64 // its timestamp: milliseconds since the Unix epoch
}

// RecordOf is what a destination should hold of ev.
func RecordOf(ev *decoder.Event) Record {
	rec := Record{
		Topic: ev.Topic, Key: bytes.Clone(ev.Key), Value: bytes.Clone(ev.Value),
		Partition: ev.Partition, Millis: ev.CommitTime / 1000,
	}
	for name, value := range ev.Headers.All() {
		rec.Headers = append(rec.Headers, Header{string(name), bytes.Clone(value)})
	}
	return rec
}

// ID is the value of the header event_id, which Events gives every event; "" when there is none.
func (r Record) ID() string {
	for _, h := range r.Headers {
		if h.Name == "event_id" {
			return string(h.Value)
		}
	}
	return ""
}

// Diff says in which field r differs from what was wanted; "" when they are the same, to the byte (I9). The partition
// counts only where the event named one.
func (r Record) Diff(want Record) string {
	switch {
	case r.Topic != want.Topic:
		return fmt.Sprintf("topic %q, want %q", r.Topic, want.Topic)
	case !same(r.Key, want.Key):
		return fmt.Sprintf("key %s, want %s", show(r.Key), show(want.Key))
	case !same(r.Value, want.Value):
		return fmt.Sprintf("value %s, want %s", show(r.Value), show(want.Value))
	case r.Millis != want.Millis:
		return fmt.Sprintf("timestamp %d, want %d", r.Millis, want.Millis)
	case want.Partition >= 0 && r.Partition != want.Partition:
		return fmt.Sprintf("partition %d, want %d", r.Partition, want.Partition)
	case len(r.Headers) != len(want.Headers):
		return fmt.Sprintf("%d headers, want %d", len(r.Headers), len(want.Headers))
	}
	for i, h := range r.Headers {
		w := want.Headers[i]
		if h.Name != w.Name || !same(h.Value, w.Value) {
			return fmt.Sprintf("header %d is %q = %s, want %q = %s", i, h.Name, show(h.Value), w.Name, show(w.Value))
		}
	}
	return ""
}

// same tells null from empty.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func show(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 60:
		return fmt.Sprintf("%q and %d bytes more", b[:60], len(b)-60)
	}
	return fmt.Sprintf("%q", b)
}
