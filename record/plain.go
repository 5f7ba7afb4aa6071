package record

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/cdc-relay/cdc-relay/record/internal/jsontext"
)

// Names of the headers that the relay writes.
const (
	HeaderEventID       = "event_id"
	HeaderEventType     = "event_type"
	HeaderAggregateType = "aggregate_type"
	HeaderAggregateID   = "aggregate_id"
	HeaderContentType   = "content-type"
	HeaderSource        = "cdc-source"
	HeaderSourcePrev    = "cdc-source-prev"
	HeaderLSN           = "cdc-lsn"
	HeaderIndex         = "cdc-index"
)

// What stands in Refused.
const (
	refusedNoID      = "event_id is null"
	refusedHeaders   = "headers are not a JSON object"
	refusedBytea     = "payload is not bytea in hex form: the replication connection needs bytea_output = hex"
	refusedNoType    = "event_type is null or empty, and CloudEvents needs a type"
	refusedEmptyID   = "event_id is empty, and CloudEvents needs an id"
	refusedJSON      = "headers say that the payload is JSON, and it is not"
	refusedPartition = "the column of the partition is null or no number from 0 to 2147483647"
	refusedValue     = "a placed column has a value that Debezium's router cannot write"
)

// span is a place in a buffer that may still move; from -1 is null.
type span struct{ from, to int }

func null() span { return span{-1, -1} }

// in cuts the span out of buf, with no room behind it: an append by whoever holds it cannot reach its neighbour.
func (s span) in(buf []byte) []byte {
	if s.from < 0 {
		return nil
	}
	return buf[s.from:s.to:s.to]
}

// builder appends headers and counts them.
type builder struct {
	buf   []byte
	start int
	count int
}

func (b *builder) header(name string, value []byte) (s span) {
	b.buf, s = appendNamed(b.buf, name, value)
	b.count++
	return s
}

func (b *builder) bytes(value []byte) (s span) {
	b.buf, s = appendBytes(b.buf, value)
	return s
}

func appendNamed(buf []byte, name string, value []byte) ([]byte, span) {
	buf = appendLength(buf, len(name))
	buf = append(buf, name...)
	if value == nil {
		return append(buf, 1), null() // -1
	}
	buf = appendLength(buf, len(value))
	return appendBytes(buf, value)
}

func appendBytes(buf, value []byte) ([]byte, span) {
	if value == nil {
		return buf, null()
	}
	from := len(buf)
	buf = append(buf, value...)
	return buf, span{from, len(buf)}
}

// appendPlain works on variables of its own, not by way of a builder: see decoder.decodeRow.
func (e *Encoder) appendPlain(buf []byte, row *Row, out *Record) []byte {
	v := &row.Values
	typ, aggType, aggID := null(), null(), null()
	if v[ColEventID] == nil {
		out.Refused = refusedNoID
	}
	start, count := len(buf), 1
	buf, id := appendNamed(buf, HeaderEventID, v[ColEventID])
	if e.shape.Mapped[ColEventType] {
		buf, typ = appendNamed(buf, HeaderEventType, v[ColEventType])
		count++
	}
	if e.shape.Mapped[ColAggregateType] {
		buf, aggType = appendNamed(buf, HeaderAggregateType, v[ColAggregateType])
		count++
	}
	if e.shape.Mapped[ColAggregateID] {
		buf, aggID = appendNamed(buf, HeaderAggregateID, v[ColAggregateID])
		count++
	}
	buf, more := e.appendRowHeaders(buf, row, out)
	buf, last := e.appendPosition(buf, row)
	headers := span{start, len(buf)}
	key := aggID
	if v[ColPartitionKey] != nil {
		buf, key = appendBytes(buf, v[ColPartitionKey])
	}
	buf, value := e.appendPayload(buf, row, out)

	out.Headers = Headers{Count: count + more + last, Bytes: headers.in(buf)}
	out.Key, out.Value = key.in(buf), value.in(buf)
	out.ID, out.Type, out.AggregateType, out.AggregateID = id.in(buf), typ.in(buf), aggType.in(buf), aggID.in(buf)
	return buf
}

