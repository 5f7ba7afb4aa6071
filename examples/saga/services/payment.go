package services

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// Shop is the account that takes the money; Customers have one each, with Balance in it at first, in cents.
const (
	Shop      = "shop"
	Customers = 50
	Balance   = 1_000_000
)

const paymentSchema = `
CREATE TABLE IF NOT EXISTS account (name text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
INSERT INTO account SELECT 'customer-' || n, 1000000 FROM generate_series(1, 50) n UNION ALL SELECT 'shop', 0 ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS entry (
	seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id text NOT NULL, kind text NOT NULL, amount bigint NOT NULL);
CREATE INDEX IF NOT EXISTS entry_order ON entry (order_id)` // not unique: a charge that is made twice is to be seen

type bank struct{ Options }

func payment(o Options) service {
	b := bank{o}
	return service{
		name: "payment", schema: paymentSchema, topics: []string{Orders},
		handler: inbox.NewMux[pgx.Tx]().
			Handle("charge.do", inbox.JSON(b.charge)).
			Handle("charge.undo", inbox.JSON(b.refund)).
			Handler(), // of what else stands in the topic nothing is for us
	}
}

// charge takes the customer's money, or refuses. Effect and answer are one transaction with the claim of the question.
func (b bank) charge(ctx context.Context, tx pgx.Tx, _ *inbox.Message, o Order) error {
	paid := false
	if !happens(b.RefuseCharge) {
		var err error
		if paid, err = transfer(ctx, tx, o.ID, "charge", o.Customer, Shop, o.Amount); err != nil {
			return err
		}
	}
	if !paid {
		_, err := outboxpgx.Write(ctx, tx, event(Payments, "charge.refused", o))
		return err
	}
	if happens(b.Silence) {
		return nil // the money is taken and nobody is told: order's patience ends
	}
	_, err := outboxpgx.Write(ctx, tx, event(Payments, "charge.done", o))
	return err
}

// refund gives back what was charged. "charge.do" came before, if it was ever sent: its entry stands there, or never will.
func (b bank) refund(ctx context.Context, tx pgx.Tx, _ *inbox.Message, o Order) error {
	var amount int64
	err := tx.QueryRow(ctx, `SELECT amount FROM entry WHERE order_id = $1 AND kind = 'charge'`, o.ID).Scan(&amount)
	charged, err := none(err)
	if err != nil {
		return fmt.Errorf("look for the charge of order %s: %w", o.ID, err)
	}
	if charged {
		if _, err := transfer(ctx, tx, o.ID, "refund", Shop, o.Customer, amount); err != nil {
			return err
		}
	}
	_, err = outboxpgx.Write(ctx, tx, event(Payments, "charge.undone", o))
	return err
}

// transfer moves money and notes it; false when there is not enough.
func transfer(ctx context.Context, tx pgx.Tx, order, kind, from, to string, amount int64) (bool, error) {
	tag, err := tx.Exec(ctx, `UPDATE account SET balance = balance - $2 WHERE name = $1 AND balance >= $2`, from, amount)
	if err != nil {
		return false, fmt.Errorf("take %d from %s: %w", amount, from, err)
	}
	if tag.RowsAffected() == 0 {
		return false, nil
	}
	if _, err := tx.Exec(ctx, `UPDATE account SET balance = balance + $2 WHERE name = $1`, to, amount); err != nil {
		return false, fmt.Errorf("give %d to %s: %w", amount, to, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO entry (order_id, kind, amount) VALUES ($1, $2, $3)`, order, kind, amount)
	if err != nil {
		return false, fmt.Errorf("note the %s of order %s: %w", kind, order, err)
	}
	return true, nil
}
