package decoder

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/record"
)

// Position places an event in the WAL: the commit LSN of its transaction (final_lsn of Begin, never the end LSN) and its
// index among the inserts (and messages of ours) that the slot sends in that transaction, from 0 (I3). Positions rise in delivery order.
type Position struct {
	Commit pglogrepl.LSN
	Index  uint32
}

// Compare orders positions as the slot delivers them.
func (p Position) Compare(q Position) int {
	switch {
	case p.Commit < q.Commit, p.Commit == q.Commit && p.Index < q.Index:
		return -1
	case p == q:
		return 0
	}
	return 1
}

// String is LSN/index, as `skip --position` takes it: "0/16B3748/3" is the fourth insert of the transaction at 0/16B3748.
func (p Position) String() string { return fmt.Sprintf("%s/%d", p.Commit, p.Index) }

// Event is one outbox row (or logical message of ours) as committed, ready for the wire. Its slices point into a block that it shares with its
// neighbours and that nobody writes to again: a sink may keep them for as long as it keeps the event.
type Event struct {
	Position
	CommitTime int64  // microseconds since the Unix epoch: the transaction's commit time
	Topic      string // where it goes
	Key        []byte // partition key; nil: null
	Value      []byte // payload as on the wire; nil: tombstone
	Headers    record.Headers
	Partition  int32 // an explicit partition (Debezium's additional.placement), else -1: murmur2 of Key

	ID            []byte // event id, as text
	Type          []byte
	AggregateType []byte
	AggregateID   []byte
	Table         string // the outbox table it came from: schema.table; "": a logical message
	Seq           int64  // column seq, 0 where the table has none
	XID           uint32 // the transaction

	// Refused says why no sink may be given this event (topic outside the allow-list, headers that are no object); "" for
	// all others. The relay rejects it by policy.
	Refused string

	// Token belongs to whoever publishes the event; sinks carry it and never look at it.
	Token uint64
}

// Bytes is what the event weighs in the window: its key, value and headers.
func (e *Event) Bytes() int { return len(e.Key) + len(e.Value) + len(e.Headers.Bytes) }

// What can be wrong with a logical message of ours.
var (
	errMessage          = errors.New("message is not in the form that cdc_relay.emit_message gives it: somebody wrote it by hand")
	errNotTransactional = errors.New("message is not transactional, so it stands outside of the order of commits and outlives a rollback:" +
		" write events by cdc_relay.emit_message, or by pg_logical_emit_message(true, ...)")
)

// ErrFull is returned by Decode when the block is full (Full): Take first, then give the same message again.
var ErrFull = errors.New("decode: block is full: take its events first")

// DecodeError is a message that cannot be decoded. It stops the relay (I7); Err names the cure.
type DecodeError struct {
	Position Position // where: commit LSN of the open transaction (0 outside of one), and the index of the insert
	Relation string   // schema.table; "" when the message is about none
	Column   string   // "" when it is about none
	Err      error
}

func (e *DecodeError) Error() string {
	var b strings.Builder
	b.WriteString("decode")
	if e.Position.Commit != 0 {
		fmt.Fprintf(&b, " at %s", e.Position)
	}
	if e.Relation != "" {
		fmt.Fprintf(&b, ", relation %s", e.Relation)
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %s", e.Column)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *DecodeError) Unwrap() error { return e.Err }