func (e *Encoder) rawPayload(b *builder, row *Row, out *Record) (s span) {
	b.buf, s = e.appendPayload(b.buf, row, out)
	return s
}

// appendPayload appends the payload's own bytes: text as Postgres sends it, bytea unpacked unless it came so.
func (e *Encoder) appendPayload(buf []byte, row *Row, out *Record) ([]byte, span) {
	p := row.Values[ColPayload]
	if e.payload != payloadBytes || e.shape.Raw || p == nil {
		return appendBytes(buf, p)
	}
	from := len(buf)
	if len(p) >= 2 && p[0] == '\\' && p[1] == 'x' && len(p)%2 == 0 {
		buf = slices.Grow(buf, hex.DecodedLen(len(p)-2))
		n, err := hex.Decode(buf[from:cap(buf)], p[2:])
		if err == nil {
			return buf[:from+n], span{from, from + n}
		}
	}
	out.Refused = refusedBytea
	return appendBytes(buf, p)
}

func (e *Encoder) rowHeaders(b *builder, row *Row, out *Record) {
	var n int
	b.buf, n = e.appendRowHeaders(b.buf, row, out)
	b.count += n
}

// appendRowHeaders appends the members of the row's headers that do not collide with ours. Headers that cannot be read leave
// no trace but in Refused.
func (e *Encoder) appendRowHeaders(buf []byte, row *Row, out *Record) ([]byte, int) {
	text := row.Values[ColHeaders]
	if text == nil || string(text) == "{}" {
		return buf, 0
	}
	length, count := len(buf), 0
	s := jsontext.Scanner{Data: text}
	if !s.Begin() {
		out.Refused = refusedHeaders
		return buf, 0
	}
	for m, more := s.Next(); more; m, more = s.Next() {
		name, value := m.Name, m.Value
		if m.NameEscaped {
			e.scratch = jsontext.AppendUnescaped(e.scratch[:0], m.Name)
			name = e.scratch
		}
		if e.reserved(name) {
			continue
		}
		buf = appendLength(buf, len(name))
		buf = append(buf, name...)
		if m.ValueEscaped {
			e.scratch = jsontext.AppendUnescaped(e.scratch[:0], m.Value)
			value = e.scratch
		}
		buf = appendLength(buf, len(value))
		buf = append(buf, value...)
		count++
	}
	if s.Bad {
		out.Refused = refusedHeaders
		return buf[:length], 0
	}
	return buf, count
}

func (e *Encoder) reserved(name []byte) bool {
	switch string(name) {
	case HeaderEventID, HeaderEventType, HeaderAggregateType, HeaderAggregateID:
		return true
	case HeaderContentType:
		return e.f.kind == CloudEvents || e.f.kind == CloudEventsStructured
	}
	if bytes.HasPrefix(name, []byte("cdc-")) || bytes.HasPrefix(name, []byte("ce_")) {
		return true
	}
	return e.f.kind == DebeziumRouter && e.f.debeziumName(name)
}

func (e *Encoder) position(b *builder, row *Row) {
	var n int
	b.buf, n = e.appendPosition(b.buf, row)
	b.count += n
}

// appendPosition appends where the row stands, in the order of the package document.
func (e *Encoder) appendPosition(buf []byte, row *Row) ([]byte, int) {
	if !e.f.position {
		return buf, 0
	}
	buf = append(buf, e.f.source...)
	buf = appendLength(buf, len(HeaderLSN))
	buf = append(buf, HeaderLSN...)
	buf = appendLength(buf, 16)
	const digits = "0123456789ABCDEF"
	for shift := 60; shift >= 0; shift -= 4 {
		buf = append(buf, digits[row.Commit>>shift&15])
	}
	var decimal [10]byte
	buf, _ = appendNamed(buf, HeaderIndex, strconv.AppendUint(decimal[:0], uint64(row.Index), 10))
	return buf, e.f.sourceN + 2
}

// appendLength appends n as the zigzag varint that stands before names and values.
func appendLength(buf []byte, n int) []byte {
	u := uint64(n) << 1
	for u >= 0x80 {
		buf = append(buf, byte(u)|0x80)
		u >>= 7
	}
	return append(buf, byte(u))
}
