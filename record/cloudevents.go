package record

import (
	"bytes"
	"encoding/base64"
	"time"

	"github.com/cdc-relay/cdc-relay/record/internal/jsontext"
)

// CloudEvents 1.0.2, the Kafka protocol binding 3.2 (binary) and 3.3 (structured), the JSON event format 3.
//
//	id       event_id
//	source   Options.CloudEventsSource
//	type     event_type
//	time     the commit, in microseconds, UTC
//	subject  aggregate_id; left out when it is null or empty, which the specification asks for
//	data     the payload; its content type is the row header content-type, else what the column's type says. In the envelope
//	         it is a JSON value when that type means JSON, else a string, for bytea base64
const (
	ceSpecVersion    = "1.0"
	ceTimeLayout     = "2006-01-02T15:04:05.000000Z"
	structuredType   = "application/cloudevents+json; charset=UTF-8"
	contentTypeJSON  = "application/json"
	contentTypeText  = "text/plain; charset=utf-8"
	contentTypeBytes = "application/octet-stream"
)

func (e *Encoder) appendCloudEvent(dst []byte, row *Row, out *Record, structured bool) []byte {
	b := builder{buf: dst, start: len(dst)}
	v := &row.Values
	switch {
	case v[ColEventID] == nil:
		out.Refused = refusedNoID
	case len(v[ColEventID]) == 0:
		out.Refused = refusedEmptyID
	case len(v[ColEventType]) == 0:
		out.Refused = refusedNoType
	}
	contentType := e.contentType(row)
	id, typ, aggID := null(), null(), null()
	if structured {
		b.header(HeaderContentType, []byte(structuredType))
	} else {
		var stamp [len(ceTimeLayout)]byte
		id = b.header("ce_id", v[ColEventID])
		b.header("ce_source", []byte(e.f.ceSource))
		typ = b.header("ce_type", v[ColEventType])
		b.header("ce_specversion", []byte(ceSpecVersion))
		b.header("ce_time", time.UnixMicro(row.CommitTime).UTC().AppendFormat(stamp[:0], ceTimeLayout))
		if len(v[ColAggregateID]) > 0 {
			aggID = b.header("ce_subject", v[ColAggregateID])
		}
		if v[ColPayload] != nil {
			b.header(HeaderContentType, contentType)
		}
	}
	e.rowHeaders(&b, row, out)
	e.position(&b, row)
	headers := span{b.start, len(b.buf)}
	if structured {
		id, typ = b.bytes(v[ColEventID]), b.bytes(v[ColEventType])
	}
	if aggID.from < 0 {
		aggID = b.bytes(v[ColAggregateID])
	}
	aggType := b.bytes(v[ColAggregateType])
	key := aggID
	if v[ColPartitionKey] != nil {
		key = b.bytes(v[ColPartitionKey])
	}
	var value span
	if structured {
		value = e.envelope(&b, row, contentType, out)
	} else {
		value = e.rawPayload(&b, row, out)
	}

	out.Headers = Headers{Count: b.count, Bytes: headers.in(b.buf)}
	out.Key, out.Value = key.in(b.buf), value.in(b.buf)
	out.ID, out.Type, out.AggregateType, out.AggregateID = id.in(b.buf), typ.in(b.buf), aggType.in(b.buf), aggID.in(b.buf)
	return b.buf
}

// envelope appends the event as one JSON object; the payload is not null.
func (e *Encoder) envelope(b *builder, row *Row, contentType []byte, out *Record) span {
	v := &row.Values
	from := len(b.buf)
	b.buf = append(b.buf, `{"specversion":"`+ceSpecVersion+`","id":`...)
	b.buf = jsontext.AppendQuoted(b.buf, v[ColEventID])
	b.buf = append(b.buf, `,"source":`...)
	b.buf = jsontext.AppendQuoted(b.buf, []byte(e.f.ceSource))
	b.buf = append(b.buf, `,"type":`...)
	b.buf = jsontext.AppendQuoted(b.buf, v[ColEventType])
	b.buf = append(b.buf, `,"time":"`...)
	b.buf = time.UnixMicro(row.CommitTime).UTC().AppendFormat(b.buf, ceTimeLayout)
	b.buf = append(b.buf, '"')
	if len(v[ColAggregateID]) > 0 {
		b.buf = append(b.buf, `,"subject":`...)
		b.buf = jsontext.AppendQuoted(b.buf, v[ColAggregateID])
	}
	b.buf = append(b.buf, `,"datacontenttype":`...)
	b.buf = jsontext.AppendQuoted(b.buf, contentType)
	switch payload := v[ColPayload]; {
	case e.payload == payloadBytes:
		b.buf = append(b.buf, `,"data_base64":"`...)
		raw := builder{buf: e.scratch[:0]}
		e.rawPayload(&raw, row, out)
		e.scratch = raw.buf
		b.buf = base64.StdEncoding.AppendEncode(b.buf, raw.buf)
		b.buf = append(b.buf, '"')
	case isJSONType(contentType):
		if e.payload != payloadJSON && !jsontext.Valid(payload) {
			out.Refused = refusedJSON
			payload = []byte("null")
		}
		b.buf = append(b.buf, `,"data":`...)
		b.buf = append(b.buf, payload...)
	default:
		b.buf = append(b.buf, `,"data":`...)
		b.buf = jsontext.AppendQuoted(b.buf, payload)
	}
	b.buf = append(b.buf, '}')
	return span{from, len(b.buf)}
}

// contentType is the row's own header of that name when it is a string that is not empty, else the payload type's. What it
// returns holds until the next call.
func (e *Encoder) contentType(row *Row) []byte {
	var found []byte
	s := jsontext.Scanner{Data: row.Values[ColHeaders]}
	if s.Begin() {
		for m, more := s.Next(); more; m, more = s.Next() {
			name := m.Name
			if m.NameEscaped {
				e.scratch = jsontext.AppendUnescaped(e.scratch[:0], m.Name)
				name = e.scratch
			}
			if m.ValueString && len(m.Value) > 0 && string(name) == HeaderContentType {
				found = append(e.declared[:0], m.Value...)
				if m.ValueEscaped {
					found = jsontext.AppendUnescaped(e.declared[:0], m.Value)
				}
				e.declared = found
			}
		}
	}
	if found != nil && !s.Bad {
		return found
	}
	kind := contentTypeText
	switch e.payload {
	case payloadJSON:
		kind = contentTypeJSON
	case payloadBytes:
		kind = contentTypeBytes
	case payloadText:
	}
	e.declared = append(e.declared[:0], kind...)
	return e.declared
}

// isJSONType says whether a media type means JSON: its subtype is json or ends with +json (JSON event format 3.1).
func isJSONType(mediaType []byte) bool {
	kind, _, _ := bytes.Cut(mediaType, []byte(";"))
	kind = bytes.ToLower(bytes.TrimSpace(kind))
	return bytes.HasSuffix(kind, []byte("/json")) || bytes.HasSuffix(kind, []byte("+json"))
}
