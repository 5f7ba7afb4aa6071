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

// Array is how a driver hands over an array parameter.
type Array string

// Way is how an event is written.
type Way uint8

// Rows go into the table; Messages have none, and go through cdc_relay.emit_message.
const (
	Rows Way = iota
	Messages
)

// Native is a driver that knows arrays; Literal one that passes an array's text.
const (
	Native  Array = ""
	Literal Array = "::text"
)

// Texts are the statements of one table.
type Texts struct {
	options outbox.Options
	array   Array
	made    *[2][2][Headers << 1]string // nil: none, each is made when it is asked for
}

// For checks the options.
func For(o outbox.Options, array Array) (Texts, error) {
	if err := o.Validate(); err != nil {
		return Texts{}, fmt.Errorf("make an outbox writer: %w", err)
	}
	t := Default(array)
	t.options = o
	var made [2][2][Headers << 1]string
	for way := range made {
		for many := range made[way] {
			for c := range made[way][many] {
				made[way][many][c] = t.make(Way(way), many == 1, Columns(c))
			}
		}
	}
	t.made = &made
	return t, nil
}

// Default is for the default options.
func Default(array Array) Texts { return Texts{options: outbox.NewOptions(), array: array} }

// Options returns what the texts were made for.
func (t *Texts) Options() outbox.Options { return t.options }

// Text is the statement that writes one event, or many.
func (t *Texts) Text(way Way, many bool, c Columns) string {
	if t.made == nil {
		return t.make(way, many, c)
	}
	if many {
		return t.made[way][1][c]
	}
	return t.made[way][0][c]
}

func (t *Texts) make(way Way, many bool, c Columns) string {
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
		case names[i] == "payload" && payload == "bytea":
			source.WriteString("$" + strconv.Itoa(i+1) + "::bytea")
		default:
			source.WriteString("$" + strconv.Itoa(i+1) + "::text" + cast)
		}
	}
	if many {
		from, aliases := make([]string, len(names)), make([]string, len(names))
		for i := range names {
			typ := "::text[]"
			if names[i] == "payload" && payload == "bytea" {
				typ = "::bytea[]"
			}
			from[i] = "$" + strconv.Itoa(i+1) + string(t.array) + typ
			aliases[i] = "c" + strconv.Itoa(i+1)
		}
		source.WriteString(" FROM unnest(" + strings.Join(from, ", ") + ") AS u (" + strings.Join(aliases, ", ") + ")")
	} else {
		source.WriteByte(')')
	}

	columns := " (" + strings.Join(names, ", ") + ") "
	insert := "INSERT INTO " + quote(t.options.Table) + columns
	if !t.options.Returning {
		if way == Messages { // one row in the answer
			return "SELECT count(" + emit(names) + ") FROM (" + source.String() + ") AS e" + columns
		}
		return insert + source.String()
	}
	printed := ", '{}'"
	if c&Headers != 0 {
		printed = ", e.headers::text"
	}
	value := "e.payload::text"
	if payload == "bytea" {
		value = "e.payload"
	}
	with, query := "WITH e"+columns+"AS MATERIALIZED ("+source.String()+")", " SELECT "+value+printed+" FROM e"
	if way == Messages {
		return with + query + " WHERE " + emit(names) + " IS NOT NULL"
	}
	return with + ", w AS (" + insert + "SELECT * FROM e)" + query
}

// emit calls the function with the columns of e.
func emit(names []string) string {
	args := make([]string, len(names))
	for i, name := range names {
		args[i] = name + " => e." + name
	}
	return "cdc_relay.emit_message(" + strings.Join(args, ", ") + ")"
}

// quote makes identifiers of "schema.table".
func quote(table string) string {
	parts := strings.Split(table, ".")
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}
