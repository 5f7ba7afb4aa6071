package record

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cdc-relay/cdc-relay/record/internal/connect"
)

// Names of the formats.
const (
	Plain                 = "plain" // the default
	CloudEvents           = "cloudevents"
	CloudEventsStructured = "cloudevents-structured"
	DebeziumRouter        = "debezium"
)

// Options choose a format. The zero value is `plain` without position headers.
type Options struct {
	Format string // one of the names above; "" is plain

	PositionHeaders bool   // write cdc-source, cdc-lsn and cdc-index
	Source          string // value of cdc-source: <system identifier>:<timeline>:<incarnation>:<slot>
	SourcePrev      string // value of cdc-source-prev; "" leaves that header out

	// CloudEventsSource is the attribute `source`, a URI reference. "" stands for /cdc-relay/<Table>: the position's
	// source would change after a failover, and id and source together have to name an event for good.
	CloudEventsSource string
	Table             string // schema.table

	Debezium Debezium // for format debezium only
}

// Format is a checked set of options. It has no state: any number of goroutines may Bind it.
type Format struct {
	kind       string
	position   bool
	source     []byte // cdc-source (and -prev), encoded
	sourceN    int
	ceSource   string
	placements []placement
	keyJSON    bool
	converter  string
	hasKey     bool // table.field.event.key: a null key stays null
}

// ColumnError is a column that a format cannot write.
type ColumnError struct {
	Column string // logical name, or the table's own for placements
	Err    error
}

func (e *ColumnError) Error() string { return fmt.Sprintf("column %s: %v", e.Column, e.Err) }

func (e *ColumnError) Unwrap() error { return e.Err }

// New checks options and returns their format. All mistakes come back at once.
func New(o Options) (*Format, error) {
	var errs []error
	f := &Format{kind: o.Format, position: o.PositionHeaders}
	switch o.Format {
	case "":
		f.kind = Plain
	case Plain:
	case CloudEvents, CloudEventsStructured:
		f.ceSource = o.CloudEventsSource
		if f.ceSource == "" {
			f.ceSource = "/cdc-relay/" + url.PathEscape(o.Table)
		}
		if _, err := url.Parse(f.ceSource); err != nil {
			errs = append(errs, fmt.Errorf("cloudevents source %q is no URI reference: %w", f.ceSource, err))
		}
	case DebeziumRouter:
		errs = append(errs, f.debezium(o.Debezium)...)
	default:
		errs = append(errs, fmt.Errorf("format %q is unknown: it is one of %s", o.Format,
			strings.Join([]string{Plain, CloudEvents, CloudEventsStructured, DebeziumRouter}, ", ")))
	}
	if f.kind != DebeziumRouter && !o.Debezium.isZero() {
		errs = append(errs, fmt.Errorf("options of the debezium router need format: %s, not %s", DebeziumRouter, f.kind))
	}
	if o.PositionHeaders {
		if o.Source == "" {
			errs = append(errs, errors.New("position headers need the source"))
		}
		f.source, f.sourceN = AppendHeader(nil, HeaderSource, []byte(o.Source)), 1
		if o.SourcePrev != "" {
			f.source, f.sourceN = AppendHeader(f.source, HeaderSourcePrev, []byte(o.SourcePrev)), 2
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return f, nil
}

// Extra names the table's columns that the format needs besides the logical ones.
func (f *Format) Extra() []string {
	names := make([]string, 0, len(f.placements))
	for _, p := range f.placements {
		names = append(names, p.column)
	}
	return names
}

// Bind makes an encoder for rows of one shape; the error is a *ColumnError (or several, joined) for a column that is missing
// or whose type the format does not know how to write.
func (f *Format) Bind(s Shape) (*Encoder, error) {
	e := &Encoder{f: f, shape: s}
	var errs []error
	payload := s.Types[ColPayload].OID
	switch {
	case !s.Mapped[ColPayload]:
		errs = append(errs, &ColumnError{"payload", errors.New("is not mapped")})
	case payload == oidBytea:
		e.payload = payloadBytes
	case payload == oidJSON, payload == oidJSONB:
		e.payload = payloadJSON
	case payload == oidText, payload == oidVarchar, payload == oidBpchar:
		e.payload = payloadText
	default:
		errs = append(errs, &ColumnError{
			"payload",
			fmt.Errorf("type with oid %d is none of jsonb, json, text, varchar, char, bytea: alter the column's type", payload),
		})
	}
	for c := range NumColumns {
		if c != ColPayload && s.Mapped[c] && s.Types[c].OID == oidBytea {
			errs = append(errs, &ColumnError{c.String(), errors.New("is bytea, which only the payload may be: alter the column's type")})
		}
	}
	if !s.Mapped[ColEventID] {
		errs = append(errs, &ColumnError{"event_id", errors.New("is not mapped")})
	}
	switch f.kind {
	case CloudEvents, CloudEventsStructured:
		if !s.Mapped[ColEventType] {
			errs = append(errs, &ColumnError{"event_type", errors.New("is not mapped, and CloudEvents needs a type")})
		}
	case DebeziumRouter:
		errs = append(errs, e.bindDebezium()...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return e, nil
}

type payloadKind uint8

const (
	payloadText payloadKind = iota
	payloadJSON
	payloadBytes
)

// Encoder writes rows of one relation in one format. It keeps scratch space: one goroutine at a time.
type Encoder struct {
	f        *Format
	shape    Shape
	payload  payloadKind
	key      connect.Field   // debezium: how the key's column is written
	id       connect.Field   // debezium: how the id's column is written
	extra    []connect.Field // debezium: how each placed column is written
	scratch  []byte
	declared []byte // cloudevents: the content type
}

// Bound is at or above the number of bytes that Append will append in format plain, and a good guess in the others.
func (e *Encoder) Bound(row *Row) int {
	n := 256 + len(e.f.source)
	for _, v := range row.Values {
		n += len(v)
	}
	for _, v := range row.Extra {
		n += 2 * len(v)
	}
	n += len(row.Values[ColHeaders])/4 + len(row.Values[ColAggregateID]) + len(row.Values[ColPartitionKey])
	switch e.f.kind {
	case CloudEvents:
		n += 256 + len(e.f.ceSource)
	case CloudEventsStructured, DebeziumRouter:
		n += 512 + len(e.f.ceSource) + len(row.Values[ColPayload])/2
	}
	return n
}

// Append encodes row behind dst, describes the result in out (all of it is set) and returns the grown buffer.
func (e *Encoder) Append(dst []byte, row *Row, out *Record) []byte {
	*out = Record{Partition: -1}
	switch e.f.kind {
	case Plain:
		return e.appendPlain(dst, row, out)
	case CloudEvents:
		return e.appendCloudEvent(dst, row, out, false)
	case CloudEventsStructured:
		return e.appendCloudEvent(dst, row, out, row.Values[ColPayload] != nil)
	default:
		return e.appendDebezium(dst, row, out)
	}
}
