package services

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// Items is how many there are, item-1 and so on, with Stock pieces of each at first.
const (
	Items = 10
	Stock = 10_000
)

const shippingSchema = `
CREATE TABLE IF NOT EXISTS stock (item text PRIMARY KEY,
	free bigint NOT NULL CHECK (free >= 0), reserved bigint NOT NULL CHECK (reserved >= 0), sent bigint NOT NULL CHECK (sent >= 0));
INSERT INTO stock SELECT 'item-' || n, 10000, 0, 0 FROM generate_series(1, 10) n ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS movement (
	seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id text NOT NULL, kind text NOT NULL);
CREATE INDEX IF NOT EXISTS movement_order ON movement (order_id)`

type warehouse struct{ Options }

func shipping(o Options) service {
	w := warehouse{o}
	return service{
		name: "shipping", schema: shippingSchema, topics: []string{Orders},
		handler: inbox.NewMux[pgx.Tx]().
			Handle("reserve.do", inbox.JSON(w.do("reserve", `UPDATE stock SET free = free - 1, reserved = reserved + 1 WHERE item = $1 AND free > 0`, 0))).
			Handle("reserve.undo", inbox.JSON(w.undo("reserve", "release", `UPDATE stock SET free = free + 1, reserved = reserved - 1 WHERE item = $1`))).
			Handle("dispatch.do", inbox.JSON(w.do("dispatch", `UPDATE stock SET reserved = reserved - 1, sent = sent + 1 WHERE item = $1`, o.RefuseDispatch))).
			Handle("dispatch.undo", inbox.JSON(w.undo("dispatch", "recall", `UPDATE stock SET reserved = reserved + 1, sent = sent - 1 WHERE item = $1`))).
			Handler(),
	}
}

// handler is what inbox.JSON makes a handler of.
type handler = func(context.Context, pgx.Tx, *inbox.Message, Order) error

// do moves a piece, or refuses, and answers.
func (w warehouse) do(step, update string, refuse float64) handler {
	return func(ctx context.Context, tx pgx.Tx, _ *inbox.Message, o Order) error {
		moved := false
		if !happens(refuse) {
			var err error
			if moved, err = move(ctx, tx, o, step, update); err != nil {
				return err
			}
		}
		switch {
		case !moved:
			_, err := outboxpgx.Write(ctx, tx, event(Shipments, step+".refused", o))
			return err
		case happens(w.Silence):
			return nil // moved, and nobody is told
		}
		_, err := outboxpgx.Write(ctx, tx, event(Shipments, step+".done", o))
		return err
	}
}

// undo moves it back, where it was moved, and answers.
func (w warehouse) undo(step, kind, update string) handler {
	return func(ctx context.Context, tx pgx.Tx, _ *inbox.Message, o Order) error {
		var moved bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM movement WHERE order_id = $1 AND kind = $2)`, o.ID, step).Scan(&moved)
		if err != nil {
			return fmt.Errorf("look for the %s of order %s: %w", step, o.ID, err)
		}
		if moved {
			if _, err := move(ctx, tx, o, kind, update); err != nil {
				return err
			}
		}
		_, err = outboxpgx.Write(ctx, tx, event(Shipments, step+".undone", o))
		return err
	}
}

// move changes the stock and notes it; false when there is no piece.
func move(ctx context.Context, tx pgx.Tx, o Order, kind, update string) (bool, error) {
	tag, err := tx.Exec(ctx, update, o.Item)
	if err != nil {
		return false, fmt.Errorf("%s %s for order %s: %w", kind, o.Item, o.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return false, nil
	}
	if _, err := tx.Exec(ctx, `INSERT INTO movement (order_id, kind) VALUES ($1, $2)`, o.ID, kind); err != nil {
		return false, fmt.Errorf("note the %s of order %s: %w", kind, o.ID, err)
	}
	return true, nil
}
