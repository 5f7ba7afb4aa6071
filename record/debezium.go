package record

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/record/internal/connect"
	"github.com/cdc-relay/cdc-relay/record/internal/jsontext"
)

// Debezium are the options of Debezium's outbox event router and of the Kafka Connect converters around it, by their names
// there. The zero value is the router's default with payloads as they are.
type Debezium struct {
	EventKey            string // table.field.event.key: the key's column; "" is the aggregate id
	RouteByField        string // route.by.field: the column that routes; "" is the aggregate type
	TopicReplacement    string // route.topic.replacement; "" is outbox.event.${routedByValue}
	AdditionalPlacement string // table.fields.additional.placement: "type:header:eventType,tenant:envelope,prio:partition"

	KeyConverter   string // "string" (the default) or "json"
	ValueConverter string // "string", "binary" or "json"; "" is string or binary, as the payload's type asks for

	// What follows is known and not supported: New refuses it.
	ConverterSchemas   bool   // schemas.enable of a JSON converter
	ExpandJSONPayload  bool   // table.expand.json.payload
	EventTimestamp     string // table.field.event.timestamp
	EventSchemaVersion string // table.field.event.schema.version
}

// DebeziumTopic is the router's default rule.
const DebeziumTopic = "outbox.event.${routedByValue}"

func (d Debezium) isZero() bool { return d == Debezium{} }

const (
	convertString = "string"
	convertBinary = "binary"
	convertJSON   = "json"
)

type place uint8

const (
	placeHeader place = iota
	placeEnvelope
	placePartition
)

// placement is one entry of table.fields.additional.placement.
type placement struct {
	column string
	place  place
	alias  string
}

// debezium takes over the options and names all that is wrong with them.
func (f *Format) debezium(d Debezium) []error {
	var errs []error
	unsupported := func(set bool, option, cure string) {
		if set {
			errs = append(errs, fmt.Errorf("%s is not supported: %s", option, cure))
		}
	}
	unsupported(d.ConverterSchemas, "a JSON converter with schemas", "set schemas.enable=false on both sides, or stay with Debezium")
	unsupported(d.ExpandJSONPayload, "table.expand.json.payload", "leave it out: the payload's own text is published")
	unsupported(d.EventTimestamp != "", "table.field.event.timestamp", "leave it out: records carry the commit time")
	unsupported(d.EventSchemaVersion != "", "table.field.event.schema.version", "leave it out: records carry no schema")
	switch d.KeyConverter {
	case "", convertString:
	case convertJSON:
		f.keyJSON = true
	default:
		errs = append(errs, fmt.Errorf("key converter %q is not supported: it is string or json", d.KeyConverter))
	}
	switch d.ValueConverter {
	case "", convertString, convertBinary, convertJSON:
		f.converter = d.ValueConverter
	default:
		errs = append(errs, fmt.Errorf("value converter %q is not supported: it is string, binary or json", d.ValueConverter))
	}
	f.hasKey = d.EventKey != ""
	if d.AdditionalPlacement == "" {
		return errs
	}
	for entry := range strings.SplitSeq(d.AdditionalPlacement, ",") {
		p, err := parsePlacement(strings.TrimSpace(entry))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p.place == placeEnvelope && f.converter != convertJSON {
			errs = append(errs, fmt.Errorf("placement %q needs the value converter json: an envelope has no other form", entry))
		}
		f.placements = append(f.placements, p)
	}
	return errs
}

func parsePlacement(entry string) (placement, error) {
	fields := strings.Split(entry, ":")
	bad := fmt.Errorf("placement %q is not column:header, column:envelope (both with :alias at will) or column:partition", entry)
	if len(fields) < 2 || len(fields) > 3 || fields[0] == "" || fields[len(fields)-1] == "" {
		return placement{}, bad
	}
	p := placement{column: fields[0], alias: fields[0]}
	switch fields[1] {
	case "header":
		p.place = placeHeader
	case "envelope":
		p.place = placeEnvelope
	case "partition":
		p.place = placePartition
	default:
		return placement{}, bad
	}
	if len(fields) == 3 {
		if p.place == placePartition {
			return placement{}, bad
		}
		p.alias = fields[2]
	}
	return p, nil
}

// debeziumName says whether a header of that name is the router's own.
func (f *Format) debeziumName(name []byte) bool {
	if string(name) == "id" || strings.HasPrefix(string(name), "__debezium.") {
		return true
	}
	for _, p := range f.placements {
		if p.place == placeHeader && p.alias == string(name) {
			return true
		}
	}
	return false
}

