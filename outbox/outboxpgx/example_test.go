package outboxpgx_test

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// Order is the payload of OrderPlaced.
type Order struct {
	ID    string `json:"id"`
	Total int    `json:"total"`
}

// placeOrder commits an order and the event that says so, or neither.
func placeOrder(ctx context.Context, conn *pgx.Conn, id string, total int) (eventID string, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (id, total) VALUES ($1, $2)", id, total); err != nil {
			return err
		}
		written, err := outboxpgx.Write(ctx, tx, outbox.Event{
			AggregateType: "orders",
			AggregateID:   id,
			Type:          "OrderPlaced",
			Payload:       Order{ID: id, Total: total},
		})
		if err != nil {
			return err
		}
		eventID = written[0].ID
		return nil
	})
	return eventID, err
}

func Example() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	id, err := placeOrder(ctx, conn, "o-1", 12)
	fmt.Println(id, err)
}
