package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// Order is the payload, too.
type Order struct {
	ID    string  `json:"id"`
	Total float64 `json:"total"`
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	eventID, err := place(ctx, conn, Order{ID: "o-1", Total: 12.3})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(eventID)
}

// place commits the order and its event, or neither.
func place(ctx context.Context, conn *pgx.Conn, o Order) (eventID string, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (id, total) VALUES ($1, $2)", o.ID, o.Total); err != nil {
			return err
		}
		written, err := outboxpgx.Write(ctx, tx, outbox.Event{
			AggregateType: "orders", // the topic
			AggregateID:   o.ID,     // the key
			Type:          "OrderPlaced",
			Payload:       o,
			Headers:       map[string]any{"tenant": "acme"},
		})
		if err != nil {
			return err
		}
		eventID = written[0].ID
		return nil
	})
	return eventID, err
}
