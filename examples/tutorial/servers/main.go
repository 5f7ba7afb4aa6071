// Command servers runs what the tutorial needs and a laptop may lack: a Postgres with wal_level=logical and a broker that speaks
// Kafka's protocol, both embedded, until Ctrl-C. Where they are is printed, and written to the file named by --env for a shell to
// read. Nothing is kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
)

func main() {
	env := flag.String("env", "servers.env", "file to write DATABASE_URL and BROKERS to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *env); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, env string) (err error) {
	cleanup := context.WithoutCancel(ctx)
	database, err := parts.OpenDatabase(ctx, "", "17", "shop", os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(cleanup)) }()
	broker, err := parts.OpenBroker(ctx, nil, "unused")
	if err != nil {
		return err
	}
	defer broker.Close(cleanup)
	text := fmt.Sprintf("export DATABASE_URL='%s'\nexport BROKERS='%s'\n", database.URL(), strings.Join(broker.Addrs(), ","))
	if err := os.WriteFile(env, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write where the servers are: %w", err)
	}
	defer func() { _ = os.Remove(env) }()
	fmt.Fprintf(os.Stderr, "%s\nPostgres and the broker run until Ctrl-C\n", text)
	<-ctx.Done()
	return nil
}
