// Command shop sells a hundred things. Each sale is a row and an event, in one transaction.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// Sold is what the event says.
type Sold struct {
	Sale   int64 `json:"sale"`
	Amount int64 `json:"amount"` // in cents
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS sale (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount bigint NOT NULL)`); err != nil {
		return fmt.Errorf("make the table: %w", err)
	}
	for i := range int64(100) {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return sell(ctx, tx, 100+i) })
		if err != nil {
			return fmt.Errorf("sell: %w", err)
		}
	}
	log.Print("sold 100 things")
	return nil
}

// sell does its work and says so, in the caller's transaction: both happen, or neither.
func sell(ctx context.Context, tx pgx.Tx, amount int64) error {
	sold := Sold{Amount: amount}
	if err := tx.QueryRow(ctx, `INSERT INTO sale (amount) VALUES ($1) RETURNING id`, amount).Scan(&sold.Sale); err != nil {
		return err
	}
	_, err := outboxpgx.Write(ctx, tx, outbox.Event{
		AggregateType: "sales", // the topic
		AggregateID:   strconv.FormatInt(sold.Sale, 10),
		Type:          "Sold",
		Payload:       sold,
	})
	return err
}
