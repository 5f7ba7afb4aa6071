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

func (b *builder) header(name string, value []byte) span {
	b.buf = AppendHeader(b.buf, name, value)
	b.count++
	if value == nil {
		return null()
	}
	return span{len(b.buf) - len(value), len(b.buf)}
}

func (b *builder) bytes(value []byte) span {
	if value == nil {
		return null()
	}
	from := len(b.buf)
	b.buf = append(b.buf, value...)
	return span{from, len(b.buf)}
}

func (e *Encoder) appendPlain(dst []byte, row *Row, out *Record) []byte {
	b := builder{buf: dst, start: len(dst)}
	v := &row.Values
	id, typ, aggType, aggID := null(), null(), null(), null()
	if v[ColEventID] == nil {
		out.Refused = refusedNoID
	}
	id = b.header(HeaderEventID, v[ColEventID])
	if e.shape.Mapped[ColEventType] {
		typ = b.header(HeaderEventType, v[ColEventType])
	}
	if e.shape.Mapped[ColAggregateType] {
		aggType = b.header(HeaderAggregateType, v[ColAggregateType])
	}
	if e.shape.Mapped[ColAggregateID] {
		aggID = b.header(HeaderAggregateID, v[ColAggregateID])
	}
	e.rowHeaders(&b, row, out)
	e.position(&b, row)
	headers := span{b.start, len(b.buf)}
	key := aggID
	if v[ColPartitionKey] != nil {
		key = b.bytes(v[ColPartitionKey])
	}
	value := e.rawPayload(&b, row, out)

	out.Headers = Headers{Count: b.count, Bytes: headers.in(b.buf)}
	out.Key, out.Value = key.in(b.buf), value.in(b.buf)
	out.ID, out.Type, out.AggregateType, out.AggregateID = id.in(b.buf), typ.in(b.buf), aggType.in(b.buf), aggID.in(b.buf)
	return b.buf
}

// rawPayload appends the payload's own bytes: text as Postgres sends it, bytea unpacked.
func (e *Encoder) rawPayload(b *builder, row *Row, out *Record) span {
	p := row.Values[ColPayload]
	if e.payload != payloadBytes || p == nil {
		return b.bytes(p)
	}
	from := len(b.buf)
	if len(p) >= 2 && p[0] == '\\' && p[1] == 'x' && len(p)%2 == 0 {
		b.buf = slices.Grow(b.buf, hex.DecodedLen(len(p)-2))
		n, err := hex.Decode(b.buf[from:cap(b.buf)], p[2:])
		if err == nil {
			b.buf = b.buf[:from+n]
			return span{from, from + n}
		}
	}
	out.Refused = refusedBytea
	return b.bytes(p)
}

// rowHeaders appends the members of the row's headers that do not collide with ours. Headers that cannot be read leave no
// trace but in Refused.
func (e *Encoder) rowHeaders(b *builder, row *Row, out *Record) {
	text := row.Values[ColHeaders]
	if text == nil {
		return
	}
	length, count := len(b.buf), b.count
	s := jsontext.Scanner{Data: text}
	if !s.Begin() {
		out.Refused = refusedHeaders
		return
	}
	for {
		m, more := s.Next()
		if !more {
			break
		}
		name := m.Name
		if m.NameEscaped {
			e.scratch = jsontext.AppendUnescaped(e.scratch[:0], m.Name)
			name = e.scratch
		}
		if e.reserved(name) {
			continue
		}
		b.buf = appendLength(b.buf, len(name))
		b.buf = append(b.buf, name...)
		value := m.Value
		if m.ValueEscaped {
			e.scratch = jsontext.AppendUnescaped(e.scratch[:0], m.Value)
			value = e.scratch
		}
		b.buf = appendLength(b.buf, len(value))
		b.buf = append(b.buf, value...)
		b.count++
	}
	if s.Bad {
		b.buf, b.count = b.buf[:length], count
		out.Refused = refusedHeaders
	}
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

// position appends where the row stands, in the order of the package document.
func (e *Encoder) position(b *builder, row *Row) {
	if !e.f.position {
		return
	}
	b.buf = append(b.buf, e.f.source...)
	b.count += e.f.sourceN
	b.buf = appendLength(b.buf, len(HeaderLSN))
	b.buf = append(b.buf, HeaderLSN...)
	b.buf = appendLength(b.buf, 16)
	const digits = "0123456789ABCDEF"
	for shift := 60; shift >= 0; shift -= 4 {
		b.buf = append(b.buf, digits[row.Commit>>shift&15])
	}
	b.count++
	var decimal [10]byte
	b.header(HeaderIndex, strconv.AppendUint(decimal[:0], uint64(row.Index), 10))
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
