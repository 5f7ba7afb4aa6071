package migrations

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Defaults of Options.
const (
	DefaultOutboxTable     = "public.outbox"
	DefaultPayloadType     = "jsonb"
	DefaultPayloadMaxBytes = 768 << 10
	DefaultPublication     = "cdc_relay"
	DefaultPremakeDays     = 7
)

// Options says what the schema looks like. Start from [NewOptions]: a zero field is a mistake, not a default.
type Options struct {
	// OutboxTable is "schema.table". The name takes at most 50 bytes: partitions append _p20060102 or _default to it.
	// Default "public.outbox".
	OutboxTable string
	// PayloadType is the column's type: jsonb, json, text or bytea. Default jsonb.
	PayloadType string
	// PayloadMaxBytes bounds one payload as Postgres sends it. Default 768 KiB: with key and headers still below Kafka's
	// default limit of 1,048,588 bytes.
	PayloadMaxBytes int
	// Publication is made for OutboxTable. Default "cdc_relay".
	Publication string
	// RelayRole is granted what the relay needs. Empty: no grants (the relay runs as the owner or a superuser).
	RelayRole string
	// CreateRole makes RelayRole, LOGIN REPLICATION and without a password, where it is missing. Default false.
	CreateRole bool
	// PremakeDays is how many partitions are made ahead, today's not counted. Default 7.
	PremakeDays int
}

// NewOptions returns the defaults.
func NewOptions() Options {
	return Options{
		OutboxTable:     DefaultOutboxTable,
		PayloadType:     DefaultPayloadType,
		PayloadMaxBytes: DefaultPayloadMaxBytes,
		Publication:     DefaultPublication,
		PremakeDays:     DefaultPremakeDays,
	}
}

// Validate returns all mistakes at once.
func (o Options) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	schema, table, ok := strings.Cut(o.OutboxTable, ".")
	word := regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*\z`)
	switch {
	case !ok || !word.MatchString(schema) || !word.MatchString(table):
		add("outbox table %q: want schema.table, of letters, digits and _", o.OutboxTable)
	case len(schema) > 63 || len(table) > 50:
		add("outbox table %q: the table's name may take 50 bytes, partitions append to it", o.OutboxTable)
	case schema == "cdc_relay":
		add("outbox table %q: schema cdc_relay belongs to the relay, choose another", o.OutboxTable)
	}
	switch o.PayloadType {
	case "jsonb", "json", "text", "bytea":
	default:
		add("payload type %q: want jsonb, json, text or bytea", o.PayloadType)
	}
	if o.PayloadMaxBytes < 1 || o.PayloadMaxBytes > 256<<20 {
		// A row of two fields of 600 MB jams pgoutput for good (its message passes 1 GB); leave far more room than that.
		add("payload bound of %d bytes: want 1 to %d", o.PayloadMaxBytes, 256<<20)
	}
	if !regexp.MustCompile(`\A[a-z0-9_]{1,63}\z`).MatchString(o.Publication) {
		add("publication %q: want 1 to 63 of a-z, 0-9 and _", o.Publication)
	}
	if len(o.RelayRole) > 63 || strings.ContainsFunc(o.RelayRole, func(r rune) bool { return r < ' ' || r == '\\' || r == '$' }) {
		add("relay role %q: at most 63 bytes without control characters, backslash and $", o.RelayRole)
	}
	if o.CreateRole && o.RelayRole == "" {
		add("a role is to be made, but relay role is empty: name it")
	}
	if o.PremakeDays < 1 || o.PremakeDays > 366 {
		add("%d days premade: want 1 to 366", o.PremakeDays)
	}
	return errors.Join(errs...)
}
