package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Defaults of Options; those of the table are what `cdc-relay migrate up` makes.
const (
	DefaultTable           = "public.outbox"
	DefaultPayloadType     = JSONB
	DefaultMaxPayloadBytes = 768 << 10
)

// PayloadType is the type of the table's column payload.
type PayloadType string

// The payload types of the outbox table. JSONB prints what it was given in a form of its own (one space behind : and ,
// members ordered, the last of two equal names kept); the others hand it on byte for byte.
const (
	JSONB PayloadType = "jsonb"
	JSON  PayloadType = "json"
	Text  PayloadType = "text"
	Bytea PayloadType = "bytea"
)

// Options say where events go and what stands beside them. Start from [NewOptions]: a zero field is a mistake where it has
// a default.
type Options struct {
	// Table is the outbox, "schema.table" or, found by the search_path, "table"; a table of the native columns (docs/applications.md).
	// Default "public.outbox".
	Table string
	// PayloadType is the type of the table's payload, payload_type of the migration. Default JSONB.
	PayloadType PayloadType
	// MaxPayloadBytes bounds a payload as it is sent. The table has a bound of its own, on the payload as Postgres prints
	// it. Default 768 KiB, as the migration's.
	MaxPayloadBytes int
	// ContextHeaders returns headers for all events of one call to Write. It must not block. An event's own headers win; a
	// name that is not allowed in an event is left out. Default [TraceHeaders]; outboxotel.TraceContext takes them from an
	// OpenTelemetry span. nil: none.
	ContextHeaders func(context.Context) map[string]string
	// Returning asks for Written.Value and Written.Headers. It costs the way back of the payloads. Default false.
	Returning bool
}

// NewOptions returns the defaults.
func NewOptions() Options {
	return Options{
		Table: DefaultTable, PayloadType: DefaultPayloadType, MaxPayloadBytes: DefaultMaxPayloadBytes,
		ContextHeaders: TraceHeaders,
	}
}

// Validate returns all mistakes at once.
func (o Options) Validate() error {
	var errs []error
	parts := strings.Split(o.Table, ".")
	bad := func(s string) bool { return s == "" || len(s) > 63 || wrongText(s) != "" }
	if len(parts) > 2 || bad(parts[0]) || bad(parts[len(parts)-1]) {
		errs = append(errs, fmt.Errorf("outbox table %q: want schema.table or table, of 1 to 63 bytes each", o.Table))
	}
	switch o.PayloadType {
	case JSONB, JSON, Text, Bytea:
	default:
		errs = append(errs, fmt.Errorf("payload type %q: want jsonb, json, text or bytea", o.PayloadType))
	}
	if o.MaxPayloadBytes < 1 {
		errs = append(errs, fmt.Errorf("payload bound of %d bytes: want 1 or more", o.MaxPayloadBytes))
	}
	return errors.Join(errs...)
}

type traceKey struct{}

// WithTrace returns a context whose events carry a W3C trace context: the headers traceparent and, unless it is empty,
// tracestate. For programs that have it as text, from a request's headers; those with OpenTelemetry use outboxotel.
func WithTrace(ctx context.Context, traceparent, tracestate string) context.Context {
	headers := map[string]string{"traceparent": traceparent}
	if tracestate != "" {
		headers["tracestate"] = tracestate
	}
	return context.WithValue(ctx, traceKey{}, headers)
}

// TraceHeaders returns what [WithTrace] put into the context, nil otherwise. It is the default of Options.ContextHeaders.
func TraceHeaders(ctx context.Context) map[string]string {
	headers, _ := ctx.Value(traceKey{}).(map[string]string)
	return headers
}
