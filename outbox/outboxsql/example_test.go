package outboxsql_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	_ "github.com/lib/pq"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxsql"
)

// placeOrder commits an order and the events that speak of it, or none of it.
func placeOrder(ctx context.Context, db *sql.DB, id string, items []string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", id); err != nil {
		return err
	}
	events := []outbox.Event{{AggregateType: "orders", AggregateID: id, Type: "OrderPlaced", Payload: map[string]any{"id": id}}}
	for _, item := range items {
		events = append(events, outbox.Event{AggregateType: "orders", AggregateID: id, Type: "ItemAdded", Payload: map[string]any{"item": item}})
	}
	if _, err := outboxsql.Write(ctx, tx, events...); err != nil {
		return err
	}
	return tx.Commit()
}

func Example() {
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	fmt.Println(placeOrder(context.Background(), db, "o-1", []string{"book", "pen"}))
}
