package inboxkafka_test

import (
	"context"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
)

// A consumer that counts orders, until it is told to end.
func ExampleRun() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, "postgres://billing@db/billing?pool_max_conns=20")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	c := inboxkafka.NewConfig[pgx.Tx]()
	c.Brokers, c.Topics = []string{"kafka:9092"}, []string{"order"}
	c.Store, c.Consumer = inboxpgx.New(pool), "billing"
	c.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		_, err := tx.Exec(ctx, "UPDATE customer SET orders = orders + 1 WHERE id = $1", string(m.Key))
		return err
	}
	if err := inboxkafka.Run(ctx, c); err != nil {
		log.Fatal(err)
	}
}

// All that is wrong with a configuration is said at once.
func ExampleConfig_Validate() {
	c := inboxkafka.NewConfig[pgx.Tx]()
	c.Brokers, c.Store, c.Consumer = []string{"kafka:9092"}, inboxpgx.New(nil), "billing"
	fmt.Println(c.Validate())
	// Output:
	// inboxkafka: Topics: name at least one
	// Handler, BatchHandler: set one of the two
}
