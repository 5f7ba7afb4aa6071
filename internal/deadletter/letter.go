package deadletter

import (
	"slices"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/record"
)

// ReplayHeader marks a record that is published again on purpose. Its value says by which verb and when: "dlq requeue
// 2006-01-02T15:04:05.000000Z", the moment when the operator asked for it.
const ReplayHeader = "cdc-replay"

// Letter is one dead letter. Those that Store returns own their memory; those of FromEvent share the event's.
type Letter struct {
	ID          int64  // of the row, for the verbs; rises in the order of parking
	Incarnation string // of the slot's history that the position belongs to
	decoder.Position
	Alone bool // its key flows on: policy dead_letter

	Topic      string
	Key        []byte // nil: null
	Value      []byte // nil: tombstone, or left out (List)
	ValueBytes int    // size of the value, also where it was left out
	Headers    record.Headers
	CommitTime int64 // microseconds since the Unix epoch
	Partition  int32 // explicit, else -1

	EventID       string
	EventType     string
	AggregateType string
	AggregateID   string
	Table         string // schema.table
	Seq           int64
	XID           uint32

	Reason   string // short constant, as in sink.Rejection; parked_key for what came after a rejected event
	Error    string // the whole story
	Tries    int    // how often a requeue was rejected again
	ParkedAt time.Time

	State      State
	StateBy    string // who asked for the state; "": the relay
	StateAt    time.Time
	StateWhy   string
	ResolvedAt time.Time // zero: not resolved
}

// FromEvent makes the letter of an event that was rejected, or that follows a rejected one of its key. The caller sets
// Incarnation, and Alone where the policy says so.
func FromEvent(ev *decoder.Event, reason, err string) Letter {
	return Letter{
		Position:      ev.Position,
		Topic:         ev.Topic,
		Key:           ev.Key,
		Value:         ev.Value,
		ValueBytes:    len(ev.Value),
		Headers:       ev.Headers,
		CommitTime:    ev.CommitTime,
		Partition:     ev.Partition,
		EventID:       string(ev.ID),
		EventType:     string(ev.Type),
		AggregateType: string(ev.AggregateType),
		AggregateID:   string(ev.AggregateID),
		Table:         ev.Table,
		Seq:           ev.Seq,
		XID:           ev.XID,
		Reason:        reason,
		Error:         err,
	}
}

// Event is the letter as it is published again: the same record with ReplayHeader at the end of its headers. It depends on
// the row alone, so that a copy after a crash is the same bytes (I9).
func (l *Letter) Event() decoder.Event {
	value := "dlq requeue " + l.StateAt.UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	return decoder.Event{
		Position:   l.Position,
		CommitTime: l.CommitTime,
		Topic:      l.Topic,
		Key:        l.Key,
		Value:      l.Value,
		Headers: record.Headers{
			Count: l.Headers.Count + 1,
			Bytes: record.AppendHeader(slices.Clip(l.Headers.Bytes), ReplayHeader, []byte(value)),
		},
		Partition:     l.Partition,
		ID:            []byte(l.EventID),
		Type:          []byte(l.EventType),
		AggregateType: []byte(l.AggregateType),
		AggregateID:   []byte(l.AggregateID),
		Table:         l.Table,
		Seq:           l.Seq,
		XID:           l.XID,
	}
}

// text makes s fit for a column: Postgres takes neither NUL nor invalid UTF-8.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
}
