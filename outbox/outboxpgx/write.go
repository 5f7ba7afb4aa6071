package outboxpgx

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/internal/insert"
)

// Write writes events into public.outbox, with the default options. See [Writer.Write].
func Write(ctx context.Context, tx pgx.Tx, events ...outbox.Event) ([]outbox.Written, error) {
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
func (w *Writer) Write(ctx context.Context, tx pgx.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	return w.write(ctx, tx, insert.Rows, events)
}

// Emit is Write without a table: the events become logical messages (docs/tableless.md). With the default options.
func Emit(ctx context.Context, tx pgx.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	w := Writer{texts: insert.Default()}
	return w.Emit(ctx, tx, events...)
}

// Emit is Write without a table: the events become logical messages by cdc_relay.emit_message and emit_messages, on which the role
// needs EXECUTE; Options.Table plays no part. They are published as rows would be and leave nothing behind: there is no looking at
// them afterwards. While no relay runs with messages: on the database refuses them (SQLSTATE 55000).
func (w *Writer) Emit(ctx context.Context, tx pgx.Tx, events ...outbox.Event) ([]outbox.Written, error) {
	return w.write(ctx, tx, insert.Messages, events)
}

func (w *Writer) write(ctx context.Context, tx pgx.Tx, way insert.Way, events []outbox.Event) ([]outbox.Written, error) {
	text, args, written, err := w.statement(ctx, way, events)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	if !w.texts.Options().Returning {
		if _, err := tx.Exec(ctx, text, args...); err != nil {
			return nil, w.failed(way, len(events), err)
		}
		return written, nil
	}
	rows, err := tx.Query(ctx, text, args...)
	if err != nil {
		return nil, w.failed(way, len(events), err)
	}
	at := 0
	var value, headers []byte
	if _, err := pgx.ForEachRow(rows, []any{&value, &headers}, func() error {
		written[at].Value, written[at].Headers = value, headers
		value, headers = nil, nil
		at++
		return nil
	}); err != nil {
		return nil, w.failed(way, len(events), err)
	}
	return written, nil
}

// Queue adds the INSERT to a batch, behind what the caller has queued: the events cost no round trip of their own. The batch
// must be sent in a transaction, and its results hold one more, without rows. The same errors as Write's for events that are
// invalid: nothing is queued then. Options.Returning is not possible here.
func (w *Writer) Queue(ctx context.Context, batch *pgx.Batch, events ...outbox.Event) ([]outbox.Written, error) {
	if w.texts.Options().Returning {
		return nil, fmt.Errorf("queue events: Options.Returning needs the answer at once: use Write")
	}
	text, args, written, err := w.statement(ctx, insert.Rows, events)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	batch.Queue(text, args...)
	return written, nil
}

func (w *Writer) failed(way insert.Way, events int, err error) error {
	if way == insert.Messages {
		return fmt.Errorf("emit %d events: %w", events, err)
	}
	return fmt.Errorf("insert %d events into %s: %w", events, w.texts.Options().Table, err)
}

// statement checks and encodes the events.
func (w *Writer) statement(ctx context.Context, way insert.Way, events []outbox.Event) (text string, args []any, written []outbox.Written, err error) {
	rows, err := w.texts.Options().Rows(ctx, events)
	if err != nil {
		return "", nil, nil, fmt.Errorf("write events: %w", err)
	}
	if len(rows) == 0 {
		return "", nil, nil, nil
	}
	written = make([]outbox.Written, len(rows))
	for i := range rows {
		written[i] = rows[i].Written()
	}
	columns := insert.Of(rows)
	bytea := w.texts.Options().PayloadType == outbox.Bytea
	if len(rows) == 1 {
		return w.texts.Text(way, false, columns), insert.One(&rows[0], columns, bytea), written, nil
	}
	return w.texts.Text(way, true, columns), many(rows, columns, bytea), written, nil
}

func many(rows []outbox.Row, c insert.Columns, bytea bool) []any {
	text := func(of func(*outbox.Row) string) []string {
		column := make([]string, len(rows))
		for i := range rows {
			column[i] = of(&rows[i])
		}
		return column
	}
	nullable := func(of func(*outbox.Row) (string, bool)) []pgtype.Text {
		column := make([]pgtype.Text, len(rows))
		for i := range rows {
			column[i].String, column[i].Valid = of(&rows[i])
		}
		return column
	}
	args := make([]any, 0, 8)
	args = append(
		args,
		text(func(r *outbox.Row) string { return r.ID }),
		text(func(r *outbox.Row) string { return r.AggregateType }),
		text(func(r *outbox.Row) string { return r.AggregateID }),
		text(func(r *outbox.Row) string { return r.Type }),
	)
	if bytea {
		column := make([][]byte, len(rows))
		for i := range rows {
			column[i] = rows[i].Payload
		}
		args = append(args, column)
	} else {
		args = append(args, nullable(func(r *outbox.Row) (string, bool) { return string(r.Payload), r.Payload != nil }))
	}
	if c&insert.Topic != 0 {
		args = append(args, nullable(func(r *outbox.Row) (string, bool) { return r.Topic, r.Topic != "" }))
	}
	if c&insert.PartitionKey != 0 {
		args = append(args, nullable(func(r *outbox.Row) (string, bool) { return r.PartitionKey, r.PartitionKey != "" }))
	}
	if c&insert.Headers != 0 {
		args = append(args, text(func(r *outbox.Row) string { return string(r.Headers) }))
	}
	return args
}
