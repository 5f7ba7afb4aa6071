package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/internal/demo/ledger"
)

// What stands in a payload's "is". Only the first may ever reach the consumer.
const (
	isCommitted  = "committed"
	isRolledBack = "rolled back"
	isUpdated    = "updated"
)

// writers is how many connections the application has. A key belongs to one of them, so that the order in which its
// events commit is known.
const writers = 4

// application writes to the outbox at a steady rate.
type application struct {
	url   string
	topic string
	rate  int
	rows  int
	keys  int
	books *ledger.Ledger
}

// run writes until ctx ends, and finishes the transactions it is in.
func (a *application) run(ctx context.Context) error {
	var group errgroup.Group
	for i := range min(writers, a.keys) {
		group.Go(func() error {
			w := &writer{application: a, number: i, count: min(writers, a.keys), next: map[int]uint64{}}
			return w.run(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	return nil
}

// writer is one connection of the application.
type writer struct {
	*application
	number, count int
	conn          *pgx.Conn
	next          map[int]uint64 // last number committed, by key
	touched       int
}

func (w *writer) run(ctx context.Context) (err error) {
	// A transaction that has begun is finished: its outcome must be known.
	whole := context.WithoutCancel(ctx)
	if w.conn, err = pgx.Connect(whole, w.url); err != nil {
		return fmt.Errorf("connect as the application: %w", err)
	}
	defer func() { err = errors.Join(err, w.conn.Close(whole)) }()
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		committed, err := w.step(whole)
		if err != nil {
			return err
		}
		due = due.Add(time.Duration(committed*w.count) * time.Second / time.Duration(w.rate))
		if behind := time.Since(due); behind > time.Second { // as fast as it goes, without a debt that grows
			due = due.Add(behind - time.Second)
		}
		timer.Reset(time.Until(due))
	}
}

// step does one thing that applications do, and returns how many rows it committed.
func (w *writer) step(ctx context.Context) (int, error) {
	switch dice := rand.IntN(100); {
	case dice < 70:
		return w.transaction(ctx, 1, "")
	case dice < 80:
		return w.transaction(ctx, w.rows, "")
	case dice < 85:
		return w.transaction(ctx, w.rows, "ROLLBACK TO SAVEPOINT before")
	case dice < 92:
		return 0, w.rollBack(ctx, 1+rand.IntN(w.rows))
	default:
		return 0, w.touch(ctx)
	}
}

// row is one event to insert.
type row struct {
	key int
	n   uint64
}

func (r row) name() string { return "key-" + strconv.Itoa(r.key) }

// pick takes a key of this writer's at random and its next number, counted from those picked before in this transaction.
func (w *writer) pick(picked map[int]uint64) row {
	mine := (w.keys - w.number + w.count - 1) / w.count
	key := w.number + w.count*rand.IntN(mine)
	if _, ok := picked[key]; !ok {
		picked[key] = w.next[key]
	}
	picked[key]++
	return row{key, picked[key]}
}

// transaction commits rows; with undo, after some more that a savepoint takes back.
func (w *writer) transaction(ctx context.Context, rows int, undo string) (int, error) {
	picked := map[int]uint64{}
	batch := make([]row, rows)
	for i := range batch {
		batch[i] = w.pick(picked)
	}
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	half := rows / 2
	if err := w.insert(ctx, tx, batch[:half], isCommitted); err != nil {
		return 0, err
	}
	undone := 0
	if undo != "" {
		if _, err := tx.Exec(ctx, "SAVEPOINT before"); err != nil {
			return 0, fmt.Errorf("set a savepoint: %w", err)
		}
		if err := w.insert(ctx, tx, batch[half:], isRolledBack); err != nil {
			return 0, err
		}
		if _, err := tx.Exec(ctx, undo); err != nil {
			return 0, fmt.Errorf("roll back to a savepoint: %w", err)
		}
		undone = rows - half
	}
	if err := w.insert(ctx, tx, batch[half:], isCommitted); err != nil {
		return 0, err
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	for _, r := range batch {
		w.next[r.key] = r.n
		w.books.Committed(r.name(), r.n)
	}
	w.books.RolledBack(undone)
	return rows, nil
}

func (w *writer) rollBack(ctx context.Context, rows int) error {
	picked := map[int]uint64{}
	batch := make([]row, rows)
	for i := range batch {
		batch[i] = w.pick(picked)
	}
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := w.insert(ctx, tx, batch, isRolledBack); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	if err := tx.Rollback(ctx); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	w.books.RolledBack(rows)
	return nil
}

// insert writes rows in one round trip, in order.
func (w *writer) insert(ctx context.Context, tx pgx.Tx, rows []row, is string) error {
	if len(rows) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, r := range rows {
		batch.Queue(`INSERT INTO outbox (aggregate_type, aggregate_id, event_type, topic, payload)
			VALUES ('demo', $1, 'demo.happened', $2, jsonb_build_object('key', $1::text, 'n', $3::bigint, 'is', $4::text))`,
			r.name(), w.topic, int64(r.n), is)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("insert into the outbox: %w", err)
	}
	return nil
}

// touch updates or deletes rows that this application committed, published yet or not: the outbox is a log of inserts,
// and neither may have an effect.
func (w *writer) touch(ctx context.Context) error {
	statement := `UPDATE outbox SET payload = payload || jsonb_build_object('is', '` + isUpdated + `') WHERE event_id IN `
	if w.touched++; w.touched%2 == 0 {
		statement = `DELETE FROM outbox WHERE event_id IN `
	}
	_, err := w.conn.Exec(ctx, statement+`(SELECT event_id FROM outbox ORDER BY created_at DESC LIMIT 5 FOR UPDATE SKIP LOCKED)`)
	if err != nil {
		return fmt.Errorf("touch outbox rows: %w", err)
	}
	return nil
}
