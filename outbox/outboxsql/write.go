package outboxsql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/internal/insert"
)

// Write writes events into public.outbox, with the default options. See [Writer.Write].
func Write(ctx context.Context, tx *sql.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	w := Writer{texts: insert.Default()}
	return w.Write(ctx, tx, events...)
}

// Writer writes events with options of its own. It holds no connection, may be used by several goroutines and is never closed.
type Writer struct{ texts insert.Texts }

// NewWriter checks the options, which begin as [outbox.NewOptions].
func NewWriter(o outbox.Options) (*Writer, error) {
	texts, err := insert.For(o)
	if err != nil {
		return nil, err
	}
	return &Writer{texts: texts}, nil
}

// Write writes events in the transaction, in their order, and returns what became of each, in the same order. They are
// published when the caller commits. None: nothing is done.
//
// An error with an [*outbox.InvalidError] in it says that the database has not seen the events and the transaction is good;
// any other is the database's, and the transaction is lost.
func (w *Writer) Write(ctx context.Context, tx *sql.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	return w.write(ctx, tx, insert.Rows, events)
}

// Emit is Write without a table: the events become logical messages (docs/tableless.md). With the default options.
func Emit(ctx context.Context, tx *sql.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	w := Writer{texts: insert.Default()}
	return w.Emit(ctx, tx, events...)
}

// Emit is Write without a table: the events become logical messages by cdc_relay.emit_message and emit_messages, on which the role
// needs EXECUTE; Options.Table plays no part. They are published as rows would be and leave nothing behind: there is no looking at
// them afterwards. While no relay runs with messages: on the database refuses them (SQLSTATE 55000).
func (w *Writer) Emit(ctx context.Context, tx *sql.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	return w.write(ctx, tx, insert.Messages, events)
}

func (w *Writer) write(ctx context.Context, tx *sql.Tx, way insert.Way, events []outbox.Event) ([]outbox.Written, error) {
	o := w.texts.Options()
	rows, err := o.Rows(ctx, events)
	if err != nil {
		return nil, fmt.Errorf("write events: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	columns, bytea := insert.Of(rows), o.PayloadType == outbox.Bytea
	text, args := w.texts.Text(way, len(rows) > 1, columns), []any(nil)
	if len(rows) == 1 {
		args = insert.One(&rows[0], columns, bytea)
	} else {
		args = many(rows, columns, bytea)
	}
	written := make([]outbox.Written, len(rows))
	for i := range rows {
		written[i] = rows[i].Written()
	}
	if o.Returning {
		err = query(ctx, tx, text, args, written)
	} else {
		_, err = tx.ExecContext(ctx, text, args...)
	}
	if err != nil && way == insert.Messages {
		return nil, fmt.Errorf("emit %d events: %w", len(rows), err)
	}
	if err != nil {
		return nil, fmt.Errorf("insert %d events into %s: %w", len(rows), o.Table, err)
	}
	return written, nil
}

// query inserts and reads what was printed.
func query(ctx context.Context, tx *sql.Tx, text string, args []any, written []outbox.Written) error {
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for i := 0; rows.Next(); i++ {
		if err := rows.Scan(&written[i].Value, &written[i].Headers); err != nil {
			return err
		}
	}
	return rows.Err()
}

// many makes a literal of each column, because database/sql knows no arrays.
func many(rows []outbox.Row, c insert.Columns, bytea bool) []any {
	column := func(of func(*outbox.Row) (string, bool)) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range rows {
			if i > 0 {
				b.WriteByte(',')
			}
			value, ok := of(&rows[i])
			if !ok {
				b.WriteString("NULL")
				continue
			}
			appendQuoted(&b, value)
		}
		b.WriteByte('}')
		return b.String()
	}
	args := make([]any, 0, 8)
	args = append(
		args,
		column(func(r *outbox.Row) (string, bool) { return r.ID, true }),
		column(func(r *outbox.Row) (string, bool) { return r.AggregateType, true }),
		column(func(r *outbox.Row) (string, bool) { return r.AggregateID, true }),
		column(func(r *outbox.Row) (string, bool) { return r.Type, true }),
	)
	if bytea {
		args = append(args, column(func(r *outbox.Row) (string, bool) { return `\x` + hex.EncodeToString(r.Payload), r.Payload != nil }))
	} else {
		args = append(args, column(func(r *outbox.Row) (string, bool) { return string(r.Payload), r.Payload != nil }))
	}
	if c&insert.Topic != 0 {
		args = append(args, column(func(r *outbox.Row) (string, bool) { return r.Topic, r.Topic != "" }))
	}
	if c&insert.PartitionKey != 0 {
		args = append(args, column(func(r *outbox.Row) (string, bool) { return r.PartitionKey, r.PartitionKey != "" }))
	}
	if c&insert.Headers != 0 {
		args = append(args, column(func(r *outbox.Row) (string, bool) { return string(r.Headers), true }))
	}
	return args
}

// appendQuoted writes a value as an element of an array's literal, run by run.
func appendQuoted(b *strings.Builder, value string) {
	b.WriteByte('"')
	for {
		at := strings.IndexAny(value, `"\`)
		if at < 0 {
			break
		}
		b.WriteString(value[:at])
		b.WriteByte('\\')
		b.WriteByte(value[at])
		value = value[at+1:]
	}
	b.WriteString(value)
	b.WriteByte('"')
}
