package insert

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Columns are those that only some calls need.
type Columns uint8

// The optional columns, in the order of their parameters, behind event_id, aggregate_type, aggregate_id, event_type, payload.
const (
	Topic Columns = 1 << iota
	PartitionKey
	Headers
)

// Of says which of them the rows need.
func Of(rows []outbox.Row) (c Columns) {
	for i := range rows {
		if rows[i].Topic != "" {
			c |= Topic
		}
		if rows[i].PartitionKey != "" {
			c |= PartitionKey
		}
		if len(rows[i].Headers) > len("{}") {
			c |= Headers
		}
	}
	return c
}

// Texts are the statements of one table.
type Texts struct {
	options outbox.Options
	made    *[2][2][Headers << 1]string // nil: those of the default options, each made when it is asked for
}

// For checks the options.
func For(o outbox.Options) (Texts, error) {
	if err := o.Validate(); err != nil {
		return Texts{}, fmt.Errorf("make an outbox writer: %w", err)
	}
	t := Texts{options: o}
	var made [2][2][Headers << 1]string
	for many := range made[Rows] {
		for c := range Headers << 1 {
			made[Rows][many][c], made[Messages][many][c] = t.make(many == 1, c), t.message(many == 1, c)
		}
	}
	t.made = &made
	return t, nil
}

// Default is for the default options.
func Default() Texts { return Texts{options: outbox.NewOptions()} }

// What most calls with the default options need, so that nobody has to make a Writer for speed.
const (
	defaultOne = `INSERT INTO "public"."outbox" (event_id, aggregate_type, aggregate_id, event_type, payload) ` +
		`VALUES ($1::uuid, $2::text, $3::text, $4::text, $5::jsonb)`
	defaultMany = `INSERT INTO "public"."outbox" (event_id, aggregate_type, aggregate_id, event_type, payload) ` +
		`SELECT u.c1::uuid, u.c2, u.c3, u.c4, u.c5::jsonb FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS u (c1, c2, c3, c4, c5)`
)

// Options returns what the texts were made for.
func (t *Texts) Options() outbox.Options { return t.options }

// Text is the statement that writes one event, or many.
func (t *Texts) Text(way Way, many bool, c Columns) string {
	switch {
	case t.made != nil && many:
		return t.made[way][1][c]
	case t.made != nil:
		return t.made[way][0][c]
	case way == Messages:
		return t.message(many, c)
	case c == 0 && many:
		return defaultMany
	case c == 0:
		return defaultOne
	}
	return t.make(many, c)
}

func (t *Texts) make(many bool, c Columns) string {
	names, source := t.source(many, c)
	columns := " (" + strings.Join(names, ", ") + ") "
	insert := "INSERT INTO " + quote(t.options.Table) + columns
	if !t.options.Returning {
		return insert + source
	}
	return "WITH e" + columns + "AS MATERIALIZED (" + source + "), w AS (" + insert + "SELECT * FROM e) " + t.printed(c)
}

// printed reads from e what the relay will publish.
func (t *Texts) printed(c Columns) string {
	headers := ", '{}'"
	if c&Headers != 0 {
		headers = ", e.headers::text"
	}
	if t.options.PayloadType == outbox.Bytea {
		return "SELECT e.payload" + headers + " FROM e"
	}
	return "SELECT e.payload::text" + headers + " FROM e"
}

// source makes rows of the parameters.
func (t *Texts) source(many bool, c Columns) (names []string, text string) {
	payload := string(t.options.PayloadType)
	names, casts := make([]string, 0, 8), make([]string, 0, 8)
	add := func(name, cast string) { names, casts = append(names, name), append(casts, cast) }
	add("event_id", "::uuid")
	add("aggregate_type", "")
	add("aggregate_id", "")
	add("event_type", "")
	switch t.options.PayloadType {
	case outbox.JSON, outbox.JSONB:
		add("payload", "::"+payload)
	default:
		add("payload", "")
	}
	for _, o := range [...]struct {
		bit        Columns
		name, cast string
	}{{Topic, "topic", ""}, {PartitionKey, "partition_key", ""}, {Headers, "headers", "::jsonb"}} {
		if c&o.bit != 0 {
			add(o.name, o.cast)
		}
	}

	var source strings.Builder
	for i, cast := range casts {
		switch {
		case i > 0:
			source.WriteString(", ")
		case many:
			source.WriteString("SELECT ")
		default:
			source.WriteString("VALUES (")
		}
		switch {
		case many:
			source.WriteString("u.c" + strconv.Itoa(i+1) + cast)
		case cast != "":
			source.WriteString("$" + strconv.Itoa(i+1) + cast)
		case names[i] == "payload":
			source.WriteString("$" + strconv.Itoa(i+1) + "::" + payload)
		default:
			source.WriteString("$" + strconv.Itoa(i+1) + "::text")
		}
	}
	if many {
		from, aliases := make([]string, len(names)), make([]string, len(names))
		for i := range names {
			typ := "::text[]"
			if names[i] == "payload" && payload == "bytea" {
				typ = "::bytea[]"
			}
			from[i] = "$" + strconv.Itoa(i+1) + typ
			aliases[i] = "c" + strconv.Itoa(i+1)
		}
		source.WriteString(" FROM unnest(" + strings.Join(from, ", ") + ") AS u (" + strings.Join(aliases, ", ") + ")")
	} else {
		source.WriteByte(')')
	}

	return names, source.String()
}

// quote makes identifiers of "schema.table".
func quote(table string) string {
	parts := strings.Split(table, ".")
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}

// One returns the parameters of the statement that writes one event, as both drivers take them.
func One(r *outbox.Row, c Columns, bytea bool) []any {
	args := make([]any, 0, 8)
	args = append(args, r.ID, r.AggregateType, r.AggregateID, r.Type)
	switch {
	case r.Payload == nil:
		args = append(args, nil)
	case bytea:
		args = append(args, r.Payload)
	default:
		args = append(args, string(r.Payload))
	}
	if c&Topic != 0 {
		args = append(args, r.Topic)
	}
	if c&PartitionKey != 0 {
		args = append(args, r.PartitionKey)
	}
	if c&Headers != 0 {
		args = append(args, string(r.Headers))
	}
	return args
}