func (e *Encoder) bindDebezium() []error {
	var errs []error
	add := func(column string, err error) {
		if err != nil {
			errs = append(errs, &ColumnError{column, err})
		}
	}
	switch {
	case e.f.converter == convertString && e.payload == payloadBytes:
		add("payload", errors.New("is bytea, which the string converter cannot write: use the value converter binary"))
	case e.f.converter == convertBinary && e.payload != payloadBytes:
		add("payload", errors.New("is not bytea, which the binary converter needs: use the value converter string"))
	}
	plain := func(c Column, mapped bool) connect.Field {
		if !mapped {
			return connect.Field{}
		}
		kind, err := connect.Of(e.shape.Types[c].OID, e.shape.Types[c].Mod)
		if err == nil && kind.Kind != connect.Text && kind.Kind != connect.Integer {
			err = errors.New("is neither text, uuid nor an integer")
		}
		add(c.String(), err)
		return kind
	}
	e.id = plain(ColEventID, e.shape.Mapped[ColEventID])
	keyColumn := ColAggregateID
	if e.f.hasKey {
		keyColumn = ColPartitionKey
	}
	e.key = plain(keyColumn, e.shape.Mapped[keyColumn])
	if len(e.shape.Extra) != len(e.f.placements) {
		return append(errs, fmt.Errorf("shape has %d extra columns, the format needs %d", len(e.shape.Extra), len(e.f.placements)))
	}
	for i, p := range e.f.placements {
		kind, err := connect.Of(e.shape.Extra[i].OID, e.shape.Extra[i].Mod)
		if err == nil && p.place == placePartition && kind.Kind != connect.Integer {
			err = errors.New("is no integer, which a partition is")
		}
		add(p.column, err)
		e.extra = append(e.extra, kind)
	}
	return errs
}

func (e *Encoder) appendDebezium(dst []byte, row *Row, out *Record) []byte {
	b := builder{buf: dst, start: len(dst)}
	v := &row.Values
	if v[ColEventID] == nil {
		out.Refused = refusedNoID
	}
	id := b.header("id", v[ColEventID])
	for i, p := range e.f.placements {
		switch p.place {
		case placeHeader:
			e.placedHeader(&b, p.alias, e.extra[i], row.Extra[i], out)
		case placePartition:
			n, err := strconv.ParseInt(string(row.Extra[i]), 10, 32)
			if err != nil || n < 0 {
				out.Refused = refusedPartition
				continue
			}
			out.Partition = int32(n)
		case placeEnvelope:
		}
	}
	e.rowHeaders(&b, row, out)
	e.position(&b, row)
	headers := span{b.start, len(b.buf)}
	aggID := b.bytes(v[ColAggregateID])
	aggType, typ := b.bytes(v[ColAggregateType]), b.bytes(v[ColEventType])
	key := aggID
	keyValue := v[ColAggregateID]
	if e.f.hasKey || v[ColPartitionKey] != nil {
		keyValue = v[ColPartitionKey]
		key = b.bytes(keyValue)
	}
	if e.f.keyJSON {
		key.from = len(b.buf)
		jsonField(&b, e.key, keyValue, out)
		key.to = len(b.buf)
	}
	value := e.debeziumValue(&b, row, out)

	out.Headers = Headers{Count: b.count, Bytes: headers.in(b.buf)}
	out.Key, out.Value = key.in(b.buf), value.in(b.buf)
	out.ID, out.Type, out.AggregateType, out.AggregateID = id.in(b.buf), typ.in(b.buf), aggType.in(b.buf), aggID.in(b.buf)
	return b.buf
}

func (e *Encoder) placedHeader(b *builder, name string, kind connect.Field, text []byte, out *Record) {
	if text == nil {
		b.header(name, nil)
		return
	}
	value, ok := connect.AppendHeader(e.scratch[:0], kind, text)
	e.scratch = value
	if !ok {
		out.Refused, value = refusedValue, text
	}
	b.header(name, value)
}

// debeziumValue appends the value: the payload itself, or JSON when the converter says so.
func (e *Encoder) debeziumValue(b *builder, row *Row, out *Record) span {
	if e.f.converter != convertJSON {
		return e.rawPayload(b, row, out)
	}
	from := len(b.buf)
	open := false
	for i, p := range e.f.placements {
		if p.place != placeEnvelope {
			continue
		}
		if !open {
			open = true
			b.buf = append(b.buf, `{"payload":`...)
			e.jsonPayload(b, row, out)
		}
		b.buf = append(b.buf, ',')
		b.buf = jsontext.AppendQuoted(b.buf, []byte(p.alias))
		b.buf = append(b.buf, ':')
		jsonField(b, e.extra[i], row.Extra[i], out)
	}
	if open {
		b.buf = append(b.buf, '}')
	} else {
		e.jsonPayload(b, row, out)
	}
	return span{from, len(b.buf)}
}

// jsonPayload appends the payload as the schemaless JSON converter has it: its text as a JSON string, bytes in base64.
func (e *Encoder) jsonPayload(b *builder, row *Row, out *Record) {
	payload := row.Values[ColPayload]
	switch {
	case payload == nil:
		b.buf = append(b.buf, "null"...)
	case e.payload == payloadBytes:
		raw := builder{buf: e.scratch[:0]}
		e.rawPayload(&raw, row, out)
		e.scratch = raw.buf
		b.buf = append(b.buf, '"')
		b.buf = base64.StdEncoding.AppendEncode(b.buf, raw.buf)
		b.buf = append(b.buf, '"')
	default:
		b.buf = jsontext.AppendQuoted(b.buf, payload)
	}
}

func jsonField(b *builder, kind connect.Field, text []byte, out *Record) {
	var ok bool
	if b.buf, ok = connect.AppendJSON(b.buf, kind, text); !ok {
		out.Refused = refusedValue
	}
}
