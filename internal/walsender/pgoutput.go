package walsender

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
)

// OIDs of the types that outbox columns have.
const (
	ByteaOID       = 17
	Int8OID        = 20
	TextOID        = 25
	JSONOID        = 114
	TimestamptzOID = 1184
	UUIDOID        = 2950
	JSONBOID       = 3802
)

// Column is one column of a Relation.
type Column struct {
	Name string
	OID  uint32
	Key  bool // part of the replica identity
}

// Relation is a table as pgoutput announces it.
type Relation struct {
	OID          uint32
	Schema, Name string
	Columns      []Column
}

// Row is one inserted row: a value for each column. A string is sent as text, nil is null, Unchanged is an unchanged TOAST
// value.
type Row struct {
	Relation *Relation
	Values   []any

	// Tableless makes a logical message of a row of Outbox, sent to those who ask for messages. Sub: it was written in a
	// subtransaction, and the server sends it behind the row that follows, as Postgres may.
	Tableless, Sub bool
}

// Unchanged stands for a TOAST value that pgoutput leaves out.
type Unchanged struct{}

// Outbox is the native outbox table, public.outbox.
func Outbox() *Relation {
	return &Relation{OID: 16400, Schema: "public", Name: "outbox", Columns: []Column{
		{"event_id", UUIDOID, true},
		{"aggregate_type", TextOID, false},
		{"aggregate_id", TextOID, false},
		{"event_type", TextOID, false},
		{"topic", TextOID, false},
		{"partition_key", TextOID, false},
		{"payload", JSONBOID, false},
		{"headers", JSONBOID, false},
		{"created_at", TimestamptzOID, true},
		{"seq", Int8OID, false},
	}}
}

// OutboxRow is a row of Outbox: aggregate type "order", event type "changed", no topic, no headers. seq gives the event id
// its digits and fills the column seq.
func OutboxRow(rel *Relation, seq int, key, payload string) Row {
	return Row{Relation: rel, Values: []any{
		fmt.Sprintf("00000000-0000-7000-8000-%012d", seq), "order", key, "changed", nil, key, payload, "{}",
		"2026-01-01 00:00:00+00", fmt.Sprint(seq),
	}}
}

// postgresEpoch is 2000-01-01 in microseconds since the Unix epoch.
const postgresEpoch = 946_684_800_000_000

func micros(t time.Time) uint64 { return uint64(t.UnixMicro() - postgresEpoch) }

// Begin encodes pgoutput's Begin: it carries the commit LSN.
func Begin(commit pglogrepl.LSN, at time.Time, xid uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'B'}, uint64(commit))
	b = binary.BigEndian.AppendUint64(b, micros(at))
	return binary.BigEndian.AppendUint32(b, xid)
}

// Commit encodes pgoutput's Commit.
func Commit(commit, end pglogrepl.LSN, at time.Time) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, uint64(commit))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	return binary.BigEndian.AppendUint64(b, micros(at))
}

// Encode is the relation's message.
func (r *Relation) Encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{'R'}, r.OID)
	b = append(append(b, r.Schema...), 0)
	b = append(append(b, r.Name...), 0)
	b = append(b, 'd')
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Columns)))
	for _, c := range r.Columns {
		flags := byte(0)
		if c.Key {
			flags = 1
		}
		b = append(append(append(b, flags), c.Name...), 0)
		b = binary.BigEndian.AppendUint32(b, c.OID)
		b = binary.BigEndian.AppendUint32(b, 0xffffffff) // no type modifier
	}
	return b
}

// Encode is the row's Insert message. A value of another type than string, nil and Unchanged panics: a test is wrong.
func (r Row) Encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{'I'}, r.Relation.OID)
	b = append(b, 'N')
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Values)))
	for _, v := range r.Values {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case Unchanged:
			b = append(b, 'u')
		case string:
			b = binary.BigEndian.AppendUint32(append(b, 't'), uint32(len(v)))
			b = append(b, v...)
		default:
			panic(fmt.Sprintf("walsender: a row's value is %T", v))
		}
	}
	return b
}

// message is a tableless row's logical message, as cdc_relay.emit_message writes it; end is where its record ends.
func (r Row) message(end pglogrepl.LSN) []byte {
	id, err := hex.DecodeString(strings.ReplaceAll(r.Values[0].(string), "-", ""))
	if err != nil {
		panic(fmt.Sprintf("walsender: event id %v: %v", r.Values[0], err))
	}
	text := func(b []byte, v any) []byte { return append(append(b, v.(string)...), 0) }
	content := append([]byte{1, 0x08}, id...)
	for _, v := range r.Values[1:4] {
		content = text(content, v)
	}
	for i, flag := range []byte{0x01, 0x02} { // topic and partition key
		if v := r.Values[4+i]; v != nil {
			content[1] |= flag
			content = text(content, v)
		}
	}
	content = append(content, r.Values[6].(string)...)
	b := binary.BigEndian.AppendUint64([]byte{'M', 1}, uint64(end))
	b = append(append(b, "cdc_relay"...), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// XLogData wraps a message of pgoutput for CopyData.
func XLogData(start, end pglogrepl.LSN, at time.Time, data []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'w'}, uint64(start))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	b = binary.BigEndian.AppendUint64(b, micros(at))
	return append(b, data...)
}

// PrimaryKeepalive encodes a keepalive for CopyData.
func PrimaryKeepalive(end pglogrepl.LSN, at time.Time, reply bool) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'k'}, uint64(end))
	b = binary.BigEndian.AppendUint64(b, micros(at))
	if reply {
		return append(b, 1)
	}
	return append(b, 0)
}

// copyData frames b as CopyData.
func copyData(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{'d'}, uint32(len(b)+4)), b...)
}
