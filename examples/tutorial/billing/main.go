// Command billing adds up what was sold. Each sale counts once, however often its event is delivered.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
)

// Sold is what billing needs to know of the event.
type Sold struct {
	Amount int64 `json:"amount"` // in cents
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("read DATABASE_URL: %w", err)
	}
	config.MaxConns = 20 // the runner wants one for each partition, and three
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	if err := inboxpgx.Migrate(ctx, pool, inboxpgx.MigrateOptions{}); err != nil {
		return fmt.Errorf("make the inbox: %w", err)
	}
	if _, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS bill (day date PRIMARY KEY, sales bigint, total bigint)`); err != nil {
		return fmt.Errorf("make the table: %w", err)
	}

	c := inboxkafka.NewConfig[pgx.Tx]()
	c.Brokers = strings.Split(os.Getenv("BROKERS"), ",")
	c.Topics = []string{"sales"}
	c.Consumer = "billing"
	c.Store = inboxpgx.New(pool)
	c.Handler = inbox.NewMux[pgx.Tx]().Handle("Sold", inbox.JSON(bill)).Handler()
	if os.Getenv("CRASH") != "" {
		c.Handler = mortal(c.Handler)
	}
	return inboxkafka.Run(ctx, c)
}

// bill is the handler. What it does with tx, and the note that this event is done, are one transaction.
func bill(ctx context.Context, tx pgx.Tx, _ *inbox.Message, sold Sold) error {
	_, err := tx.Exec(ctx, `INSERT INTO bill VALUES (current_date, 1, $1)
		ON CONFLICT (day) DO UPDATE SET sales = bill.sales + 1, total = bill.total + excluded.total`, sold.Amount)
	return err
}

// mortal makes a handler end the process at its fiftieth message, between its work and the commit.
func mortal(h inbox.Handler[pgx.Tx]) inbox.Handler[pgx.Tx] {
	var seen atomic.Int64
	return func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		err := h(ctx, tx, m)
		if seen.Add(1) == 50 {
			log.Fatal("billing dies in the middle of a sale")
		}
		return err
	}
}
